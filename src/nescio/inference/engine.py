"""Engines: what computes the ELBO and its gradient, step by step.

The Pyro program (:mod:`model` and :mod:`guide`) is the definition. :class:`PyroEngine`
runs it. :class:`TorchEngine` computes the same estimate, from the same one sampled
network a step, without traces: an ordinary forward and backward pass through the
sampled weights, then the gradients of location and scale by hand.

With w = loc + scale * noise, scale = softplus(raw), g the gradient of the negative
log-likelihood in w, and a prior Normal(0, s):

    d loss / d loc = g + loc / s^2
    d loss / d raw = (g * noise + scale / s^2 - 1 / scale) * sigmoid(raw)

(Blundell et al. 2015, *Weight uncertainty in neural networks*, with the KL in closed form.)
"""

from __future__ import annotations

import math
from typing import Protocol

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import kl_divergence
from torch.func import functional_call

from nescio.devices import lowered
from nescio.inference.elbo import Elbo, estimate_elbo
from nescio.inference.guide import MeanField
from nescio.inference.model import BayesianNetwork

KL_EVERY = 16
"""Steps between two evaluations of the KL's value by :class:`TorchEngine`; its gradient,
which needs no value, is exact at every step."""


class Engine(Protocol):
    """Estimates the ELBO on a batch and leaves the gradient where the optimiser looks."""

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


