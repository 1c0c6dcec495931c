"""A frozen trunk: its features once, and the posterior that the whole network would give."""

from dataclasses import replace

import pytest
import torch
from tests_support import stripes
from torch import Tensor, nn

from nescio.data import FeatureSet
from nescio.data.features import empty_features
from nescio.errors import ArchitectureError, DataError, UsageError
from nescio.inference import DEFAULT, Job, fit_frozen, fit_guide, freeze_trunk
from nescio.prediction import SampledNetworks, stream_logits

RECIPE = replace(
    DEFAULT,
    epochs=3,
    minimum_steps=0,
    batch_size=32,
    learning_rate=0.02,
    random="head",
    augment="none",
    freeze=True,
)


class Net(nn.Module):
    """A trunk with all that depends on the mode, and two layers of which the last is the head."""

    runs = 0  # images through any trunk

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.5),
                nn.Flatten(), nn.Linear(96, 10), nn.ReLU(inplace=True),
            )  # fmt: skip
            self.fc = nn.Linear(10, 3)
        with torch.no_grad():
            self.body[1].running_mean.fill_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        Net.runs += len(x)
        return self.fc(self.body(x))


class Held(Net):
    """The same network, whose trunk holds still by itself: what frozen features must equal."""

    def __init__(self) -> None:
        super().__init__()
        self.body.requires_grad_(False)

    def train(self, mode: bool = True) -> "Held":
        super().train(mode)
        self.body.eval()
        return self


@pytest.mark.parametrize("estimator", ["auto", "shared", "flipout"])
def test_the_posterior_is_that_of_the_whole_network(estimator: str) -> None:
    recipe, train, watch = replace(RECIPE, estimator=estimator), stripes(120, 0), stripes(30, 1)
    cached = fit_frozen(Job(Net(), train, recipe, watch=watch, seed=3))
    whole = fit_guide(Job(Held(), train, replace(recipe, freeze=False), watch=watch, seed=3))
    assert list(cached.guide.loc) == list(whole.guide.loc) == ["fc.weight", "fc.bias"]
    for name, mean in whole.guide.loc.items():
        torch.testing.assert_close(cached.guide.loc[name], mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            cached.guide.raw_scale[name], whole.guide.raw_scale[name], rtol=1e-4, atol=1e-6
        )
    for one, other in zip(cached.history, whole.history, strict=True):
        assert one.elbo == pytest.approx(other.elbo, rel=1e-4)
        assert one.kl == pytest.approx(other.kl, rel=1e-4)
        assert one.accuracy == other.accuracy


def test_the_trunk_stays_as_it_is_and_runs_once() -> None:
    network, train = Net(), stripes(120, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Net.runs = 0
    fitted = fit_frozen(Job(network, train, RECIPE))
    # A few images more, to try and to cut the network.
    assert Net.runs <= len(train) + 10
    kept = fitted.network.state_dict()
    assert set(kept) == set(before)
    assert all(torch.equal(kept[n], before[n]) for n in before if not n.startswith("fc."))
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    assert not fitted.network.training


def test_what_is_not_random_in_the_head_is_trained() -> None:
    network = Net()
    fitted = fit_frozen(Job(network, stripes(60, 0), replace(RECIPE, random="fc.weight")))
    assert list(fitted.guide.loc) == ["fc.weight"]
    assert not torch.equal(fitted.network.fc.bias, network.fc.bias)


def test_a_head_of_several_layers() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 12), nn.BatchNorm1d(12), nn.ReLU(inplace=True),
        nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Linear(6, 3),
    )  # fmt: skip
    fitted = fit_frozen(Job(network, stripes(60, 0), replace(RECIPE, random="4.*,7.*")))
    assert set(fitted.guide.loc) == {"4.weight", "4.bias", "7.weight", "7.bias"}
    assert int(fitted.network[2].num_batches_tracked) == 0
    assert int(fitted.network[5].num_batches_tracked) == 3 * 2
    assert not torch.equal(fitted.network[5].weight, network[5].weight)


