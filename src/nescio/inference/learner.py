"""Learners: what the steps of :mod:`nescio.inference.fit` train.

A learner holds what optimisers change, gives the gradient of the loss on a batch, and says what
posterior it has come to. All share batches, augmentation, schedule and watch.

    :func:`mean_field`   an independent Normal for every weight: :mod:`engine` does the work
    :func:`low_rank`     a Normal with low-rank plus diagonal covariance
    :func:`point`        one network: the maximum of the posterior density (:mod:`point`)
    :func:`ivon`         a mean field by variational online Newton (:mod:`ivon`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.devices import lowered
from nescio.inference.elbo import Elbo
from nescio.inference.engine import ENGINES, Engine, EngineOptions, Stateless
from nescio.inference.estimators import SPREAD, suitable_estimator, with_per_image_layers
from nescio.inference.guide import MeanField
from nescio.inference.lowrank import LowRank
from nescio.inference.model import BayesianNetwork
from nescio.inference.posterior import Posterior
from nescio.inference.prior import cross_entropy
from nescio.inference.recipe import Recipe
from nescio.inference.scale import SCALE_MAPS


class Terms(NamedTuple):
    """What the objective and its second part are called."""

    whole: str
    rest: str


ELBO_TERMS = Terms("ELBO", "- KL")


class Learner(Protocol):
    """What gradient steps train."""

    @property
    def terms(self) -> Terms:
        """What the objective and its second part are called."""
        ...

    def parameters(self) -> list[nn.Parameter]:
        """What stands for the random weights, all finite while training goes well."""
        ...

    def optimisers(self, fixed: list[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        """Of these parameters and of those that are not random, at this learning rate."""
        ...

    def prepare(self, x: Tensor) -> None:
        """Make ready for images like these ``(n, K, H, W)`` float32, before the first step."""
        ...

    def gradients(self) -> list[Tensor]:
        """What a step left for the optimisers, but of parameters that are not random.

        It is linear in ``factor``, so that those of several processes are summed.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """What later steps hang on, but parameters, optimisers and random streams."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave, once prepared."""
        ...

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """Leave the gradient of ``factor`` times the loss where the optimisers look.

        Args:
            x: ``(n, K, H, W)`` float32, a batch of images.
            y: ``(n,)`` int64, their labels.
            factor: Of the loss, such as one over the images of the whole set.
        """
        ...

    def center(self) -> Mapping[str, Tensor]:
        """The weights to watch."""
        ...

    def snapshot(self) -> Posterior:
        """The posterior so far, which later steps do not change."""
        ...


class Plain(Stateless):
    """What a learner does that keeps nothing between steps but its parameters."""

    def parameters(self) -> list[nn.Parameter]:
        """What stands for the random weights."""
        raise NotImplementedError

    def gradients(self) -> list[Tensor]:
        """Of the parameters."""
        return [p.grad for p in self.parameters() if p.grad is not None]


LearnerOf: TypeAlias = Callable[[BayesianNetwork, Recipe, EngineOptions, torch.Generator], Learner]
"""Makes a learner; the generator is of its start."""


