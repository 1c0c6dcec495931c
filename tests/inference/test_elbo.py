"""The ELBO against closed forms, against Pyro's own estimators, and as a bound."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from scipy import integrate, optimize, stats
from torch import Tensor, nn

from nescio.inference import BayesianNetwork, Categorical, MeanField, estimate_elbo, parse_prior
from nescio.inference.prior import LaplacePrior, NormalPrior
from nescio.inference.scale import Softplus


def guide_at(parameters: dict[str, tuple[list[float], list[float]]]) -> MeanField:
    """A mean-field guide with these means and standard deviations."""
    loc = {name: torch.tensor(mean) for name, (mean, _) in parameters.items()}
    raw = {
        name: torch.tensor(scale).apply_(Softplus().inverse)
        for name, (_, scale) in parameters.items()
    }
    return MeanField(loc, raw)


class Gaussian:
    """Observations with known noise around the network's one output."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def __call__(self, output: Tensor) -> dist.Distribution:
        return dist.Normal(output[:, 0], self.noise)


def linear(design: Tensor, prior_scale: float, noise: float) -> BayesianNetwork:
    network = nn.Linear(design.shape[1], 1, bias=False)
    return BayesianNetwork(network, NormalPrior(prior_scale), Gaussian(noise), len(design))


def log_evidence(design: Tensor, y: Tensor, prior_scale: float, noise: float) -> float:
    """log p(y) of conjugate linear regression: a multivariate normal."""
    x = design.numpy()
    covariance = prior_scale**2 * x @ x.T + noise**2 * np.eye(len(x))
    return float(stats.multivariate_normal(np.zeros(len(x)), covariance).logpdf(y.numpy()))


def exact_posterior(
    design: Tensor, y: Tensor, prior_scale: float, noise: float
) -> tuple[Tensor, Tensor]:
    """Mean and precision of the weights of conjugate linear regression."""
    precision = design.T @ design / noise**2 + torch.eye(design.shape[1]) / prior_scale**2
    return torch.linalg.solve(precision, design.T @ y / noise**2), precision


def test_kl_of_normals_by_hand() -> None:
    network = nn.Linear(1, 2, bias=False)
    model = BayesianNetwork(network, NormalPrior(2.0), Categorical(), 1)
    guide = guide_at({"weight": ([[0.5], [-1.0]], [[0.3], [1.5]])})
    x, y = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    by_hand = sum(
        math.log(2.0 / s) + (s**2 + m**2) / (2 * 2.0**2) - 0.5 for m, s in ((0.5, 0.3), (-1, 1.5))
    )
    kl = estimate_elbo(model.model, guide, x, y).kl.detach()
    assert float(kl) == pytest.approx(by_hand, rel=1e-5)


def test_kl_of_normal_and_laplace_by_quadrature() -> None:
    model = BayesianNetwork(nn.Linear(1, 1, bias=False), LaplacePrior(0.7), Gaussian(1.0), 1)
    guide = guide_at({"weight": ([[0.4]], [[0.6]])})
    q, p = stats.norm(0.4, 0.6), stats.laplace(0, 0.7)
    expected, _ = integrate.quad(
        lambda w: q.pdf(w) * (q.logpdf(w) - p.logpdf(w)), -8, 8, points=[0]
    )
    elbo = estimate_elbo(model.model, guide, torch.zeros(1, 1), torch.zeros(1))
    assert float(elbo.kl.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_sampled_kl_agrees_in_expectation() -> None:
    model = BayesianNetwork(nn.Linear(3, 2), NormalPrior(1.0), Categorical(), 1)
    guide = MeanField.around({"weight": torch.randn(2, 3), "bias": torch.randn(2)}, 0.5)
    x, y = torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64)
    torch.manual_seed(0)
    exact = float(estimate_elbo(model.model, guide, x, y).kl.detach())
    with torch.no_grad():
        draws = torch.stack(
            [estimate_elbo(model.model, guide, x, y, analytic_kl=False).kl for _ in range(3000)]
        )
    error = float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(draws.mean()) - exact) < 5 * error


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("analytic", [True, False])
def test_equals_pyros_own_estimate(scaled: bool, analytic: bool) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    model = BayesianNetwork(
        network, parse_prior("scaled:1"), Categorical(), 100, scale_likelihood=scaled
    )
    guide = MeanField.around({n: p.detach() for n, p in network.named_parameters()}, 0.1)
    x, y = torch.randn(10, 4), torch.randint(0, 3, (10,))
    torch.manual_seed(2)
    ours = estimate_elbo(model.model, guide, x, y, analytic_kl=analytic)
    torch.manual_seed(2)
    pyros = (TraceMeanField_ELBO() if analytic else Trace_ELBO()).loss(model.model, guide, x, y)
    assert -float(ours.value.detach()) == pytest.approx(pyros, rel=1e-5)


def test_a_batch_speaks_for_the_whole_set() -> None:
    torch.manual_seed(0)
    network = nn.Linear(2, 2)
    x, y = torch.randn(5, 2), torch.randint(0, 2, (5,))
    guide = MeanField.around({n: p.detach() for n, p in network.named_parameters()}, 0.1)

    def log_likelihood(size: int, scaled: bool) -> float:
        model = BayesianNetwork(
            network, NormalPrior(), Categorical(), size, scale_likelihood=scaled
        )
        torch.manual_seed(3)
        return float(estimate_elbo(model.model, guide, x, y).log_likelihood.detach())

    assert log_likelihood(50, True) == pytest.approx(10 * log_likelihood(5, True), rel=1e-5)
    assert log_likelihood(50, False) == pytest.approx(log_likelihood(5, True), rel=1e-5)


