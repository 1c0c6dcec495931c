"""Any module can be lifted: shared, frozen, normalised and lazy layers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pyro import poutine
from torch import nn

from nescio.data import ImageSet
from nescio.errors import ArchitectureError, UsageError
from nescio.inference import (
    ARTICLE,
    DEFAULT,
    BayesianNetwork,
    Categorical,
    Job,
    LaplacePrior,
    LayeredPrior,
    NormalPrior,
    ScaledNormalPrior,
    fit_guide,
    parse_prior,
    random_parameters,
)
from nescio.prediction import SampledNetworks, stream_logits

RECIPE = replace(
    DEFAULT,
    epochs=2,
    minimum_steps=0,
    batch_size=8,
    learning_rate=0.01,
    random="all",
    augment="none",
)


def images(count: int = 16, side: int = 4) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, side, side), generator=generator, dtype=torch.uint8)
    return ImageSet("s", pixels, torch.arange(count) % 2, ("a", "b"))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x.flatten(1)).relu()))


def test_tied_weights_are_one_variable() -> None:
    network = Tied()
    assert sorted(random_parameters(network)) == [
        "first.bias", "first.weight", "head.bias", "head.weight", "second.bias",
    ]  # fmt: skip
    model = BayesianNetwork(network, NormalPrior(), Categorical(), 16)
    trace = poutine.trace(model.model).get_trace(torch.ones(1, 16))
    weights = {name: trace.nodes[name]["value"] for name in random_parameters(network)}
    shared = weights["first.weight"]
    hidden = (torch.ones(1, 16) @ shared.T + weights["first.bias"]).relu()
    hidden = hidden @ shared.T + weights["second.bias"]
    expected = hidden @ weights["head.weight"].T + weights["head.bias"]
    assert torch.allclose(trace.nodes["_RETURN"]["value"], expected, atol=1e-4)


def test_frozen_layers_stay_frozen() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    network[1].requires_grad_(False)
    before = network[1].weight.clone()
    assert list(random_parameters(network)) == ["3.weight", "3.bias"]
    fitted = fit_guide(Job(network, images(), RECIPE))
    assert torch.equal(fitted.network[1].weight, before)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("all", ["1.weight", "1.bias", "3.weight", "3.bias"]),
        ("head", ["3.weight", "3.bias"]),
        ("1.*", ["1.weight", "1.bias"]),
        ("3.bias,1.w*", ["1.weight", "3.bias"]),
    ],
)
def test_which_weights_are_random_is_a_choice(choice: str, names: list[str]) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    assert list(random_parameters(network, choice)) == names
    fitted = fit_guide(Job(network, images(), replace(RECIPE, random=choice)))
    assert list(fitted.guide.loc) == names
    # The others are ordinary weights, and trained.
    for name, parameter in fitted.network.named_parameters():
        if name not in names:
            assert not torch.equal(parameter, network.get_parameter(name))


def test_a_choice_that_fits_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(ArchitectureError, match=r"--random fc\.\*: no such weights; there are"):
        random_parameters(network, "fc.*")


def test_normalisation_is_trained_but_not_random() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
    )
    assert set(random_parameters(network)) == {"0.weight", "0.bias", "4.weight", "4.bias"}
    fitted = fit_guide(Job(network, images(), RECIPE))
    assert not torch.equal(fitted.network[1].weight, network[1].weight)
    assert int(fitted.network[1].num_batches_tracked) == 4
    assert int(network[1].num_batches_tracked) == 0


def test_networks_that_cannot_be_lifted() -> None:
    with pytest.raises(ArchitectureError, match="no trainable weight"):
        random_parameters(nn.Sequential(nn.Flatten(), nn.ReLU()))
    with pytest.raises(ArchitectureError, match="has no shape yet"):
        random_parameters(nn.LazyLinear(2))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), "make its last layer 2 wide"),
        (nn.Sequential(nn.Flatten(), nn.Linear(15, 2)), "fails on images of shape"),
        (nn.Flatten(0), "must give logits"),
    ],
)
def test_networks_that_do_not_fit(network: nn.Module, words: str) -> None:
    with pytest.raises(ArchitectureError, match=words):
        fit_guide(Job(network, images(), RECIPE))


def test_a_network_that_gives_nan() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        network[1].bias[0] = torch.nan
    with pytest.raises(ArchitectureError, match="NaN"):
        fit_guide(Job(network, images(), RECIPE))


class Reads(nn.Module):
    """A network that turns images into something, and runs one layer on it."""

    def __init__(self, layer: nn.Module, form: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.form, self.head = layer, form, nn.LazyLinear(2)
        self(torch.rand(2, 1, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.layer(self.form(x))
        output = output[0] if isinstance(output, tuple) else output
        return self.head(output.flatten(1))


def flat(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


def rows(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def words(x: torch.Tensor) -> torch.Tensor:
    return (x.flatten(1) * 2.99).long()


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        (nn.LSTM(4, 3, batch_first=True), rows),
        (nn.GRU(4, 3, num_layers=2, batch_first=True), rows),
        (nn.LSTMCell(16, 3), flat),
        (nn.Embedding(3, 2), words),
        (nn.ConvTranspose2d(1, 2, 3), nn.Identity()),
        (nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), rows),
        (nn.Sequential(nn.Linear(16, 4), nn.PReLU(), nn.Softplus()), flat),
        (nn.utils.parametrizations.weight_norm(nn.Linear(16, 4)), flat),
    ],
)
@pytest.mark.parametrize("estimator", ["shared", "flipout"])
def test_every_kind_of_layer_is_lifted_and_trained(
    layer: nn.Module, form: Callable[[torch.Tensor], torch.Tensor], estimator: str
) -> None:
    network = Reads(layer, form)
    fitted = fit_guide(Job(network, images(), replace(RECIPE, estimator=estimator), seed=0))
    names = list(random_parameters(network))
    assert any(name.startswith("layer.") for name in names)
    for name in names:
        start = network.get_parameter(name)
        assert not torch.equal(fitted.guide.loc[name], start)
    networks = SampledNetworks.prepare(
        fitted.network, fitted.guide, images().images, classes=2, seed=0
    )
    (logits,) = stream_logits(networks, images().images, 3)
    # Sampled networks differ: their weights do take part.
    assert float((logits[0] - logits[1]).abs().max()) > 0


class KeepsACopy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 16))
        self.held = [self.weight]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.held[0].T


class ChangesWhatItNeeds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.layer(x.flatten(1)).sigmoid()
        hidden += 1
        return hidden


class ChangesItsWeights(KeepsACopy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.weight, nn.Parameter):
            self.weight.mul_(0.5)
        return x.flatten(1) @ self.weight.T


class TwoInputs(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x * mask


class TwoOutputs(nn.Linear):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return super().forward(x.flatten(1)), 1


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            nn.Sequential(KeepsACopy()),
            r"layer '0' \(KeepsACopy\) does not compute with sampled weights: 0.weight would "
            r"change nothing; keep its weights deterministic \(--random .*\), or .* self.weight",
        ),
        (ChangesWhatItNeeds(), "cannot be trained: one of the variables .* in place"),
        (ChangesItsWeights(), "fails with sampled weights: a leaf .* leave it out with --random"),
        (TwoInputs(), "missing 1 required positional argument: 'mask'; a network is given one"),
        (TwoOutputs(16, 2), "must give one tensor of logits, got tuple; wrap it"),
    ],
)
def test_networks_that_cannot_be_lifted_are_told_with_the_mend(
    network: nn.Module, words: str
) -> None:
    with pytest.raises(ArchitectureError, match=words):
        fit_guide(Job(network, images(), RECIPE))


def test_what_cannot_be_random_can_stay_deterministic() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), KeepsACopy())
    fitted = fit_guide(Job(network, images(), replace(RECIPE, random="1.*")))
    assert list(fitted.guide.loc) == ["1.weight", "1.bias"]
    assert not torch.equal(fitted.network[2].weight, network[2].weight)


def test_control_flow_may_depend_on_the_images() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dark, self.light = nn.Linear(16, 2), nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return self.light(x) if float(x.mean()) > 0.5 else self.dark(x)

    fitted = fit_guide(Job(Branches(), images(), RECIPE))
    assert set(fitted.guide.loc) == {"dark.weight", "dark.bias", "light.weight", "light.bias"}


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("normal:1", NormalPrior(1.0)),
        ("normal", NormalPrior(1.0)),
        ("scaled:1.4", ScaledNormalPrior(1.4)),
        ("laplace:0.5", LaplacePrior(0.5)),
        ("normal:1,3.*=scaled:2", LayeredPrior(NormalPrior(1), (("3.*", ScaledNormalPrior(2)),))),
    ],
)
def test_priors_by_name(text: str, prior: object) -> None:
    assert parse_prior(text) == prior
    assert parse_prior(str(prior)) == prior


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cauchy:1",
        "normal:0",
        "normal:-1",
        "normal:x",
        "normal:nan",
        "normal:inf",
        "normal:1,scaled:1",
        "normal:1,=scaled:1",
    ],
)
def test_priors_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="prior"):
        parse_prior(text)


def test_scales_of_the_priors() -> None:
    weight, bias = torch.zeros(5, 4, 3, 3), torch.zeros(5)
    assert float(ScaledNormalPrior(1.2)("w", weight).base_dist.scale[0, 0, 0, 0]) == pytest.approx(
        1.2 / 6
    )
    assert float(ScaledNormalPrior(1.2)("b", bias).base_dist.scale[0]) == pytest.approx(1.2)
    layered = parse_prior("normal:1,head.*=normal:3")
    assert float(layered("body.weight", bias).base_dist.scale[0]) == 1.0
    assert float(layered("head.weight", bias).base_dist.scale[0]) == 3.0
    assert layered("w", weight).event_shape == weight.shape


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")},
        {"kl_weight": -1.0}, {"initial_scale": 0.0}, {"calibration": 1.0}, {"prior": "none"},
        {"engine": "steam"},
    ],
)  # fmt: skip
def test_recipes_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(DEFAULT, **change)


def test_the_articles_recipe_is_named_for_what_it_is() -> None:
    assert ARTICLE.effective_kl_weight(60_000) == 468.75
    assert DEFAULT.effective_kl_weight(60_000) == 1.0
    assert ARTICLE.passes(60_000) == 5
    assert ARTICLE.steps_per_epoch(60_000) == 469
    assert replace(DEFAULT, epochs=3, minimum_steps=100).passes(128 * 10) == 10
