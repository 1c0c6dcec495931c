"""The fast engine against the Pyro program that defines what is fitted."""

import math
import shutil
from collections.abc import Mapping

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from nescio.inference import (
    SCALE_MAPS,
    BayesianNetwork,
    Categorical,
    LaplacePrior,
    MeanField,
    NormalPrior,
    Prior,
    parse_prior,
)
from nescio.inference.engine import KL_EVERY, EngineOptions, PyroEngine, TorchEngine


class StudentPrior:
    """No closed form of the KL is known for it."""

    def __call__(self, name: str, parameter: Tensor) -> dist.Distribution:
        scale = torch.ones_like(parameter)
        return dist.StudentT(4.0, torch.zeros_like(parameter), scale).to_event(parameter.ndim)


class UnevenPrior:
    """Normal, but with another mean and scale for each weight."""

    def __call__(self, name: str, parameter: Tensor) -> dist.Distribution:
        steps = torch.linspace(0.5, 2.0, parameter.numel()).view_as(parameter)
        return dist.Normal(steps - 1, steps).to_event(parameter.ndim)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(12, 4),
        )


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(6, 1, 4, 4, generator=generator)
    return x, torch.arange(6) % 4


def one_step(
    kind: type[PyroEngine] | type[TorchEngine],
    prior: Prior,
    *,
    analytic: bool = True,
    scaled: bool = True,
    kl_weight: float = 1.0,
    random: str = "all",
    scale: str = "softplus",
    seed: int = 0,
) -> tuple[float, float, Mapping[str, Tensor]]:
    """Log-likelihood, KL and all gradients of one step with given noise."""
    net = network()
    model = BayesianNetwork(net, prior, Categorical(), 60, random=random, scale_likelihood=scaled)
    guide = MeanField.around(
        {n: p.detach() for n, p in net.named_parameters() if n in model.priors},
        0.3,
        SCALE_MAPS[scale],
    )
    engine = kind(model, guide, EngineOptions(kl_weight=kl_weight, analytic_kl=analytic))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        elbo = engine.step(*batch(), 1 / 60)
    gradients = {f"loc {n}": p.grad for n, p in guide.loc.items()}
    gradients |= {f"raw {n}": p.grad for n, p in guide.raw_scale.items()}
    gradients |= {n: p.grad for n, p in net.named_parameters() if n not in guide.loc}
    assert all(gradient is not None for gradient in gradients.values())
    found = {name: g.clone() for name, g in gradients.items() if g is not None}
    return float(elbo.log_likelihood), float(elbo.kl), found


