import math

import pytest
import torch
from tests_support import Told
from torch import Tensor, nn

import nescio
from nescio.data import Dataset
from nescio.errors import ArchitectureError, OutOfMemoryError
from nescio.inference import MeanField, Mixture
from nescio.network import Cut, named_tensors
from nescio.prediction import SampledNetworks, forced_labels, sampling, stream_logits
from nescio.randomness import Stream, generator


def test_a_few_networks_run_once_each_however_many_are_asked_for() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    runs: list[int] = []
    weights = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    guide = Mixture({"1.weight": weights})
    images = torch.arange(20, dtype=torch.uint8).view(5, 1, 2, 2)
    networks = SampledNetworks.prepare(network, guide, images, classes=2, seed=0)
    networks.trunk.cut.head.register_forward_hook(lambda *_: runs.append(1))
    told = Told()
    logits = torch.cat(list(stream_logits(networks, images, 8, reporter=told)), 1)
    assert len(runs) == 3
    assert told.tasks["predicting"] == (40, 40)
    for s in range(8):
        alone = torch.func.functional_call(
            network, {"1.weight": weights[s % 3]}, (images.float() / 255,)
        )
        torch.testing.assert_close(logits[s], alone)
    # Asked for in two parts, as adaptive sampling does, they are the same.
    with torch.no_grad(), told.task("", None, "") as task:
        rest = networks.logits(networks.features(images), range(2, 8), task)
    assert torch.equal(rest, logits[2:])


