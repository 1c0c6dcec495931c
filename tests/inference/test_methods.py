"""How each kind of posterior is fitted, against posteriors that are known."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests_support import QUICK, Told, small_network, stripes
from torch import Tensor, nn

from nescio.data import ImageSet, to_float
from nescio.errors import ArchitectureError, UsageError
from nescio.inference import (
    BayesianNetwork,
    Dropout,
    FullNormal,
    Job,
    KroneckerNormal,
    LowRank,
    MeanField,
    Mixture,
    Posterior,
    Recipe,
    fit_guide,
    fit_posterior,
    parse_prior,
)
from nescio.inference.engine import EngineOptions
from nescio.inference.hmc import nuts
from nescio.inference.ivon import OnlineNewton, ivon
from nescio.inference.learner import LearnerOf, low_rank
from nescio.inference.point import point
from nescio.network import named_tensors

RECIPE = replace(
    QUICK,
    epochs=2,
    minimum_steps=0,
    random="all",
    augment="none",
    estimator="auto",
    prior="normal:1",
)


def recipe(posterior: str, **changes: Any) -> Recipe:
    return replace(RECIPE, **{"posterior": posterior, **changes})


def pixels(count: int, seed: int) -> Tensor:
    """``(count, 1, 1, 2)`` uint8: two pixels that are bright together."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.rand(count, 1, generator=generator)
    own = torch.rand(count, 2, generator=generator)
    return (255 * (0.7 * both + 0.3 * own)).round().to(torch.uint8).view(count, 1, 1, 2)


class First:
    """Labels are numbers around the first output, with standard deviation 1."""

    def __call__(self, output: Tensor) -> Any:
        return torch.distributions.Normal(output[:, 0], 1.0)


def line(outputs: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(2, outputs, bias=False))


def regression(count: int = 60) -> tuple[ImageSet, Tensor, Tensor]:
    """A conjugate problem: images, and the posterior's mean and precision of the first row."""
    images = pixels(count, 0)
    labels = torch.arange(count) % 3
    x = to_float(images).flatten(1)
    precision = x.T @ x + torch.eye(2)
    mean = torch.linalg.solve(precision, x.T @ labels.float())
    return ImageSet("line", images, labels, ("a", "b", "c")), mean, precision


LONG = {"epochs": 1000, "batch_size": 60, "learning_rate": 0.02, "schedule": "one-cycle"}


def stepped(make: LearnerOf, data: ImageSet, rate: float, steps: int) -> Posterior:
    """A learner after so many steps on all images, without all that goes on around them."""
    settings = recipe("mean-field", **{**LONG, "epochs": steps, "learning_rate": rate})
    model = BayesianNetwork(line(), parse_prior("normal:1"), First(), len(data))
    options = EngineOptions(generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = make(model, settings, options, torch.Generator().manual_seed(0))
        optimisers = learner.optimisers([], rate)
        falls = [torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.01, steps) for o in optimisers]
        x, y = to_float(data.images), data.require_labels()
        for _ in range(steps):
            learner.step(x, y, 1 / len(data))
            for each in (*optimisers, *falls):
                each.step()
    return learner.snapshot()


@pytest.mark.slow
def test_a_low_rank_normal_finds_a_posterior_whose_weights_depend_on_each_other() -> None:
    data, mean, precision = regression()
    guide = stepped(low_rank(1), data, 0.02, 3000)
    assert isinstance(guide, LowRank)
    rows = guide.factor["1.weight"][:, 0].detach()
    found = rows.T @ rows + guide.scale("1.weight")[0].detach().square().diag()
    exact = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
    ours = torch.distributions.MultivariateNormal(guide.loc["1.weight"][0].detach(), found)
    # The least that an independent Normal can come to is the one with the precision's diagonal.
    independent = precision.diagonal().reciprocal().diag()
    best = torch.distributions.MultivariateNormal(mean, independent)
    kl = torch.distributions.kl_divergence
    assert float(kl(ours, exact)) < 0.1 < 0.5 * float(kl(best, exact))


