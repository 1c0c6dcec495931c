"""Estimators: every one estimates the same ELBO, and each does it for the right layers."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nescio.data import ImageSet
from nescio.errors import UsageError
from nescio.inference import (
    DEFAULT,
    BayesianNetwork,
    Categorical,
    Job,
    MeanField,
    NormalPrior,
    fit_guide,
    random_parameters,
)
from nescio.inference.engine import EngineOptions, TorchEngine
from nescio.inference.estimators import (
    SPREAD,
    Estimator,
    PerImage,
    suitable_estimator,
    with_per_image_layers,
)

LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(6, 4), (5, 6)),
    (nn.Linear(6, 4, bias=False), (5, 3, 6)),
    (nn.Conv1d(2, 3, 3, padding=1), (5, 2, 6)),
    (nn.Conv2d(2, 4, 3, stride=2, groups=2), (5, 2, 6, 7)),
    (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False), (5, 2, 6, 7)),
    (nn.Conv3d(1, 2, 2, dilation=2), (5, 1, 4, 5, 3)),
]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return make()


class Attention(nn.Module):
    """Linear layers beside layers whose weights can only be sampled."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent = nn.GRU(4, 3, batch_first=True)
        self.upwards = nn.ConvTranspose1d(3, 3, 2)
        self.places = nn.Embedding(4, 4)
        self.twice = nn.Linear(3, 3)
        self.head = nn.Linear(3, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.tied(self.embed(x[:, 0])) + self.places(torch.arange(4))
        x = self.recurrent(self.attention(x, x, x)[0])[0]
        x = self.upwards(x.transpose(1, 2)).mean(-1)
        return self.head(self.twice(self.twice(x).relu()).relu())


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 4))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 2), nn.Flatten(), nn.Linear(3, 4)
    )


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(6, 1, 4, 4, generator=generator), torch.arange(6) % 4


