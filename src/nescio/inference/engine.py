"""Engines: what computes the ELBO and its gradient, step by step.

The Pyro program (:mod:`model` and :mod:`guide`) is the definition. :class:`PyroEngine`
runs it. :class:`TorchEngine` computes the same estimate without traces: an ordinary forward
and backward pass through the sampled weights (:mod:`estimators`), then the gradients of
location and scale by hand (:mod:`site`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.func import functional_call

from nescio.devices import is_out_of_memory, lowered
from nescio.inference.elbo import Elbo, estimate_elbo
from nescio.inference.estimators import SPREAD, Estimator, with_per_image_layers
from nescio.inference.guide import MeanField
from nescio.inference.model import BayesianNetwork
from nescio.inference.noise import Noise
from nescio.inference.site import Leaf, Site
from nescio.network import first_line
from nescio.progress import SILENT, Reporter

KL_EVERY = 16
"""Steps between two evaluations of the KL's value by :class:`TorchEngine`; its gradient,
which needs no value, is exact at every step."""


@dataclass(frozen=True)
class EngineOptions:
    """How an engine computes.

    Attributes:
        kl_weight: Of the KL in the loss; 1 is the ELBO.
        analytic_kl: Closed form of the KL where there is one, else from the sample.
        precision: Of the products in the network.
        estimator: Which sampled networks the images of a batch go through.
        compiled: Whether to compile the network by ``torch.compile``.
        reporter: Told where that is not possible.
        generator: Of the weight noise, on the device of the weights; PyTorch's own for ``None``.
    """

    kl_weight: float = 1.0
    analytic_kl: bool = True
    precision: torch.dtype = torch.float32
    estimator: Estimator = "shared"
    compiled: bool = False
    reporter: Reporter = SILENT
    generator: torch.Generator | None = None


class Stateless:
    """What keeps nothing between steps but parameters, and need not be made ready."""

    def prepare(self, x: Tensor) -> None:
        """Nothing is to be made ready."""

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing is put back."""


class Engine(Protocol):
    """Estimates the ELBO on a batch and leaves the gradient where the optimiser looks."""

    def prepare(self, x: Tensor) -> None:
        """Make ready for images like these ``(n, K, H, W)`` float32; a step does it otherwise."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What later steps hang on, but parameters and random streams."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave, once prepared."""
        ...

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """Set the gradients of ``factor * (kl_weight * KL - log-likelihood)``.

        Args:
            x: ``(n, K, H, W)`` float32, a batch of images.
            y: ``(n,)`` int64, their labels.
            factor: Of the loss, such as one over the images of the whole set.

        Returns:
            The estimate, without a graph.
        """
        ...