@pytest.mark.slow
def test_ivon_finds_the_best_mean_field() -> None:
    data, mean, precision = regression()
    guide = stepped(ivon, data, 0.02, 3000)
    assert isinstance(guide, MeanField)
    away = guide.loc["1.weight"][0].detach() - mean
    assert float(0.5 * away @ precision @ away) < 0.03, "in nats of KL"
    scales = guide.scale("1.weight").detach()
    # The best independent Normal has the precision's diagonal (Bishop 2006, 10.1.2).
    torch.testing.assert_close(scales[0], precision.diagonal().rsqrt(), rtol=0.1, atol=0)
    # Nothing is learnt of the second output: its row keeps the prior, Normal(0, 1).
    torch.testing.assert_close(scales[1], torch.ones(2), rtol=0.02, atol=0)


def test_the_online_newton_on_a_quadratic() -> None:
    """Its posterior is known: precision N a + d N, and the mean between data and prior."""
    torch.manual_seed(0)
    curvature, middle, size, decay = torch.tensor([0.3, 2.0]), torch.tensor([1.0, -2.0]), 50.0, 0.1
    weights = nn.Parameter(torch.zeros(2))
    newton = OnlineNewton({weights: decay}, size=size, scale=0.1, rate=0.3, memory=0.02)
    means, scales = [], []
    for step in range(800):
        scale, noise = newton.scale(weights), torch.randn(2)
        gradient = curvature * (weights.detach() + scale * noise - middle)
        weights.grad = gradient
        newton.state[weights]["curvature"] = gradient * noise / scale
        newton.step()
        if step >= 300:
            means.append(weights.detach().clone())
            scales.append(newton.scale(weights))
    exact = (size * (curvature + decay)).rsqrt()
    torch.testing.assert_close(torch.stack(scales).mean(0), exact, rtol=0.1, atol=0)
    exact_mean = curvature * middle / (curvature + decay)
    torch.testing.assert_close(torch.stack(means).mean(0), exact_mean, rtol=0, atol=0.06)


def test_nuts_finds_a_normal() -> None:
    precision = torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    mean = torch.tensor([1.0, -1.0], dtype=torch.float64)

    def energy(at: Tensor) -> Tensor:
        return 0.5 * (at - mean) @ precision @ (at - mean)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = nuts(energy, torch.zeros(2, dtype=torch.float64), 150, 100, None)
    assert draws.shape == (150, 2)
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=0.35)
    torch.testing.assert_close(draws.T.cov(), precision.inverse(), rtol=0.5, atol=0.25)


@pytest.mark.slow
def test_hmc_finds_the_conjugate_posterior() -> None:
    data, mean, precision = regression(30)
    fit = fit_posterior(Job(line(), data, recipe("hmc:200", epochs=50), likelihood=First(), seed=1))
    assert isinstance(fit.guide, Mixture)
    assert fit.guide.members == 200
    draws = fit.guide.loc["1.weight"][:, 0]
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=0.25)
    torch.testing.assert_close(draws.T.cov(), precision.inverse(), rtol=0.5, atol=0.1)
    assert fit.diagnostics["worst R-hat"] < 1.1
    assert fit.diagnostics["least effective sample size"] > 50


def test_one_network_is_the_maximum_of_the_posterior_density() -> None:
    """scikit-learn's logistic regression is another way to it."""
    from sklearn.linear_model import LogisticRegression

    images = pixels(80, 1)
    x = to_float(images).flatten(1)
    labels = (x[:, 0] > x[:, 1]).long()
    data = ImageSet("two", images, labels, ("a", "b"))
    settings = replace(RECIPE, epochs=150, batch_size=80, learning_rate=0.3, schedule="one-cycle")
    guide = fit_guide(Job(line(2), data, settings), learner=point).guide
    theirs = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-8).fit(x, labels).coef_[0]
    weights = guide.center()["1.weight"].detach()
    # Two rows with variance 1 each: their difference, which alone counts, has the variance 2,
    # which is what C stands for.
    difference = (weights[1] - weights[0]).double()
    torch.testing.assert_close(difference, torch.from_numpy(theirs), rtol=5e-3, atol=5e-3)


def laplace_case() -> tuple[ImageSet, nn.Module]:
    pytest.importorskip("laplace", reason="laplace-torch is not installed (nescio[laplace])")
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    return stripes(60, 0), network