class PyroEngine:
    """Runs the Pyro program and differentiates through it."""

    def __init__(
        self,
        bayesian: BayesianNetwork,
        guide: MeanField,
        *,
        kl_weight: float,
        analytic_kl: bool,
        precision: torch.dtype = torch.float32,  # noqa: ARG002 - the definition is exact
    ) -> None:
        self.bayesian, self.guide = bayesian, guide
        self.kl_weight, self.analytic_kl = kl_weight, analytic_kl

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`Engine.step`."""
        elbo = estimate_elbo(self.bayesian.model, self.guide, x, y, analytic_kl=self.analytic_kl)
        loss = self.kl_weight * elbo.kl - elbo.log_likelihood
        for parameter in self.guide.parameters():
            parameter.grad = None
        (loss * factor).backward()
        return Elbo(elbo.log_likelihood.detach(), elbo.kl.detach())


class TorchEngine:
    """The same estimate in plain PyTorch, with few passes over the parameters."""

    def __init__(
        self,
        bayesian: BayesianNetwork,
        guide: MeanField,
        *,
        kl_weight: float,
        analytic_kl: bool,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.bayesian, self.guide = bayesian, guide
        self.kl_weight, self.precision = kl_weight, precision
        self._sites = [
            _Site(name, guide, prior, analytic_kl=analytic_kl)
            for name, prior in bayesian.priors.items()
        ]
        self._steps = 0
        self._kl = torch.zeros(())

    def step(self, x: Tensor, y: Tensor, factor: float) -> Elbo:
        """See :meth:`Engine.step`."""
        weights = {site.name: site.draw() for site in self._sites}
        with lowered(x.device, self.precision):
            output = functional_call(self.bayesian.network, weights, (x,)).float()
        log_likelihood = self.bayesian.likelihood(output).log_prob(y).sum()
        if self.bayesian.scale_likelihood:
            log_likelihood = log_likelihood * (self.bayesian.size / len(x))
        (log_likelihood * -factor).backward()
        if self._steps % KL_EVERY == 0:
            self._kl = torch.stack([site.kl() for site in self._sites]).sum()
        self._steps += 1
        for site in self._sites:
            site.set_gradients(factor * self.kl_weight)
        return Elbo(log_likelihood.detach(), self._kl)


class _Site:
    """One random parameter: its draw, its KL, its gradients; buffers are kept between steps."""

    def __init__(
        self, name: str, guide: MeanField, prior: dist.Distribution, *, analytic_kl: bool
    ) -> None:
        self.name, self.prior = name, prior
        self.loc, self.raw = guide.loc[name], guide.raw_scale[name]
        self.prior_scale = _normal_scale(prior)
        self.closed_form = analytic_kl and _has_closed_form(prior)
        self.noise = torch.empty_like(self.loc, requires_grad=False)
        self.scratch = torch.empty_like(self.loc, requires_grad=False)
        self.raw.grad = torch.empty_like(self.raw, requires_grad=False)
        self.raw_gradient = self.raw.grad
        self.weight = torch.empty_like(self.loc, requires_grad=False)
        self.scale = self.weight

    @torch.no_grad()
    def draw(self) -> Tensor:
        """Sampled weights, a leaf of the graph."""
        self.scale = F.softplus(self.raw)
        self.noise.normal_()
        self.weight = torch.addcmul(self.loc, self.scale, self.noise)
        return self.weight.requires_grad_()

    @torch.no_grad()
    def kl(self) -> Tensor:
        """KL(q || p) for this parameter: in closed form, or as the draw estimates it."""
        if not self.closed_form:
            entropy = self.scale.log() + 0.5 * (self.noise**2 + math.log(2 * math.pi))
            return -entropy.sum() - self._log_prior(self.weight)
        if self.prior_scale is None:
            return _closed_form(self.loc, self.scale, self.prior)
        return _normal_kl(self.loc, self.scale, self.prior_scale)

    def _log_prior(self, weight: Tensor) -> Tensor:
        log_prob: Tensor = self.prior.log_prob(weight)
        return log_prob

    @torch.no_grad()
    def set_gradients(self, kl_factor: float) -> None:
        """From the gradient in the sampled weights to those in location and raw scale."""
        gradient = self.weight.grad
        if gradient is None:  # the network does not use this parameter
            gradient = torch.zeros_like(self.weight)
        raw_gradient = torch.mul(gradient, self.noise, out=self.raw_gradient)
        if self.prior_scale is None:
            by_loc, by_scale = self._prior_gradients()
            gradient.add_(by_loc, alpha=kl_factor)
            raw_gradient.add_(by_scale, alpha=kl_factor)
        else:
            precision = kl_factor / self.prior_scale**2
            if self.closed_form:
                raw_gradient.add_(self.scale, alpha=precision)
                gradient.add_(self.loc, alpha=precision)
            else:
                raw_gradient.addcmul_(self.weight, self.noise, value=precision)
                gradient.add_(self.weight, alpha=precision)
            torch.reciprocal(self.scale, out=self.scratch)
            raw_gradient.sub_(self.scratch, alpha=kl_factor)
        raw_gradient.mul_(torch.sigmoid(self.raw, out=self.scratch))
        self.loc.grad, self.raw.grad = gradient, raw_gradient

    @torch.enable_grad()
    def _prior_gradients(self) -> tuple[Tensor, Tensor]:
        """Of the KL in location and scale, for any prior, by automatic differentiation."""
        loc, scale = self.loc.detach().requires_grad_(), self.scale.detach().requires_grad_()
        if self.closed_form:
            kl = _closed_form(loc, scale, self.prior)
        else:
            weight = torch.addcmul(loc, scale, self.noise)
            kl = -self._log_prior(weight) - scale.log().sum()
        by_loc, by_scale = torch.autograd.grad(kl, (loc, scale))
        return by_loc, by_scale


def _closed_form(loc: Tensor, scale: Tensor, prior: dist.Distribution) -> Tensor:
    q = dist.Normal(loc, scale, validate_args=False).to_event(loc.ndim)
    kl: Tensor = kl_divergence(q, prior)
    return kl


def _has_closed_form(prior: dist.Distribution) -> bool:
    base = getattr(prior, "base_dist", prior)
    try:
        kl_divergence(dist.Normal(0.0, 1.0), base)
    except NotImplementedError:
        return False
    return True


def _normal_kl(loc: Tensor, scale: Tensor, prior_scale: float) -> Tensor:
    """KL(Normal(loc, scale) || Normal(0, s)), summed: closed form (Kingma & Welling 2014, B)."""
    squares = (scale.square().sum() + loc.square().sum()) / (2 * prior_scale**2)
    return squares - scale.log().sum() + loc.numel() * (math.log(prior_scale) - 0.5)


def _normal_scale(prior: dist.Distribution) -> float | None:
    """``s`` where the prior is Normal(0, s) for every weight alike, else ``None``."""
    base = getattr(prior, "base_dist", prior)
    if not isinstance(base, torch.distributions.Normal):
        return None
    scale = float(base.scale.flatten()[0])
    uniform = bool((base.scale == scale).all()) and not bool(base.loc.any())
    return scale if uniform else None


ENGINES: dict[str, type[PyroEngine] | type[TorchEngine]] = {
    "torch": TorchEngine,
    "pyro": PyroEngine,
}
"""The engines known by name."""