class PyroEngine(Stateless):
    """Runs the Pyro program and differentiates through it.

    It is the definition: always float32, one network a step, not compiled. Pyro's handlers
    are global, so only one thread may run it at a time.
    """

    def __init__(
        self, bayesian: BayesianNetwork, guide: MeanField, options: EngineOptions | None = None
    ) -> None:
        self.bayesian, self.guide = bayesian, guide
        self.options = options or EngineOptions()

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`Engine.step`."""
        elbo = estimate_elbo(
            self.bayesian.model, self.guide, x, y, analytic_kl=self.options.analytic_kl
        )
        loss = self.options.kl_weight * elbo.kl - elbo.log_likelihood
        for parameter in self.guide.parameters():
            parameter.grad = None
        (loss * factor).backward()
        return Elbo(elbo.log_likelihood.detach(), elbo.kl.detach())


class TorchEngine:
    """The same estimate in plain PyTorch, with few passes over the parameters."""

    def __init__(
        self, bayesian: BayesianNetwork, guide: MeanField, options: EngineOptions | None = None
    ) -> None:
        self.bayesian, self.guide = bayesian, guide
        self.options = options or EngineOptions()
        self._network, self._sites = bayesian.network, list[Site]()
        self._compiled = self.options.compiled
        self._output: Callable[[dict[str, Tensor], Tensor], Tensor] = self._run
        if self._compiled:
            self._output = torch.compile(self._run)
        self._steps = 0
        self._kl = torch.zeros(())

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`Engine.step`."""
        self.prepare(x)
        leaves = self._draw()
        try:
            log_likelihood = self._differentiate(leaves, x, y, factor)
        except Exception as error:
            if not self._compiled or self._steps or is_out_of_memory(error):
                raise
            self._give_up_compiling(leaves, error)
            log_likelihood = self._differentiate(leaves, x, y, factor)
        if self._steps % KL_EVERY == 0:
            self._kl = torch.stack([site.kl() for site in self._sites]).sum()
        self._steps += 1
        for site in self._sites:
            site.set_gradients(factor * self.options.kl_weight)
        return Elbo(log_likelihood, self._kl)

    def prepare(self, x: Tensor) -> None:
        """Once there are images, it can be seen which layers can be per image."""
        if self._sites:
            return
        priors = self.bayesian.priors
        per_image: frozenset[str] = frozenset()
        leaf: Leaf = "scale" if self.options.estimator == "local" else "deviation"
        if self.options.estimator != "shared":
            self._network, per_image = with_per_image_layers(
                self.bayesian.network,
                priors,
                self.options.estimator,
                x[:2],
                self.options.generator,
            )
        self._sites = [
            Site(
                name,
                self.guide,
                prior,
                analytic_kl=self.options.analytic_kl,
                leaf=leaf if name in per_image else "weight",
            )
            for name, prior in priors.items()
        ]
        noisy = [site.loc for site in self._sites if site.needs_noise]
        self._noise = Noise(noisy, x.device, self.options.generator)

    def state(self) -> dict[str, Tensor]:
        """The ring of noise, and the KL that was last evaluated."""
        noise = {f"noise/{name}": value for name, value in self._noise.state().items()}
        return {**noise, "steps": torch.tensor(self._steps), "kl": self._kl}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave."""
        self._noise.restore(state["noise/buffer"], state["noise/place"])
        self._steps = int(state["steps"])
        self._kl = state["kl"].to(self._noise.device)

    def _draw(self) -> dict[str, Tensor]:
        """The leaves of the graph, under the names that the network knows them by."""
        noises = iter(self._noise())
        leaves = {}
        for site in self._sites:
            mean, spread = site.draw(next(noises) if site.needs_noise else site.scratch)
            leaves[site.name] = mean
            if spread is not None:
                leaves[site.name + SPREAD] = spread
        return leaves

    def _differentiate(
        self, leaves: dict[str, Tensor], x: Tensor, y: Tensor, factor: float
    ) -> Tensor:
        """The log-likelihood of the set; the gradient of its loss is left at the leaves."""
        with lowered(x.device, self.options.precision):
            output = self._output(leaves, x).float()
        log_likelihood = self.bayesian.likelihood(output).log_prob(y).sum()
        if self.bayesian.scale_likelihood:
            log_likelihood = log_likelihood * (self.bayesian.size / len(x))
        (log_likelihood * -factor).backward()
        value: Tensor = log_likelihood.detach()
        return value

    def _give_up_compiling(self, leaves: dict[str, Tensor], error: Exception) -> None:
        """Whatever stops a compiler, training can go on without it."""
        self.options.reporter.note(
            f"--compile: the network cannot be compiled here ({first_line(error)}); "
            "training goes on without"
        )
        self._compiled, self._output = False, self._run
        for tensor in (*leaves.values(), *self.bayesian.network.parameters()):
            tensor.grad = None

    def _run(self, leaves: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(self._network, leaves, (x,))
        return output


ENGINES: dict[str, type[PyroEngine] | type[TorchEngine]] = {
    "torch": TorchEngine,
    "pyro": PyroEngine,
}
"""The engines known by name."""