def steps(
    network: nn.Module,
    estimator: Estimator,
    count: int,
    random: str = "all",
    images: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-likelihoods ``(count,)`` and gradients ``(count, P)`` at one and the same guide."""
    model = BayesianNetwork(network, NormalPrior(0.8), Categorical(), 60, random=random)
    chosen = {n: p.detach() for n, p in random_parameters(network, random).items()}
    guide = MeanField.around(chosen, 0.3)
    engine = TorchEngine(model, guide, EngineOptions(estimator=estimator))
    values, gradients = [], []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(count):
            values.append(engine.step(*(images or batch()), 1 / 60).log_likelihood)
            grads = [p.grad.flatten() for p in guide.parameters() if p.grad is not None]
            gradients.append(torch.cat(grads).clone())
    return torch.stack(values), torch.stack(gradients)


def errors_apart(first: Tensor, second: Tensor) -> Tensor:
    """The difference of two means, in standard errors, column by column."""
    error = (first.var(0) / len(first) + second.var(0) / len(second)).sqrt()
    return (first.mean(0) - second.mean(0)).abs() / error.clamp_min(1e-12)


@pytest.mark.parametrize(
    ("make", "estimator", "random"),
    [
        (mlp, "local", "head"),
        (mlp, "flipout", "head"),
        pytest.param(mlp, "local", "all", marks=pytest.mark.slow),
        pytest.param(mlp, "flipout", "all", marks=pytest.mark.slow),
        pytest.param(cnn, "flipout", "all", marks=pytest.mark.slow),
        pytest.param(cnn, "flipout", "head", marks=pytest.mark.slow),
    ],
)
def test_same_elbo_and_gradients_in_expectation(
    make: Callable[[], nn.Module], estimator: Estimator, random: str
) -> None:
    network = seeded(make)
    shared = steps(network, "shared", 1000, random)
    other = steps(network, estimator, 1000, random)
    assert float(errors_apart(shared[0], other[0])) < 4.5
    # About 200 gradients, so the largest of their deviations is near three.
    assert float(errors_apart(shared[1], other[1]).max()) < 5


@pytest.mark.parametrize("estimator", ["local", "flipout"])
def test_errors_of_a_batch_average_out(estimator: Estimator) -> None:
    # Eight times the same image: one network errs eight times alike, eight networks do not.
    same = torch.full((8, 1, 4, 4), 0.5), torch.zeros(8, dtype=torch.int64)
    network = seeded(mlp)
    shared, other = (steps(network, e, 600, "all", same)[0] for e in ("shared", estimator))
    ratio = float(other.var() / shared.var())
    if estimator == "local":
        assert ratio == pytest.approx(1 / 8, rel=0.3)
    else:  # its networks differ in signs only, so they are uncorrelated but not independent
        assert 0.1 < ratio < 0.25


@pytest.mark.parametrize(
    ("layer", "shape", "flipout"),
    [
        *((*LAYERS[place], flipout) for place, flipout in ((0, False), (3, True))),
        *(
            pytest.param(*case, flipout, marks=pytest.mark.slow)
            for place, case in enumerate(LAYERS)
            for flipout in (True, False)
            if (place, flipout) not in ((0, False), (3, True))
        ),
    ],
)
def test_a_layers_output_has_the_mean_and_variance_of_sampled_weights(
    layer: nn.Module, shape: tuple[int, ...], flipout: bool
) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.1
    names = [name for name, _ in layer.named_parameters()]
    scales = {n: torch.rand_like(p) * 0.3 + 0.1 for n, p in layer.named_parameters()}
    means = {n: p.detach() for n, p in layer.named_parameters()}
    per_image = PerImage(layer, names, flipout=flipout)
    count = 1500
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        sampled, found = [], []
        for _ in range(count):
            weights = {n: means[n] + scales[n] * torch.randn_like(means[n]) for n in names}
            sampled.append(torch.func.functional_call(layer, weights, (x,)))
            spreads = {n: s * torch.randn_like(s) if flipout else s for n, s in scales.items()}
            leaves = {**means, **{n + SPREAD: s for n, s in spreads.items()}}
            found.append(torch.func.functional_call(per_image, leaves, (x,)))
    expected, observed = torch.stack(sampled), torch.stack(found)
    assert observed.shape == expected.shape
    assert float(errors_apart(expected, observed).max()) < 5
    ratio = observed.var(0) / expected.var(0)
    assert float((ratio - 1).abs().max()) < 5 * math.sqrt(4 / count)
    # Each image under weights of its own: two images do not move together.
    between = torch.corrcoef(observed[:, :2].flatten(2)[:, :, 0].T)[0, 1]
    assert abs(float(between)) < 5 / math.sqrt(count)


def test_positions_of_an_image_share_its_weights_under_flipout() -> None:
    # One pixel everywhere the same: a convolution's output must be, too.
    layer = nn.Conv2d(1, 2, 2)
    leaves = {n: p.detach() for n, p in layer.named_parameters()}
    leaves |= {n + SPREAD: torch.full_like(p, 0.5) for n, p in layer.named_parameters()}
    call = torch.func.functional_call
    x = torch.ones(3, 1, 4, 4)
    output = call(PerImage(layer, ["weight", "bias"], flipout=True), leaves, (x,))
    assert torch.allclose(output, output[:, :, :1, :1].expand_as(output))
    local = call(PerImage(layer, ["weight", "bias"], flipout=False), leaves, (x,))
    assert not torch.allclose(local, local[:, :, :1, :1].expand_as(local))


def test_a_bias_that_is_not_random_stays_as_it_is() -> None:
    layer = nn.Linear(2, 3)
    leaves = {"weight": layer.weight.detach(), "weight" + SPREAD: torch.full((3, 2), 0.2)}
    per_image = PerImage(layer, ["weight"], flipout=False)
    assert "bias" + SPREAD not in dict(per_image.named_parameters())
    output = torch.func.functional_call(per_image, leaves, (torch.zeros(4, 2),))
    torch.testing.assert_close(output, layer.bias.expand(4, 3), atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["local", "flipout"])
def test_other_layers_keep_sampled_weights(estimator: Estimator) -> None:
    network = seeded(Attention)
    random = random_parameters(network)
    x, _ = batch()
    twin, names = with_per_image_layers(network, random, estimator, x[:2])
    # Tied, run twice, or of another type: none of these may be per image.
    assert names == {"head.weight", "head.bias"}
    assert type(network.head) is nn.Linear
    assert type(twin.head) is PerImage
    # Beside each other: the same ELBO, whichever way the head's weights are drawn.
    shared, other = steps(network, "shared", 300), steps(network, estimator, 300)
    assert float(errors_apart(shared[0], other[0])) < 4.5


def test_a_layer_that_sees_positions_as_images_is_left_alone() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.head = nn.Linear(4, 3), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.patch(x.view(-1, 4)).view(len(x), 12))

    network = Patches()
    _, names = with_per_image_layers(network, random_parameters(network), "flipout", batch()[0])
    assert names == {"head.weight", "head.bias"}


def test_a_network_of_one_layer() -> None:
    network = nn.Linear(4, 2)
    twin, names = with_per_image_layers(
        network, random_parameters(network), "local", torch.rand(2, 4)
    )
    assert type(twin) is PerImage
    assert names == {"weight", "bias"}


PIXELS = (torch.arange(40) % 2) * 120 + torch.arange(40) * 3
DARK_OR_LIGHT = torch.arange(40) % 2


@cache
def optimum() -> tuple[Tensor, Tensor]:
    """Means and scales of the mean-field optimum for one pixel, by quadrature.

    The difference of the two logits is Normal, so the ELBO is a sum of integrals over it.
    """
    x, sign = PIXELS.double() / 255, (2 * DARK_OR_LIGHT - 1).double()[:, None]
    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(60))
    parameters = torch.tensor([0.0] * 4 + [-1.0] * 4, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        loc, scale = parameters[:4], parameters[4:].exp()  # two weights, then two biases
        mean = (loc[1] - loc[0]) * x + loc[3] - loc[2]
        variance = scale[:2].square().sum() * x**2 + scale[2:].square().sum()
        logits = mean[:, None] + variance.sqrt()[:, None] * nodes
        log_likelihood = (nn.functional.logsigmoid(sign * logits) * mass).sum() / mass.sum()
        return (-scale.log() + (scale**2 + loc**2) / 2 - 0.5).sum() - log_likelihood

    def closure() -> Tensor:
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search = torch.optim.LBFGS([parameters], max_iter=500, line_search_fn="strong_wolfe")
    search.step(closure)
    found = parameters.detach().float()
    return found[:4], found[4:].exp()


@pytest.mark.parametrize(
    "change",
    [
        {},
        *(
            pytest.param(change, marks=pytest.mark.slow)
            for change in (
                {"estimator": "local"},
                {"estimator": "flipout"},
                {"scale": "exp"},
                {"engine": "pyro"},
            )
        ),
    ],
)
def test_posteriors_agree_on_a_small_problem(change: dict[str, str]) -> None:
    data = ImageSet(
        "pixel", PIXELS.to(torch.uint8)[:, None, None, None], DARK_OR_LIGHT, ("dark", "light")
    )
    recipe = replace(
        DEFAULT,
        epochs=800,
        minimum_steps=0,
        batch_size=40,
        learning_rate=0.03,
        random="all",
        initial_scale=0.05,
        augment="none",
    )
    network = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    guide = fit_guide(Job(network, data, replace(recipe, **change), seed=0)).guide
    means, scales = optimum()
    found = torch.cat([guide.loc[name].detach().flatten() for name in guide.names])
    torch.testing.assert_close(found, means, atol=0.08, rtol=0)
    found = torch.cat([guide.scale(name).detach().flatten() for name in guide.names])
    torch.testing.assert_close(found, scales, rtol=0.12, atol=0)


def test_the_pyro_engine_runs_one_network_a_step() -> None:
    with pytest.raises(UsageError, match="--engine pyro runs one network a step"):
        replace(DEFAULT, engine="pyro", estimator="local")
    with pytest.raises(UsageError, match="--estimator must be one of auto, shared, local, flipout"):
        replace(DEFAULT, estimator="global")


def test_the_estimator_that_suits() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    assert suitable_estimator(network, ["2.weight", "2.bias"]) == "local"
    assert suitable_estimator(network, ["0.weight", "2.weight"]) == "shared"
    assert suitable_estimator(network, ["0.weight"]) == "shared"
    assert suitable_estimator(nn.Linear(4, 2), ["weight", "bias"]) == "local"