class Nested(nn.Module):
    """A body with statistics of its own, and a head that overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(inplace=True), nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten()
        )
        self.fc = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(48, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten()),
        nn.Sequential(nn.Linear(48, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 2))),
    )


def convolved() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(18, 2)
    )


def mean_fields(network: nn.Module, random: list[str], members: int = 3) -> Mixture:
    """Members that differ in every weight and statistic, random in a few."""
    draws = torch.Generator().manual_seed(1)
    own = {
        name: torch.rand((members, *value.shape), generator=draws) + 0.1
        for name, value in named_tensors(network).items()
        if value.is_floating_point()
    }
    return Mixture(own, {name: torch.full_like(own[name], -2.0) for name in random})


@pytest.mark.parametrize(
    ("network", "random"),
    [
        (Nested(), ["fc.1.weight", "fc.1.bias"]),
        (plain(), ["1.2.0.weight", "1.2.0.bias"]),
        (plain(), ["1.2.0.bias"]),  # the head has a weight that is a member's, not random
        (convolved(), ["2.weight", "4.weight"]),
    ],
)
def test_what_members_do_not_vary_in_runs_once_for_each(
    network: nn.Module, random: list[str]
) -> None:
    network.eval()
    guide = mean_fields(network, random)
    images = torch.arange(8 * 36, dtype=torch.uint8).view(8, 1, 6, 6)
    networks = SampledNetworks.prepare(network, guide, images, classes=2, seed=4, batch_size=3)
    runs: list[int] = []
    head_runs: list[int] = []
    assert networks.trunk.cut.trunk is not None
    first = next(m for m in networks.trunk.cut.trunk.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_hook(lambda _, given, __: runs.append(len(given[0])))
    networks.trunk.cut.head.register_forward_hook(lambda *_: head_runs.append(1))
    (logits,) = stream_logits(networks, images, 8)
    assert sum(runs) == 3 * len(images)  # members, however many networks
    assert len(head_runs) == 8 * 3  # networks times batches
    draw = guide.sampler()
    for s in range(8):
        weights = draw(generator(4, Stream.PREDICTION, s), s)
        whole = torch.func.functional_call(network, weights, (images.float() / 255,))
        torch.testing.assert_close(logits[s], whole, rtol=1e-5, atol=1e-5)
    with torch.no_grad(), Told().task("", None, "") as task:
        rest = networks.logits(networks.features(images)[2:5], range(4, 7), task)
    torch.testing.assert_close(rest, logits[4:7, 2:5])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.fc = nn.Linear(4, 4)
        self.fc.bias = self.one.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.one(x.flatten(1)))


def test_a_weight_that_trunk_and_head_share_reaches_both() -> None:
    network = Tied().eval()
    guide = mean_fields(network, ["fc.weight"])
    images = torch.arange(20, dtype=torch.uint8).view(5, 1, 2, 2)
    networks = SampledNetworks.prepare(network, guide, images, classes=4, seed=0)
    (logits,) = stream_logits(networks, images, 4)
    for s in range(4):
        weights = guide.sampler()(generator(0, Stream.PREDICTION, s), s)
        whole = torch.func.functional_call(network, weights, (images.float() / 255,))
        torch.testing.assert_close(logits[s], whole)


def test_batches_do_not_change_the_answer(
    classifier: nescio.Classifier, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.test is not None
    whole = classifier.predict_samples(data.test, samples=4)
    decisions = classifier.decide(data.test, samples=4)
    for batch_size, chunk in ((1, 16_384), (7, 16_384), (512, 11), (5, 3)):
        monkeypatch.setattr(sampling, "CHUNK_IMAGES", chunk)
        again = classifier.predict_samples(data.test, samples=4, batch_size=batch_size)
        assert torch.allclose(again, whole, atol=1e-5)
        same = classifier.decide(data.test, samples=4, batch_size=batch_size)
        assert torch.equal(same.verdicts.top, decisions.verdicts.top)
        assert torch.equal(same.accepted, decisions.accepted)


def test_seed_draws_the_networks(classifier: nescio.Classifier, data: Dataset) -> None:
    images = data.train.images[:20, 0].numpy()
    first = classifier.predict_samples(images, samples=5, seed=3)
    assert first.shape == (5, 20, 3)
    assert torch.allclose(first.sum(-1), torch.ones(5, 20), atol=1e-5)
    assert torch.equal(first, classifier.predict_samples(images, samples=5, seed=3))
    assert not torch.equal(first, classifier.predict_samples(images, samples=5, seed=4))
    # Network number s is the same however many are drawn.
    assert torch.equal(classifier.predict_samples(images, samples=9, seed=3)[:5], first)


def test_global_random_state_plays_no_part(classifier: nescio.Classifier, data: Dataset) -> None:
    images = data.train.images[:4, 0]
    torch.manual_seed(1)
    first = classifier.predict_samples(images, samples=3)
    torch.manual_seed(2)
    assert torch.equal(first, classifier.predict_samples(images, samples=3))


def test_draws_have_the_guides_mean_and_scale() -> None:
    loc, raw = {"w": torch.tensor([1.0, -2.0])}, {"w": torch.tensor([0.0, 1.0])}
    guide = MeanField(loc, raw)
    draws = torch.stack([guide.draw(generator(0, Stream.PREDICTION, s))["w"] for s in range(4000)])
    scale = torch.tensor([math.log(2.0), math.log1p(math.e)])
    error = scale / math.sqrt(4000)
    assert bool(((draws.mean(0) - loc["w"]).abs() < 5 * error).all())
    assert torch.allclose(draws.std(0), scale, rtol=0.06)


def test_memory_is_bounded_by_the_chunk() -> None:
    assert sampling.chunk_size(100, 10) * 100 * 10 <= sampling.CHUNK_ELEMENTS
    assert sampling.chunk_size(100, 1000) == 167
    assert sampling.chunk_size(1, 2) == sampling.CHUNK_IMAGES
    assert sampling.chunk_size(10**6, 10**6) == 1


def test_a_million_images_are_streamed(classifier: nescio.Classifier) -> None:
    # The images share memory here; what would grow is the answer, if it were kept.
    images = torch.zeros(1, 1, 6, 6, dtype=torch.uint8).expand(1_000_000, -1, -1, -1)
    networks = SampledNetworks.prepare(
        classifier.network, classifier.guide, images, classes=3, seed=0
    )
    chunks = stream_logits(networks, images, 2)
    first = next(chunks)
    assert first.shape == (2, sampling.CHUNK_IMAGES, 3)


def test_no_images(classifier: nescio.Classifier) -> None:
    empty = torch.empty(0, 6, 6, dtype=torch.uint8)
    assert classifier.predict_samples(empty, samples=4).shape == (4, 0, 3)


def test_a_network_that_gives_nan() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    guide = MeanField(
        {"1.weight": torch.full((2, 4), torch.nan), "1.bias": torch.zeros(2)},
        {"1.weight": torch.zeros(2, 4), "1.bias": torch.zeros(2)},
    )
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    networks = SampledNetworks.prepare(network, guide, images, classes=2, seed=0)
    with pytest.raises(ArchitectureError, match="NaN"):
        next(stream_logits(networks, images, 1))


def test_forced_answers_by_hand() -> None:
    # One very sure network against two mildly sure ones: the average of raw outputs
    # follows the first, the average of probabilities the other two.
    logits = torch.tensor([[[9.0, 0.0]], [[0.0, 2.0]], [[0.0, 2.0]]])
    probabilities = logits.softmax(-1)
    assert forced_labels(logits, probabilities, "logits", None).tolist() == [0]
    assert forced_labels(logits, probabilities, "probability", None).tolist() == [1]
    assert forced_labels(logits, probabilities, "probability", 1).tolist() == [0]


def test_adaptive_sampling_decides_as_all_networks_would(
    classifier: nescio.Classifier, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.test is not None
    seeded = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, data.test.images.shape, dtype=torch.uint8, generator=seeded)
    images = torch.cat([data.test.images, noise])[:, 0]
    monkeypatch.setattr(sampling, "CHUNK_IMAGES", 70)
    for rule in (None, "median:0.2", "none"):
        fixed = classifier.decide(images, rule=rule)
        adaptive = classifier.decide(images, rule=rule, adaptive=True)
        assert torch.equal(
            adaptive.verdicts.top[fixed.accepted], fixed.verdicts.top[fixed.accepted]
        )
        assert torch.equal(adaptive.accepted, fixed.accepted)
        assert torch.equal(adaptive.verdicts.unfamiliar, fixed.verdicts.unfamiliar)
        assert set(fixed.samples.tolist()) == {100}
        assert set(adaptive.samples.tolist()) <= {12, 16, 24, 32, 48, 64, 100}
        # Half of these images are noise, near no decision; still a quarter is saved.
        assert float(adaptive.samples.float().mean()) < 75
    # What it says of an image comes from the first networks, in the order of the images.
    for count in adaptive.samples.unique().tolist():
        first = classifier.predict_samples(images, samples=count).mean(0)
        here = adaptive.samples == count
        torch.testing.assert_close(adaptive.probability[here], first[here], rtol=1e-4, atol=1e-5)


def test_few_samples_leave_nothing_to_adapt(classifier: nescio.Classifier, data: Dataset) -> None:
    images = data.train.images[:5, 0]
    adaptive = classifier.decide(images, samples=7, adaptive=True)
    assert adaptive.samples.tolist() == [7] * 5
    fixed = classifier.decide(images, samples=7)
    assert torch.equal(adaptive.probability, fixed.probability)


class Overwriting(nn.Module):
    """Works on what it is given, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        x -= 0.5
        return self.layer(x)


