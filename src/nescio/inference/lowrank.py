"""A Normal over all random weights together: a low rank of shared directions plus a diagonal.

    w = loc + scale * z + sum_r F_r e_r        z, e standard normal
    covariance = F^T F + diag(scale^2),        F (R, P) with one row a direction

Its entropy needs a determinant of size ``R`` alone (matrix determinant lemma):

    log det(F^T F + D) = log det D + log det(I_R + F D^-1 F^T)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from nescio.inference.posterior import Draw, Shapes, count, fitting, grouped, leading
from nescio.inference.scale import SCALE_MAPS, ScaleMap
from nescio.network import channels_last


class LowRank:
    """A Normal with a low-rank plus diagonal covariance over all random weights.

    Attributes:
        loc: The mean of each parameter, by name.
        raw_scale: What the diagonal's standard deviations are computed from, by name.
        factor: ``(R, ...)`` for each parameter: its part of the ``R`` directions.
        scale_map: From raw values to standard deviations, see :mod:`nescio.inference.scale`.
    """

    family = "low-rank"
    distinct = None
    fixed = ()

    def __init__(
        self,
        loc: Mapping[str, Tensor],
        raw_scale: Mapping[str, Tensor],
        factor: Mapping[str, Tensor],
        scale_map: ScaleMap = SCALE_MAPS["softplus"],
    ) -> None:
        def own(values: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
            return {name: nn.Parameter(value.detach().clone()) for name, value in values.items()}

        self.loc, self.raw_scale, self.factor = own(loc), own(raw_scale), own(factor)
        self.scale_map = scale_map

    @staticmethod
    def around(
        parameters: Mapping[str, Tensor],
        scale: float,
        rank: int,
        generator: torch.Generator,
        scale_map: ScaleMap = SCALE_MAPS["softplus"],
    ) -> LowRank:
        """Begin at the network's own weights: a small diagonal, directions by lot.

        Directions of zero would stay zero in the entropy's gradient, so each begins random; all
        together they begin with a tenth of the diagonal's variance.
        """
        raw = scale_map.inverse(scale)
        size = scale / math.sqrt(10 * rank)
        return LowRank(
            parameters,
            {name: torch.full_like(p, raw) for name, p in parameters.items()},
            {
                name: torch.randn((rank, *p.shape), generator=generator).to(p.device) * size
                for name, p in parameters.items()
            },
            scale_map,
        )

    @property
    def rank(self) -> int:
        """``R``."""
        return len(next(iter(self.factor.values())))

    @property
    def names(self) -> Collection[str]:
        """The random parameters, in the order in which they are drawn."""
        return self.loc.keys()

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        return [*self.loc.values(), *self.raw_scale.values(), *self.factor.values()]

    def scale(self, name: str) -> Tensor:
        """The diagonal's standard deviations for one parameter."""
        return self.scale_map(self.raw_scale[name])

    def variance(self, name: str) -> Tensor:
        """The variance of each weight of one parameter."""
        return self.scale(name).square() + self.factor[name].square().sum(0)

    def entropy(self) -> Tensor:
        """Of the whole distribution, in nats, 0-d, by the matrix determinant lemma."""
        device = next(iter(self.loc.values())).device
        inner = torch.eye(self.rank, device=device)
        log_scales = torch.zeros((), device=device)
        for name in self.loc:
            scale = self.scale(name)
            log_scales = log_scales + scale.log().sum()
            rows = (self.factor[name] / scale).flatten(1)
            inner = inner + rows @ rows.T
        log_det = 2 * log_scales + 2 * torch.linalg.cholesky(inner).diagonal().log().sum()
        entropy: Tensor = 0.5 * (log_det + count(self.loc) * (1 + math.log(2 * math.pi)))
        return entropy

    def sampler(self) -> Draw:
        """A function that draws one network; the noise comes from a CPU generator."""
        with torch.no_grad():
            sites = {
                name: (channels_last(loc.detach()), channels_last(self.scale(name)), factor)
                for (name, loc), factor in zip(
                    self.loc.items(), (f.detach() for f in self.factor.values()), strict=True
                )
            }

        def draw(generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:  # noqa: ARG001
            steps = torch.randn(self.rank, generator=generator)
            return {
                name: torch.empty_like(loc)
                .copy_(torch.randn(loc.shape, generator=generator))
                .mul_(scale)
                .add_(loc)
                .add_(torch.tensordot(steps.to(loc.device), factor, 1))
                for name, (loc, scale, factor) in sites.items()
            }

        return draw

    def center(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.loc

    def tensors(self) -> dict[str, Tensor]:
        """Groups ``loc``, ``raw_scale`` and ``factor``."""
        return grouped(loc=self.loc, raw_scale=self.raw_scale, factor=self.factor)

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], shapes: Shapes, scale_map: ScaleMap) -> LowRank:
        """From :meth:`tensors`, for a network of such shapes.

        Raises:
            Misfit: They do not fit it, or each other.
        """
        rank = leading(tensors, "factor")
        fitted = fitting(tensors, shapes, loc=(), raw_scale=(), factor=(rank,))
        return LowRank(fitted["loc"], fitted["raw_scale"], fitted["factor"], scale_map)

    def clone(self) -> LowRank:
        """A copy that later steps do not change."""
        return LowRank(self.loc, self.raw_scale, self.factor, self.scale_map)

    def to(self, device: torch.device) -> LowRank:
        """A copy on ``device``."""
        return LowRank(
            {name: value.to(device) for name, value in self.loc.items()},
            {name: value.to(device) for name, value in self.raw_scale.items()},
            {name: value.to(device) for name, value in self.factor.items()},
            self.scale_map,
        )

    def describe(self) -> str:
        """What it is, in a few words."""
        return f"a Normal of rank {self.rank} plus diagonal over {count(self.loc):,} weights"