def adam(parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """The optimiser of all but the variational online Newton's weights."""
    return torch.optim.Adam(parameters, lr=rate, fused=True)


def run(
    bayesian: BayesianNetwork,
    network: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    *,
    precision: torch.dtype,
) -> Tensor:
    """The log-likelihood of the set, as a batch estimates it under these weights; 0-d."""
    with lowered(x.device, precision):
        output: Tensor = functional_call(network, dict(weights), (x,)).float()
    log_likelihood: Tensor = bayesian.likelihood(output).log_prob(y).sum()
    return log_likelihood * (bayesian.size / len(x) if bayesian.scale_likelihood else 1.0)


def own_weights(bayesian: BayesianNetwork) -> dict[str, Tensor]:
    """The network's own values of its random parameters."""
    return {
        name: parameter.detach()
        for name, parameter in bayesian.network.named_parameters()
        if name in bayesian.priors
    }


def mean_field(
    bayesian: BayesianNetwork, recipe: Recipe, options: EngineOptions, start: torch.Generator
) -> Learner:
    """An independent Normal for every random weight."""
    parameters = own_weights(bayesian)
    scale_map = SCALE_MAPS[recipe.scale]
    if recipe.initial_scale is None:
        guide = MeanField.standard_normal(parameters, start, scale_map)
    else:
        guide = MeanField.around(parameters, recipe.initial_scale, scale_map)
    return Variational(guide, ENGINES[recipe.engine](bayesian, guide, options))


def low_rank(rank: int) -> LearnerOf:
    """A Normal over all random weights with a covariance of this rank plus a diagonal."""

    def make(
        bayesian: BayesianNetwork, recipe: Recipe, options: EngineOptions, start: torch.Generator
    ) -> Learner:
        scale = 1.0 if recipe.initial_scale is None else recipe.initial_scale
        parameters, scale_map = own_weights(bayesian), SCALE_MAPS[recipe.scale]
        guide = LowRank.around(parameters, scale, rank, start, scale_map)
        return Correlated(guide, LowRankEngine(bayesian, guide, options), scale)

    return make


class Variational(Plain):
    """A guide and the engine that gives the ELBO's gradient in its parameters."""

    terms = ELBO_TERMS

    def __init__(self, guide: MeanField | LowRank, engine: Engine) -> None:
        self.guide, self.engine = guide, engine

    def parameters(self) -> list[nn.Parameter]:
        """The guide's."""
        return self.guide.parameters()

    def optimisers(self, fixed: list[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        """One Adam for all."""
        return [adam([*self.guide.parameters(), *fixed], rate)]

    def prepare(self, x: Tensor) -> None:
        """See :meth:`Learner.prepare`."""
        self.engine.prepare(x)

    def state(self) -> dict[str, Tensor]:
        """The engine's."""
        return self.engine.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave."""
        self.engine.restore(state)

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`Learner.step`."""
        return self.engine.step(x, y, factor)

    def center(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.guide.loc

    def snapshot(self) -> Posterior:
        """The guide as it is now."""
        return self.guide.clone()


class Correlated(Variational):
    """A low-rank guide, whose directions take steps in units of the initial scale.

    Adam's steps are as long where a gradient is only noise, and noise along a direction adds up
    over all weights: at the rate of the means, directions outgrow the diagonal within a few steps.
    """

    def __init__(self, guide: LowRank, engine: Engine, unit: float) -> None:
        super().__init__(guide, engine)
        self.means = [*guide.loc.values(), *guide.raw_scale.values()]
        self.factors, self.unit = list(guide.factor.values()), unit

    def optimisers(self, fixed: list[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        """One Adam for all but the directions, and one for these."""
        return [adam([*self.means, *fixed], rate), adam(self.factors, rate * self.unit)]


class LowRankEngine(Stateless):
    """The ELBO of a :class:`LowRank` guide and its gradient, by autograd.

    The steps along the shared directions are drawn once for a batch. Where one linear layer alone
    is random, the diagonal's noise is drawn for each image at the layer's output, exactly
    (:mod:`nescio.inference.estimators`, ``local``); else once for a batch, too.
    """

    def __init__(self, bayesian: BayesianNetwork, guide: LowRank, options: EngineOptions) -> None:
        self.bayesian, self.guide, self.options = bayesian, guide, options
        self._local = suitable_estimator(bayesian.network, bayesian.priors) == "local"
        self._network: nn.Module | None = None
        self._per_image: frozenset[str] = frozenset()

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`Learner.step`."""
        self.prepare(x)
        network = self._network or self.bayesian.network
        for parameter in self.guide.parameters():
            parameter.grad = None
        weights, leaves = self._draw()
        log_likelihood = run(self.bayesian, network, leaves, x, y, precision=self.options.precision)
        kl = -self.guide.entropy()
        for name, prior in self.bayesian.priors.items():
            mean, variance = self.guide.loc[name], self.guide.variance(name)
            kl = kl + cross_entropy(prior, mean, variance, weights[name])
        ((self.options.kl_weight * kl - log_likelihood) * factor).backward()
        return Elbo(log_likelihood.detach(), kl.detach())

    def prepare(self, x: Tensor) -> None:
        """Once there are images, it can be seen whether a layer can be per image."""
        if self._network is not None:
            return
        self._network = self.bayesian.network
        if self._local:
            self._network, self._per_image = with_per_image_layers(
                self._network, self.bayesian.priors, "local", x[:2], self.options.generator
            )

    def _draw(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A draw of the weights, and what the network is run with."""
        guide, generator = self.guide, self.options.generator
        device = next(iter(guide.loc.values())).device
        steps = torch.randn(guide.rank, generator=generator, device=device)
        weights, leaves = {}, {}
        for name, loc in guide.loc.items():
            mean, scale = loc + torch.tensordot(steps, guide.factor[name], 1), guide.scale(name)
            noise = torch.empty_like(mean).normal_(generator=generator)
            weights[name] = mean + scale * noise
            if name in self._per_image:
                leaves[name], leaves[name + SPREAD] = mean, scale
            else:
                leaves[name] = weights[name]
        return weights, leaves
