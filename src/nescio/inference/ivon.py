"""A mean field by variational online Newton: IVON.

Shen et al. 2024, *Variational learning is effective for large deep networks*, algorithm 1. With
the loss l (mean over images), N images, the prior Normal(0, p) and d = 1 / (N p^2), each step
draws one network w = m + s e, e standard normal, s = 1 / sqrt(N (h + d)), and follows

    g^ = gradient of l at w            h^ = g^ e / s               (Price's theorem)
    g <- b1 g + (1 - b1) g^            h <- b2 h + (1 - b2) h^ + (1 - b2)^2 (h - h^)^2 / (2 (h + d))
    m <- m - a (g / (1 - b1^t) + d m) / (h + d)

The last term of h keeps it positive. At rest m is where the mean gradient is zero, and 1 / s^2 is
N times the mean curvature plus the prior's precision: the stationary point of the ELBO.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nescio.errors import UsageError
from nescio.inference.elbo import Elbo
from nescio.inference.engine import EngineOptions
from nescio.inference.guide import MeanField
from nescio.inference.learner import ELBO_TERMS, Learner, Plain, adam, own_weights, run
from nescio.inference.model import BayesianNetwork
from nescio.inference.posterior import Posterior
from nescio.inference.prior import cross_entropy
from nescio.inference.recipe import Recipe
from nescio.inference.scale import SCALE_MAPS, ScaleMap
from nescio.inference.site import normal_scale

RATE = 20.0
"""Learning rates are so many times the recipe's, which is Adam's: Adam divides a gradient by its
size, and this step, at the start, takes it as it is."""

MOMENTUM = 0.9
"""b1, as in the paper."""

MEMORY = 0.1
"""The curvature is averaged over about this share of all steps: 1 - b2 is one over them. The
paper's 1 - b2 = 1e-5 is for runs of 100,000 steps."""

LEAST_CURVATURE = 1e-6
"""Of the start, where the prior alone is narrower than the recipe's initial scale."""