@pytest.mark.parametrize("before", [[], [nn.Flatten(), nn.Identity()]])
def test_networks_that_overwrite_their_input(before: list[nn.Module]) -> None:
    # All samples share one input; the first must not change it for the next.
    network = nn.Sequential(*before, Overwriting()).eval()
    parameters = {n: p.detach() for n, p in network.named_parameters()}
    guide = MeanField.around(parameters, 0.3)
    images = torch.arange(0, 240, 10, dtype=torch.uint8).view(6, 1, 2, 2)
    networks = SampledNetworks.prepare(network, guide, images, classes=2, seed=0)
    (found,) = stream_logits(networks, images, 3)
    for s, logits in enumerate(found):
        weights = guide.draw(generator(0, Stream.PREDICTION, s))
        x = images.flatten(1) / 255 - 0.5
        weight, bias = weights.values()
        torch.testing.assert_close(logits, x @ weight.T + bias)


def test_a_lack_of_memory_says_what_to_lower(
    classifier: nescio.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object) -> torch.Tensor:
        return torch.empty(2**55)  # more than any address space holds

    monkeypatch.setattr(Cut, "logits", too_much)
    with pytest.raises(OutOfMemoryError, match="out of memory while predicting; lower --samples"):
        classifier.predict_samples(torch.zeros(2, 6, 6, dtype=torch.uint8), samples=2)