def theirs_of(fit: Any, data: ImageSet, structure: str) -> Any:
    """laplace-torch's own posterior around the same weights."""
    from laplace import Laplace
    from laplace.curvature import CurvlinopsGGN
    from torch.utils.data import DataLoader, TensorDataset

    network = fit.network
    with torch.no_grad():
        for name, value in named_tensors(network).items():
            value.copy_(fit.guide.center()[name])
    theirs = Laplace(
        network,
        "classification",
        subset_of_weights="all",
        hessian_structure=structure,
        prior_precision=4.0,
        backend=CurvlinopsGGN,
    )
    inputs = TensorDataset(to_float(data.images), data.require_labels())
    theirs.fit(DataLoader(inputs, batch_size=128))
    return theirs


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_laplace_in_full_is_laplace_torchs() -> None:
    data, network = laplace_case()
    fit = fit_posterior(Job(network, data, recipe("laplace", prior="normal:0.5")))
    assert isinstance(fit.guide, FullNormal)
    theirs = theirs_of(fit, data, "full")
    found = fit.guide.root @ fit.guide.root.T
    torch.testing.assert_close(found, theirs.posterior_covariance, rtol=1e-3, atol=1e-5)
    # For a network that is linear in its weights, the variance of logits is exact.
    x = to_float(stripes(4, 1).images)
    _, variance = theirs._glm_predictive_distribution(x)
    draw, generator = fit.guide.sampler(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        logits = torch.stack(
            [torch.func.functional_call(fit.network, draw(generator), (x,)) for _ in range(2000)]
        )
    torch.testing.assert_close(
        logits.var(0), variance.diagonal(dim1=1, dim2=2).detach(), rtol=0.2, atol=0
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_laplace_by_kronecker_factors_is_laplace_torchs() -> None:
    data, network = laplace_case()
    fit = fit_posterior(Job(network, data, recipe("laplace:kron", prior="normal:0.5")))
    guide = fit.guide
    assert isinstance(guide, KroneckerNormal)
    blocks = []
    for name in guide.names:
        turn = torch.kron(guide.left[name], guide.right[name])
        blocks.append(turn @ guide.scale[name].flatten().square().diag() @ turn.T)
    wanted = theirs_of(fit, data, "kron").posterior_precision.to_matrix(exponent=-1)
    torch.testing.assert_close(torch.block_diag(*blocks), wanted.detach(), rtol=1e-3, atol=1e-5)


def test_laplace_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nescio.inference.laplace.find_spec", lambda _: None)
    told = Told()
    with pytest.raises(UsageError, match=r"pip install 'nescio\[laplace\]'"):
        fit_posterior(Job(small_network(), stripes(30, 0), recipe("laplace"), reporter=told))
    assert not told.tasks


@pytest.mark.parametrize(
    ("posterior", "network", "changes", "message"),
    [
        ("ivon", small_network, {"prior": "laplace:1"}, "ivon needs a Normal prior"),
        ("laplace", small_network, {"prior": "laplace:1"}, "laplace needs a Normal prior"),
        (
            "laplace",
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 200), nn.Linear(200, 3)),
            {},
            r"8,003 random weights is too large .at most 4,096.; take laplace:kron",
        ),
        (
            "hmc",
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 60), nn.Linear(60, 3)),
            {},
            r"2,403 random weights are too many .at most 2,000.; let fewer be random",
        ),
        (
            "dropout",
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Linear(4, 3)),
            {"random": "2.*"},
            "no random layer has 8 inputs or more",
        ),
    ],
)
def test_what_cannot_be_is_told_before_training(
    posterior: str,
    network: Callable[[], nn.Module],
    changes: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nescio.inference.laplace.find_spec", lambda _: object())
    told = Told()
    with pytest.raises((UsageError, ArchitectureError), match=message):
        fit_posterior(Job(network(), stripes(30, 0), recipe(posterior, **changes), reporter=told))
    assert not told.tasks


def test_hmc_of_too_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nescio.inference.hmc.MOST_IMAGES", 20)
    with pytest.raises(UsageError, match="30 training images are too many"):
        fit_posterior(Job(small_network(), stripes(30, 0), recipe("hmc")))


class Normed(nn.Module):
    """A frozen layer, batch normalisation with running statistics, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(1, 2, 3)
        self.frozen.requires_grad_(False)
        self.norm, self.head = nn.BatchNorm2d(2), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.frozen(x)).flatten(1))
        return logits


def normed(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Normed()
        torch.manual_seed(seed % 2**31)
        network.head.reset_parameters()
        return network


def test_members_own_what_they_do_not_share() -> None:
    fit = fit_posterior(Job(normed(0), stripes(60, 0), recipe("ensemble:3"), again=normed, seed=1))
    guide = fit.guide
    assert isinstance(guide, Mixture)
    assert guide.members == 3
    assert set(guide.names) == {
        *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
        *("head.weight", "head.bias"),
    }
    weights = guide.loc["head.weight"]
    assert not torch.equal(weights[0], weights[1])
    assert [epoch.epoch for epoch in fit.history] == [1, 2, 3, 4, 5, 6]
    again = fit_posterior(
        Job(normed(0), stripes(60, 0), recipe("ensemble:3"), again=normed, seed=1)
    )
    assert torch.equal(again.guide.tensors()["loc/head.weight"], weights)


def test_mean_fields_side_by_side_are_mean_fields_each() -> None:
    settings = recipe("mean-field-ensemble:2", random="head")
    fit = fit_posterior(Job(normed(0), stripes(60, 0), settings, again=normed))
    guide = fit.guide
    assert isinstance(guide, Mixture)
    assert list(guide.raw_scale) == ["head.weight", "head.bias"]
    assert "norm.running_mean" in guide.names
    assert guide.distinct is None


class Stop:
    """Ctrl-C at a step, counted over all tasks."""

    def __init__(self, at: int) -> None:
        self.left = at

    def task(self, description: str, total: int | None, unit: str) -> "Stop":
        return self

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, amount: int = 1, status: str = "") -> None:
        self.left -= amount
        if self.left < 0:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        pass


@pytest.mark.parametrize(("at", "members"), [(9, 2), (7, 2), (13, 3)])
def test_members_that_are_complete_survive_a_stop(at: int, members: int) -> None:
    """Four steps a member: 60 images, batches of 32, two passes."""
    settings = recipe("ensemble:4")
    fit = fit_posterior(
        Job(
            small_network(),
            stripes(60, 0),
            settings,
            reporter=Stop(at),
            again=lambda _: small_network(),
        )
    )
    assert isinstance(fit.guide, Mixture)
    assert fit.guide.members == members
    assert fit.stopped == "interrupted"


@pytest.mark.parametrize("posterior", ["swag:3", "hmc:20"])
def test_a_stop_after_training_keeps_the_network(posterior: str) -> None:
    fit = fit_posterior(Job(small_network(), stripes(60, 0), recipe(posterior), reporter=Stop(4)))
    assert isinstance(fit.guide, Mixture)
    assert (fit.guide.members, fit.stopped) == (1, "interrupted")


def test_dropout_is_trained_with_and_stored_as_it_is() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3))
    fit = fit_posterior(Job(network, stripes(60, 0), recipe("dropout:0.3", random="head")))
    assert isinstance(fit.guide, Dropout)
    assert fit.guide.groups == {"3.weight": 1}
    assert list(fit.guide.names) == ["3.weight", "3.bias"]
    assert not fit.network[3]._forward_pre_hooks, "the network is as it was given"
    plain = fit_posterior(Job(network, stripes(60, 0), recipe("ensemble:2")))
    assert not torch.equal(plain.guide.center()["3.weight"], fit.guide.loc["3.weight"])


def test_swag_lets_only_random_weights_walk() -> None:
    fit = fit_posterior(Job(normed(0), stripes(60, 0), recipe("swag:4", random="head")))
    assert isinstance(fit.guide, LowRank)
    assert fit.guide.rank == 4
    assert list(fit.guide.names) == ["head.weight", "head.bias"]
    spread = fit.guide.variance("head.weight").detach()
    assert bool((spread > 0).all())
    assert math.isfinite(float(spread.sum()))