class OnlineNewton(torch.optim.Optimizer):
    """The two averages of each parameter, and the step that they make.

    The gradient is at ``grad``, and ``grad * noise / scale`` under ``curvature`` in the state.
    """

    def __init__(
        self,
        decay: Mapping[nn.Parameter, float],
        *,
        size: float,
        scale: float,
        rate: float,
        memory: float,
    ) -> None:
        super().__init__(list(decay), {"lr": rate})
        self.size, self.memory = size, memory
        for parameter, d in decay.items():
            start = max(1 / (size * scale**2) - d, LEAST_CURVATURE)
            self.state[parameter] = {
                "decay": d,
                # At the start a step divides by this, so that the rate is that of plain descent.
                "unit": start + d,
                "gradient": torch.zeros_like(parameter),
                "hessian": torch.full_like(parameter, start),
                "curvature": torch.full_like(parameter, start),
                "steps": 0,
            }

    def scale(self, parameter: nn.Parameter) -> Tensor:
        """The standard deviation of each weight now."""
        state = self.state[parameter]
        scale: Tensor = (self.size * (state["hessian"] + state["decay"])).rsqrt()
        return scale

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One step, by the gradients and curvatures that were left."""
        for settings in self.param_groups:
            for parameter in settings["params"]:
                self._step(parameter, settings["lr"])

    def _step(self, parameter: nn.Parameter, rate: float) -> None:
        state = self.state[parameter]
        if parameter.grad is None:
            return
        state["steps"] += 1
        mean = state["gradient"].mul_(MOMENTUM).add_(parameter.grad, alpha=1 - MOMENTUM)
        h, new, d, share = state["hessian"], state["curvature"], state["decay"], self.memory
        correction = 0.5 * share**2 * (h - new).square() / (h + d)
        h.mul_(1 - share).add_(new, alpha=share).add_(correction)
        direction = mean / (1 - MOMENTUM ** state["steps"]) + d * parameter
        parameter.sub_(direction / (h + d), alpha=rate * state["unit"])


class Ivon(Plain):
    """Means that :class:`OnlineNewton` moves, at networks drawn around them."""

    terms = ELBO_TERMS

    def __init__(self, bayesian: BayesianNetwork, recipe: Recipe, options: EngineOptions) -> None:
        self.bayesian, self.options = bayesian, options
        self.scale_map: ScaleMap = SCALE_MAPS[recipe.scale]
        self.loc = {n: nn.Parameter(p.clone()) for n, p in own_weights(bayesian).items()}
        # A KL that weighs w times is an ELBO of N / w images.
        size = bayesian.size / options.kl_weight
        decay = {
            self.loc[name]: 1 / (size * prior_scale**2)
            for name, prior_scale in normal_scales(bayesian, "ivon").items()
        }
        steps = recipe.passes(bayesian.size) * recipe.steps_per_epoch(bayesian.size)
        self.newton = OnlineNewton(
            decay,
            size=size,
            scale=1.0 if recipe.initial_scale is None else recipe.initial_scale,
            rate=RATE * recipe.learning_rate,
            memory=min(0.5, 1 / (MEMORY * steps)),
        )

    def parameters(self) -> list[nn.Parameter]:
        """The means."""
        return list(self.loc.values())

    def gradients(self) -> list[Tensor]:
        """Of the means, and the curvatures."""
        curvatures = [self.newton.state[mean]["curvature"] for mean in self.loc.values()]
        return [*super().gradients(), *curvatures]

    def optimisers(self, fixed: list[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        """The online Newton for the means; Adam for the rest."""
        return [self.newton, *([adam(fixed, rate)] if fixed else [])]

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`nescio.inference.learner.Learner.step`."""
        weights, noises, scales = {}, {}, {}
        for name, mean in self.loc.items():
            scales[name] = self.newton.scale(mean)
            noises[name] = torch.empty_like(mean).normal_(generator=self.options.generator)
            weights[name] = torch.addcmul(mean.detach(), scales[name], noises[name])
            weights[name].requires_grad_()
        network, precision = self.bayesian.network, self.options.precision
        log_likelihood = run(self.bayesian, network, weights, x, y, precision=precision)
        (log_likelihood * -factor).backward()
        for name, mean in self.loc.items():
            gradient = weights[name].grad
            mean.grad = torch.zeros_like(mean) if gradient is None else gradient
            self.newton.state[mean]["curvature"] = mean.grad * noises[name] / scales[name]
        return Elbo(log_likelihood.detach(), self._kl(scales, weights))

    @torch.no_grad()
    def _kl(self, scales: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
        kl = torch.zeros((), device=next(iter(scales.values())).device)
        for name, prior in self.bayesian.priors.items():
            scale = scales[name]
            entropy = torch.distributions.Normal(0.0, scale).entropy().sum()
            kl = kl + cross_entropy(prior, self.loc[name], scale.square(), weights[name]) - entropy
        return kl

    def center(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.loc

    def snapshot(self) -> Posterior:
        """The mean field so far."""
        scales = {name: self.newton.scale(mean) for name, mean in self.loc.items()}
        return MeanField.of_scales(self.loc, scales, self.scale_map)


def ivon(
    bayesian: BayesianNetwork,
    recipe: Recipe,
    options: EngineOptions,
    start: torch.Generator,  # noqa: ARG001 - it begins at the network's own weights
) -> Learner:
    """A mean field by variational online Newton."""
    return Ivon(bayesian, recipe, options)


def normal_scales(bayesian: BayesianNetwork, method: str) -> dict[str, float]:
    """The standard deviation of each parameter's prior, for methods that need Normal ones.

    Raises:
        UsageError: A prior is not Normal(0, s) with one s for all weights of a parameter.
    """
    scales = {}
    for name, prior in bayesian.priors.items():
        scale = normal_scale(prior)
        if scale is None:
            raise UsageError(
                f"--posterior {method} needs a Normal prior around 0, which that of {name} is "
                "not; take --prior normal:1 or scaled:1"
            )
        scales[name] = scale
    return scales