@pytest.mark.parametrize("scale", ["softplus", "exp"])
@pytest.mark.parametrize("analytic", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(
    "prior",
    [
        NormalPrior(0.8),
        parse_prior("scaled:1,4.*=normal:2"),
        LaplacePrior(0.7),
        StudentPrior(),
        UnevenPrior(),
    ],
)
def test_same_noise_same_elbo_and_gradients(
    prior: Prior, scaled: bool, analytic: bool, scale: str
) -> None:
    options = {"analytic": analytic, "scaled": scaled, "kl_weight": 0.5, "scale": scale}
    slow = one_step(PyroEngine, prior, **options)
    fast = one_step(TorchEngine, prior, **options)
    assert fast[0] == pytest.approx(slow[0], rel=1e-5)
    assert fast[1] == pytest.approx(slow[1], rel=1e-4)
    assert fast[2].keys() == slow[2].keys()
    for name, gradient in fast[2].items():
        torch.testing.assert_close(gradient, slow[2][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("random", ["head", "0.weight", "0.*,4.bias"])
def test_same_where_only_some_weights_are_random(random: str) -> None:
    slow = one_step(PyroEngine, NormalPrior(), random=random)
    fast = one_step(TorchEngine, NormalPrior(), random=random)
    assert fast[2].keys() == slow[2].keys()
    for name, gradient in fast[2].items():
        torch.testing.assert_close(gradient, slow[2][name], rtol=1e-3, atol=1e-5)


def test_gradient_is_that_of_the_expected_loss() -> None:
    # By central differences of the ELBO of logistic regression with one weight, by quadrature.
    net = nn.Linear(1, 2, bias=False)
    x, y = torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([0, 1, 1])
    model = BayesianNetwork(net, NormalPrior(1.5), Categorical(), 3)
    guide = MeanField({"weight": torch.tensor([[0.3], [-0.2]])}, {"weight": torch.zeros(2, 1)})
    engine = TorchEngine(model, guide)
    draws = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(4000):
            engine.step(x, y, 1.0)
            grads = (guide.loc["weight"].grad, guide.raw_scale["weight"].grad)
            draws.append(torch.cat([g.flatten().clone() for g in grads if g is not None]))
    stacked = torch.stack(draws)
    error = stacked.std(0) / math.sqrt(len(draws))
    expected = _loss_gradient(x[:, 0].double(), y)
    assert bool(((stacked.mean(0) - expected).abs() < 5 * error).all())


def _loss_gradient(x: Tensor, y: Tensor) -> Tensor:
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(60))
    mass = (weights[:, None] * weights[None, :]) / weights.sum() ** 2

    def loss(parameters: Tensor) -> Tensor:
        loc, scale = parameters[:2], torch.nn.functional.softplus(parameters[2:])
        first, second = loc[0] + scale[0] * nodes, loc[1] + scale[1] * nodes
        grid = torch.stack(torch.broadcast_tensors(first[:, None], second[None, :]), -1)
        logits = x[:, None, None, None] * grid
        log_likelihood = logits.log_softmax(-1)[torch.arange(3), :, :, y].sum(0)
        kl = (torch.log(1.5 / scale) + (scale**2 + loc**2) / (2 * 1.5**2) - 0.5).sum()
        return kl - (mass * log_likelihood).sum()

    parameters = torch.tensor([0.3, -0.2, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(parameters), parameters)
    return gradient.float()


def test_a_weight_that_is_not_used_follows_its_prior() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 2), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    net = Idle()
    model = BayesianNetwork(net, NormalPrior(2.0), Categorical(), 4)
    guide = MeanField.around({n: p.detach() for n, p in net.named_parameters()}, 0.5)
    engine = TorchEngine(model, guide)
    engine.step(torch.ones(4, 4), torch.tensor([0, 1, 0, 1]), 1.0)
    grad = guide.loc["idle.weight"].grad
    assert grad is not None
    torch.testing.assert_close(grad, guide.loc["idle.weight"].detach() / 4)


def test_the_value_of_the_kl_is_refreshed_now_and_then() -> None:
    net = nn.Linear(2, 2)
    model = BayesianNetwork(net, NormalPrior(), Categorical(), 4)
    guide = MeanField.around({n: p.detach() for n, p in net.named_parameters()}, 0.5)
    engine = TorchEngine(model, guide)
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    first = float(engine.step(x, y, 1.0).kl)
    with torch.no_grad():
        guide.loc["weight"].add_(1.0)
    held = [float(engine.step(x, y, 1.0).kl) for _ in range(KL_EVERY - 1)]
    assert held == [first] * (KL_EVERY - 1)
    assert float(engine.step(x, y, 1.0).kl) > first


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def task(self, *_: object) -> object:
        raise NotImplementedError

    def note(self, message: str) -> None:
        self.notes.append(message)


def compiled_step(notes: Notes) -> tuple[float, dict[str, Tensor]]:
    net = network()
    model = BayesianNetwork(net, NormalPrior(), Categorical(), 60)
    guide = MeanField.around({n: p.detach() for n, p in net.named_parameters()}, 0.3)
    engine = TorchEngine(model, guide, EngineOptions(compiled=True, reporter=notes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        elbo = engine.step(*batch(), 1 / 60)
        engine.step(*batch(), 1 / 60)
    return float(elbo.log_likelihood), {
        n: p.grad for n, p in guide.loc.items() if p.grad is not None
    }


def test_without_a_compiler_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(_: object) -> object:
        def fail(*_: object) -> object:
            raise RuntimeError("No working C++ compiler found\nmore lines")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    notes = Notes()
    log_likelihood, gradients = compiled_step(notes)
    (note,) = notes.notes
    assert "cannot be compiled here (No working C++ compiler found); training goes on" in note
    assert log_likelihood == one_step(TorchEngine, NormalPrior())[0]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_is_the_same() -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler on this machine")
    notes = Notes()
    log_likelihood, _ = compiled_step(notes)
    assert notes.notes == []
    assert log_likelihood == pytest.approx(one_step(TorchEngine, NormalPrior())[0], rel=1e-5)
