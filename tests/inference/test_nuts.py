"""Mean field against the gold standard: HMC (NUTS) through Pyro on tiny networks."""

import pytest
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor, nn
from torch.func import functional_call

from nescio.inference import BayesianNetwork, Categorical, MeanField, estimate_elbo, parse_prior


def nuts_samples(
    bayesian: BayesianNetwork, x: Tensor, y: Tensor, samples: int
) -> dict[str, Tensor]:
    kernel = NUTS(bayesian.model, jit_compile=False)
    mcmc = MCMC(kernel, num_samples=samples, warmup_steps=samples // 2, disable_progbar=True)
    mcmc.run(x, y)
    return mcmc.get_samples()


def mean_field(bayesian: BayesianNetwork, x: Tensor, y: Tensor, steps: int) -> MeanField:
    parameters = {name: p.detach() for name, p in bayesian.network.named_parameters()}
    guide = MeanField.around(parameters, 0.1)
    optimiser = torch.optim.Adam(guide.parameters(), lr=0.03)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        (-estimate_elbo(bayesian.model, guide, x, y).value).backward()
        optimiser.step()
        decay.step()
    return guide


def predictive(network: nn.Module, draws: list[dict[str, Tensor]], grid: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([functional_call(network, w, (grid,)).softmax(-1) for w in draws]).mean(
            0
        )


def compare(
    network: nn.Module, x: Tensor, y: Tensor, grid: Tensor, *, samples: int, steps: int
) -> Tensor:
    """The largest gap between the two predictive distributions over ``grid``."""
    bayesian = BayesianNetwork(network, parse_prior("normal:1"), Categorical(), len(x))
    hmc = nuts_samples(bayesian, x, y, samples)
    gold = [{name: value[i] for name, value in hmc.items()} for i in range(samples)]
    guide = mean_field(bayesian, x, y, steps)
    generator = torch.Generator().manual_seed(0)
    ours = [guide.draw(generator) for _ in range(2000)]
    return (predictive(network, gold, grid) - predictive(network, ours, grid)).abs().max()


@pytest.mark.slow
def test_logistic_regression_agrees() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.randn(30, 1)
        y = (x[:, 0] + 0.7 * torch.randn(30) > 0).long()
        gap = compare(
            nn.Linear(1, 2), x, y, torch.linspace(-2, 2, 9)[:, None], samples=300, steps=800
        )
    assert float(gap) < 0.06


@pytest.mark.slow
def test_a_hidden_layer_agrees_near_the_data() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = torch.cat([torch.randn(20, 1) * 0.3 - 1, torch.randn(20, 1) * 0.3 + 1])
        y = (torch.arange(40) >= 20).long()
        network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))
        gap = compare(
            network, x, y, torch.linspace(-1.5, 1.5, 13)[:, None], samples=500, steps=3000
        )
    # On the data and between the classes. Mean field cannot express that weights depend
    # on each other, so farther out the two need not agree.
    assert float(gap) < 0.12
