"""One random parameter in a training step: from its draw to its gradients, by hand.

With scale s, noise e and a loss L whose gradient stands at leaves of the graph:

    shared weights    leaf w = loc + s * e       dL/dloc = dL/dw           dL/ds = dL/dw * e
    flipout           leaves loc, d = s * e      dL/dloc as it is          dL/ds = dL/dd * e
    local             leaves loc, s              dL/dloc as it is          dL/ds as it is

To these come the gradients of the KL. For a prior Normal(0, p) they are loc / p^2, and
s / p^2 - 1 / s (Blundell et al. 2015, *Weight uncertainty in neural networks*, with the KL
in closed form).
"""

from __future__ import annotations

import math
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from nescio.inference.guide import MeanField

Leaf = Literal["weight", "deviation", "scale"]
"""What of a random parameter stands in the graph beside (or as) its mean."""


class Site:
    """A random parameter of a mean-field guide; its buffers are kept between steps."""

    def __init__(
        self,
        name: str,
        guide: MeanField,
        prior: dist.Distribution,
        *,
        analytic_kl: bool,
        leaf: Leaf = "weight",
    ) -> None:
        self.name, self.leaf, self.prior = name, leaf, prior
        self.loc, self.raw = guide.loc[name], guide.raw_scale[name]
        self.scale_map = guide.scale_map
        self.prior_scale = normal_scale(prior)
        self.closed_form = analytic_kl and _has_closed_form(prior)
        self.scale = self._buffer()
        self.scratch = self._buffer()
        self.raw_gradient = self._buffer()
        self.mean = self._buffer().requires_grad_()
        self.spread = self._buffer().requires_grad_()
        self.noise = self.scratch

    def _buffer(self) -> Tensor:
        return torch.empty_like(self.loc, requires_grad=False)

    @property
    def needs_noise(self) -> bool:
        """Whether :meth:`draw` reads its noise."""
        return self.leaf != "scale" or not self.closed_form

    @torch.no_grad()
    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """The leaves of the graph: the sampled weight, or the mean and its spread.

        Args:
            noise: Standard normal, of the parameter's shape; not to be changed before
                :meth:`set_gradients` is done.
        """
        self.noise = noise
        self.scale_map(self.raw, out=self.scale)
        if self.leaf == "weight":
            return torch.addcmul(self.loc, self.scale, noise, out=self.mean), None
        if self.leaf == "deviation":
            torch.mul(self.scale, noise, out=self.spread)
        else:
            self.spread.copy_(self.scale)
        return self.mean.copy_(self.loc), self.spread

    @torch.no_grad()
    def kl(self) -> Tensor:
        """KL(q || p) for this parameter: in closed form, or as the draw estimates it."""
        if not self.closed_form:
            entropy = self.scale.log() + 0.5 * (self.noise**2 + math.log(2 * math.pi))
            return -entropy.sum() - self._log_prior(self._weight())
        if self.prior_scale is None:
            return _closed_form(self.loc, self.scale, self.prior)
        return _normal_kl(self.loc, self.scale, self.prior_scale)

    def _weight(self) -> Tensor:
        return torch.addcmul(self.loc, self.scale, self.noise)

    def _log_prior(self, weight: Tensor) -> Tensor:
        log_prob: Tensor = self.prior.log_prob(weight)
        return log_prob

    @torch.no_grad()
    def set_gradients(self, kl_factor: float) -> None:
        """From the gradients at the leaves to those in location and raw scale."""
        gradient, by_scale = self._taken(self.mean), self.raw_gradient
        if self.leaf == "weight":
            torch.mul(gradient, self.noise, out=by_scale)
        elif self.leaf == "deviation":
            torch.mul(self._taken(self.spread), self.noise, out=by_scale)
        else:
            by_scale.copy_(self._taken(self.spread))
        if self.prior_scale is None:
            prior_by_loc, prior_by_scale = self._prior_gradients()
            gradient.add_(prior_by_loc, alpha=kl_factor)
            by_scale.add_(prior_by_scale, alpha=kl_factor)
        else:
            precision = kl_factor / self.prior_scale**2
            if self.closed_form:
                gradient.add_(self.loc, alpha=precision)
                by_scale.add_(self.scale, alpha=precision)
            else:
                weight = torch.addcmul(self.loc, self.scale, self.noise, out=self.scratch)
                gradient.add_(weight, alpha=precision)
                by_scale.addcmul_(weight, self.noise, value=precision)
        self.scale_map.pull_back(by_scale, self.raw, self.scale, kl_factor, self.scratch)
        self.loc.grad, self.raw.grad = gradient, by_scale

    def _taken(self, leaf: Tensor) -> Tensor:
        """The gradient at a leaf, which then has none."""
        gradient, leaf.grad = leaf.grad, None
        return torch.zeros_like(leaf) if gradient is None else gradient

    @torch.enable_grad()
    def _prior_gradients(self) -> tuple[Tensor, Tensor]:
        """Of the KL but its entropy in location and scale, for any prior, by autograd."""
        loc, scale = self.loc.detach().requires_grad_(), self.scale.detach().requires_grad_()
        if self.closed_form:
            cross = _closed_form(loc, scale, self.prior) + scale.log().sum()
        else:
            cross = -self._log_prior(torch.addcmul(loc, scale, self.noise))
        by_loc, by_scale = torch.autograd.grad(cross, (loc, scale), allow_unused=True)
        return by_loc, torch.zeros_like(scale) if by_scale is None else by_scale


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


def normal_scale(prior: dist.Distribution) -> float | None:
    """``s`` where the prior is Normal(0, s) for every weight alike, else ``None``."""
    base = getattr(prior, "base_dist", prior)
    if not isinstance(base, torch.distributions.Normal):
        return None
    scale = float(base.scale.flatten()[0])
    uniform = bool((base.scale == scale).all()) and not bool(base.loc.any())
    return scale if uniform else None
