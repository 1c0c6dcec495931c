"""One network: the maximum of the posterior density (MAP), trained as networks ordinarily are.

    loss = -log p(y | x, w) - log p(w)

so the prior is the weight decay. Ensembles, dropout, SWAG, Laplace and HMC begin here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from nescio.errors import ArchitectureError
from nescio.inference.dropout import FEWEST_INPUTS, Dropout, drop_inputs, masked_layers
from nescio.inference.elbo import Elbo
from nescio.inference.engine import EngineOptions
from nescio.inference.learner import Learner, LearnerOf, Plain, Terms, adam, own_weights, run
from nescio.inference.mixture import Mixture
from nescio.inference.model import BayesianNetwork
from nescio.inference.posterior import Posterior
from nescio.inference.recipe import Recipe


class Point(Plain):
    """The weights of one network; its prior is their weight decay."""

    terms = Terms("log joint", "+ log prior, less")

    def __init__(self, bayesian: BayesianNetwork, options: EngineOptions) -> None:
        self.bayesian, self.options = bayesian, options
        self.loc = {n: nn.Parameter(p.clone()) for n, p in own_weights(bayesian).items()}

    def parameters(self) -> list[nn.Parameter]:
        """The weights."""
        return list(self.loc.values())

    def optimisers(self, fixed: list[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        """One Adam for all."""
        return [adam([*self.parameters(), *fixed], rate)]

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`nescio.inference.learner.Learner.step`; the KL's place has -log p(w)."""
        for parameter in self.parameters():
            parameter.grad = None
        log_likelihood = self.log_likelihood(x, y)
        penalty = -log_prior(self.bayesian, self.loc)
        ((self.options.kl_weight * penalty - log_likelihood) * factor).backward()
        return Elbo(log_likelihood.detach(), penalty.detach())

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """Of the set, as the batch estimates it; 0-d."""
        network = self.bayesian.network
        return run(self.bayesian, network, self.loc, x, y, precision=self.options.precision)

    def center(self) -> Mapping[str, Tensor]:
        """The weights."""
        return self.loc

    def snapshot(self) -> Posterior:
        """The weights as they are now, as a mixture of one network."""
        return Mixture.of([self.loc])


class Dropped(Point):
    """The weights of one network that is trained with inputs of its random layers dropped."""

    def __init__(self, bayesian: BayesianNetwork, options: EngineOptions, rate: float) -> None:
        super().__init__(bayesian, options)
        self.rate = rate
        self.layers = masked_layers(bayesian.network, bayesian.priors)
        if not self.layers:
            raise ArchitectureError(
                f"dropout: no random layer has {FEWEST_INPUTS} inputs or more to drop; "
                "choose layers that have with --random"
            )

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """Of the set, as the batch estimates it, each image with other inputs dropped; 0-d."""
        with hooked(self.layers, self._drop):
            return super().log_likelihood(x, y)

    def _drop(self, layer: nn.Module, x: Tensor) -> Tensor:
        return drop_inputs(layer, x, self.rate, self.options.generator)

    def snapshot(self) -> Posterior:
        """The weights as they are now, to be drawn from by dropping."""
        groups = {
            f"{path}.weight" if path else "weight": int(getattr(layer, "groups", 1))
            for path, layer in self.layers.items()
        }
        return Dropout(self.loc, groups, self.rate)


def point(
    bayesian: BayesianNetwork,
    recipe: Recipe,  # noqa: ARG001 - a network begins at its own weights
    options: EngineOptions,
    start: torch.Generator,  # noqa: ARG001
) -> Learner:
    """One network."""
    return Point(bayesian, options)


def dropped(rate: float) -> LearnerOf:
    """One network, trained with dropout."""

    def make(
        bayesian: BayesianNetwork,
        recipe: Recipe,  # noqa: ARG001 - a network begins at its own weights
        options: EngineOptions,
        start: torch.Generator,  # noqa: ARG001
    ) -> Learner:
        return Dropped(bayesian, options, rate)

    return make


def log_prior(bayesian: BayesianNetwork, weights: Mapping[str, Tensor]) -> Tensor:
    """The log prior density of all random weights, in nats, 0-d."""
    terms = [prior.log_prob(weights[name]) for name, prior in bayesian.priors.items()]
    total: Tensor = torch.stack(terms).sum()
    return total


@contextmanager
def hooked(
    layers: Mapping[str, nn.Module], change: Callable[[nn.Module, Tensor], Tensor]
) -> Iterator[None]:
    """While this lasts, what goes into each of ``layers`` is changed first."""

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (change(layer, inputs[0]), *inputs[1:])

    with ExitStack() as stack:
        for layer in layers.values():
            stack.callback(layer.register_forward_pre_hook(hook).remove)
        yield