class Inside(nn.Module):
    """A head that overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 12))

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(1.0) @ self.weight.T


def test_a_head_that_overwrites_its_input_leaves_the_features_whole() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), Inside())
    frozen = freeze_trunk(Job(network, stripes(60, 0), RECIPE))
    before = frozen.job.train.images.clone()
    fit_guide(replace(frozen.job, watch=frozen.job.train))
    assert torch.equal(frozen.job.train.images, before)


def test_views_are_the_elbo_of_as_many_images() -> None:
    train = stripes(60, 0)
    recipe = replace(RECIPE, epochs=8, views=4, augment="shift:1")
    frozen = freeze_trunk(Job(Net(), train, recipe, seed=1))
    assert len(frozen.job.train) == 240
    assert torch.equal(frozen.job.train.require_labels(), train.require_labels().repeat(4))
    parts = frozen.job.train.images.split(60)
    assert all(not torch.equal(part, parts[0]) for part in parts[1:])
    assert (frozen.job.recipe.epochs, frozen.job.recipe.kl_weight) == (2, 4.0)
    again = freeze_trunk(Job(Net(), train, recipe, seed=1))
    assert torch.equal(frozen.job.train.images, again.job.train.images)
    # With equal views it is the fit of the images themselves, whatever their number.
    same = FeatureSet("s", parts[0].repeat(4, 1), frozen.job.train.labels, train.classes)
    one = replace(recipe, epochs=1, freeze=False, views=1, augment="none", batch_size=240)
    four = fit_guide(Job(frozen.job.network, same, replace(one, kl_weight=4.0), seed=2))
    single = FeatureSet("s", parts[0], train.labels, train.classes)
    alone = fit_guide(Job(frozen.job.network, single, one, seed=2))
    first, other = four.history[0], alone.history[0]
    assert 4 * first.kl == pytest.approx(other.kl, rel=1e-6)
    joined = frozen.joined(four)
    assert joined.history[0].kl == pytest.approx(other.kl, rel=1e-6)
    assert joined.history[0].elbo == pytest.approx(
        joined.history[0].log_likelihood - joined.history[0].kl, rel=1e-5
    )


class NoCut(Net):
    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x)
        return self.fc(features) + features[:, :3]


@pytest.mark.parametrize(
    ("network", "random", "words"),
    [
        (Net(), "all", "no weights come before them; choose --random head"),
        (NoCut(), "head", "something beside or after them takes part"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), "head", "no weights come before them"),
    ],
)
def test_networks_that_cannot_be_cut(network: nn.Module, random: str, words: str) -> None:
    with pytest.raises(ArchitectureError, match="--freeze: the network cannot be cut") as caught:
        fit_frozen(Job(network, stripes(30, 0), replace(RECIPE, random=random)))
    assert words in str(caught.value)


def test_features_that_are_not_numbers() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Linear(8, 3))
    train = stripes(30, 0)
    train.images[17] = 255
    with torch.no_grad():
        network[0] = nn.Sequential(nn.Flatten(), Overflows())
    with pytest.raises(ArchitectureError, match="features that are not numbers"):
        fit_frozen(Job(network, train, RECIPE))


class Overflows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.mean(1, keepdim=True) == 1, torch.inf, x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"views": 0}, "--views must be at least 1"),
        ({"views": 2, "augment": "none"}, "they need --augment"),
        ({"augment": "shift:1"}, "such as --views 4"),
        ({"freeze": False, "views": 2, "augment": "shift:1"}, "--views is for --freeze"),
    ],
)
def test_choices_that_cannot_be(change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        replace(RECIPE, **change)
    assert words in str(caught.value)


def test_features_beyond_memory_are_mapped() -> None:
    small = empty_features((3, 2), torch.bfloat16)
    large = empty_features((1000, 7), torch.bfloat16, most=1000)
    assert (small.shape, large.shape, large.dtype) == ((3, 2), (1000, 7), torch.bfloat16)
    large[:] = torch.arange(7.0)
    assert torch.equal(large[[3, 999]], torch.arange(7.0).bfloat16().expand(2, 7))
    with pytest.raises(DataError, match=r"GiB, more than is free in .*; set TMPDIR"):
        empty_features((2**50, 2**8), torch.float32, most=0)


def test_a_fit_to_mapped_features_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    train = stripes(60, 0)
    plain = fit_frozen(Job(Net(), train, RECIPE))
    monkeypatch.setattr(
        "nescio.inference.frozen.empty_features",
        lambda shape, dtype: empty_features(shape, dtype, most=0),
    )
    mapped = fit_frozen(Job(Net(), train, RECIPE))
    assert all(torch.equal(plain.guide.loc[n], mapped.guide.loc[n]) for n in plain.guide.loc)


def test_features_that_cannot_be() -> None:
    with pytest.raises(DataError, match="must be floating point"):
        FeatureSet("f", torch.zeros(3, 2, dtype=torch.uint8), None, ())
    with pytest.raises(DataError, match="need 3 labels"):
        FeatureSet("f", torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), ("a", "b"))


@pytest.mark.slow
def test_cached_features_are_faster_and_give_the_same_posterior() -> None:
    from frozen import compare

    found = compare(images=24, passes=16, rounds=1, width=8)
    seconds, a_pass = found["seconds"], found["seconds a pass"]
    assert isinstance(seconds, dict)
    assert isinstance(a_pass, dict)
    # Sixteen passes through the trunk against one and a few images; then next to nothing.
    assert seconds["cached"] < seconds["uncached"] / 2
    assert a_pass["cached"] < a_pass["uncached"] / 10
    assert found["means apart by"] < 1e-4 * found["largest mean"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "kind", ["low-rank:2", "ensemble:2", "mean-field-ensemble:2", "swag:3", "dropout:0.2", "ivon"]
)
def test_every_kind_of_posterior_over_the_head(kind: str) -> None:
    train, network = stripes(60, 0), Net()

    def again(seed: int) -> nn.Module:
        other = Net()
        with torch.no_grad():
            other.fc.weight.fill_(seed % 7 / 10)
        return other

    recipe = replace(RECIPE, posterior=kind)
    fitted = fit_frozen(Job(network, train, recipe, again=again))
    assert all(name.startswith("fc.") for name in fitted.guide.names)
    assert torch.equal(fitted.network.body[0].weight, network.body[0].weight)
    networks = SampledNetworks.prepare(
        fitted.network, fitted.guide, train.images, classes=3, seed=0
    )
    (logits,) = stream_logits(networks, train.images, 2)
    assert float((logits[0] - logits[1]).abs().max()) > 0