def test_is_the_log_evidence_when_the_guide_is_exact() -> None:
    # With an orthogonal design the exact posterior is itself mean field.
    design = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    y = torch.tensor([1.0, -0.7, 0.2, 1.1])
    mean, precision = exact_posterior(design, y, 1.5, 0.5)
    guide = guide_at({"weight": ([mean.tolist()], [precision.diagonal().rsqrt().tolist()])})
    model = linear(design, 1.5, 0.5)
    torch.manual_seed(0)
    with torch.no_grad():
        estimates = [
            float(estimate_elbo(model.model, guide, design, y, analytic_kl=False).value)
            for _ in range(20)
        ]
    # log p(y, w) - log q(w) is then log p(y) for every w: no variance is left.
    assert estimates == pytest.approx([log_evidence(design, y, 1.5, 0.5)] * 20, abs=2e-4)


def test_is_below_the_log_evidence_by_the_kl_to_the_posterior() -> None:
    design = torch.tensor([[1.0, 0.9], [0.8, 1.0], [-1.0, -1.1], [0.3, 0.2]])
    y = torch.tensor([0.5, 0.9, -1.2, 0.1])
    mean, precision = exact_posterior(design, y, 1.0, 0.6)
    variances = 1 / precision.diagonal()  # the best mean field: Bishop 2006, section 10.1.2
    guide = guide_at({"weight": ([mean.tolist()], [variances.sqrt().tolist()])})
    model = linear(design, 1.0, 0.6)
    torch.manual_seed(0)
    with torch.no_grad():
        values = torch.stack(
            [estimate_elbo(model.model, guide, design, y).value for _ in range(4000)]
        )
    gap = 0.5 * float(-variances.log().sum() - torch.logdet(precision))  # KL(q || posterior)
    assert gap > 0.1
    error = float(values.std()) / math.sqrt(len(values))
    expected = log_evidence(design, y, 1.0, 0.6) - gap
    assert abs(float(values.mean()) - expected) < 5 * error


def optimise(model: BayesianNetwork, guide: MeanField, *batch: Tensor, steps: int = 1500) -> None:
    optimiser = torch.optim.Adam(guide.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(steps):
        loss = -estimate_elbo(model.model, guide, *batch).value
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()


@pytest.mark.slow
def test_optimum_is_the_mean_field_of_conjugate_regression() -> None:
    torch.manual_seed(0)
    design = torch.randn(40, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    y = design @ torch.tensor([0.7, -0.4, 1.2]) + 0.5 * torch.randn(40)
    mean, precision = exact_posterior(design, y, 1.0, 0.5)
    guide = MeanField.around({"weight": torch.zeros(1, 3)}, 0.3)
    optimise(linear(design, 1.0, 0.5), guide, design, y, steps=4000)
    assert guide.loc["weight"][0].tolist() == pytest.approx(mean.tolist(), abs=0.02)
    variances = guide.scale("weight")[0].detach() ** 2
    assert variances.tolist() == pytest.approx((1 / precision.diagonal()).tolist(), rel=0.1)


@pytest.mark.slow
def test_optimum_is_the_best_gaussian_for_logistic_regression() -> None:
    x = torch.tensor([[-2.0], [-1.0], [-0.5], [0.3], [0.8], [1.0], [2.5]])
    y = torch.tensor([0, 0, 1, 0, 1, 1, 1])

    class Bernoulli:
        def __call__(self, output: Tensor) -> dist.Distribution:
            return dist.Bernoulli(logits=output[:, 0])

    network = nn.Linear(1, 1, bias=False)
    model = BayesianNetwork(network, NormalPrior(2.0), Bernoulli(), len(x))
    guide = MeanField.around({"weight": torch.zeros(1, 1)}, 0.5)
    torch.manual_seed(0)
    optimise(model, guide, x, y.float(), steps=2500)

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    sign = 2 * y.numpy() - 1

    def negative_elbo(parameters: np.ndarray) -> float:
        m, s = parameters[0], math.exp(parameters[1])
        w = m + s * nodes
        log_likelihood = -np.log1p(np.exp(-np.outer(w, sign * x[:, 0].numpy()))).sum(1)
        expected = float(weights @ log_likelihood / weights.sum())
        return -(expected - (math.log(2 / s) + (s**2 + m**2) / 8 - 0.5))

    best = optimize.minimize(negative_elbo, np.array([0.5, 0.0])).x
    assert float(guide.loc["weight"].detach()) == pytest.approx(best[0], abs=0.06)
    assert float(guide.scale("weight").detach()) == pytest.approx(math.exp(best[1]), rel=0.08)


def test_nothing_is_left_in_pyros_parameter_store() -> None:
    model = BayesianNetwork(nn.Linear(2, 2), NormalPrior(), Categorical(), 4)
    guide = MeanField.around({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, 0.1)
    estimate_elbo(model.model, guide, torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    assert list(pyro.get_param_store().keys()) == []
