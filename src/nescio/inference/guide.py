"""Guides: the family of distributions in which the posterior is sought."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from nescio.inference.posterior import Draw, Posterior, Shapes, count, fitting, grouped
from nescio.inference.scale import SCALE_MAPS, ScaleMap
from nescio.network import channels_last


class Guide(Posterior, Protocol):
    """A posterior that is fitted as a Pyro program."""

    def __call__(self, x: Tensor | None = None, y: Tensor | None = None) -> Mapping[str, Tensor]:
        """The Pyro program: sample every weight at the model's own sites."""
        ...

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        ...


class MeanField:
    """An independent Normal for every weight and bias: q(w) = prod Normal(loc, scale).

    The parameters are held here and not in Pyro's global store, so two models in one
    process cannot touch each other.

    Attributes:
        loc: The mean of each parameter, by name.
        raw_scale: What the scale of each parameter is computed from, by name.
        scale_map: How, see :mod:`nescio.inference.scale`.
    """

    family = "mean-field"
    distinct = None
    fixed = ()

    def __init__(
        self,
        loc: Mapping[str, Tensor],
        raw_scale: Mapping[str, Tensor],
        scale_map: ScaleMap = SCALE_MAPS["softplus"],
    ) -> None:
        self.scale_map = scale_map
        self.loc = {name: nn.Parameter(value.detach().clone()) for name, value in loc.items()}
        self.raw_scale = {
            name: nn.Parameter(value.detach().clone()) for name, value in raw_scale.items()
        }

    @staticmethod
    def around(
        parameters: Mapping[str, Tensor], scale: float, scale_map: ScaleMap = SCALE_MAPS["softplus"]
    ) -> MeanField:
        """Begin at the network's own initial weights, each with the same small scale."""
        raw = scale_map.inverse(scale)
        return MeanField(
            parameters, {name: torch.full_like(p, raw) for name, p in parameters.items()}, scale_map
        )

    @staticmethod
    def of_scales(
        loc: Mapping[str, Tensor],
        scale: Mapping[str, Tensor],
        scale_map: ScaleMap = SCALE_MAPS["softplus"],
    ) -> MeanField:
        """The one with these means and standard deviations."""
        return MeanField(loc, {n: scale_map.raw(value) for n, value in scale.items()}, scale_map)

    @staticmethod
    def standard_normal(
        parameters: Mapping[str, Tensor],
        generator: torch.Generator,
        scale_map: ScaleMap = SCALE_MAPS["softplus"],
    ) -> MeanField:
        """Begin where the article does: location and raw scale are standard normal draws."""

        def draws() -> dict[str, Tensor]:
            return {
                name: torch.randn(p.shape, generator=generator).to(p.device)
                for name, p in parameters.items()
            }

        return MeanField(draws(), draws(), scale_map)

    def __call__(self, x: Tensor | None = None, y: Tensor | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        """Sample every weight, at sites with the names of the model's."""
        return {
            name: pyro.sample(name, self._site(name).to_event(loc.ndim))
            for name, loc in self.loc.items()
        }

    @property
    def names(self) -> Collection[str]:
        """The names of the random parameters, in the order in which they are drawn."""
        return self.loc.keys()

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes: all locations, then all raw scales."""
        return [*self.loc.values(), *self.raw_scale.values()]

    def _site(self, name: str) -> dist.Distribution:
        # Validation would read every weight again and wait for the device at each step;
        # a scale that is not a number shows in the loss.
        return dist.Normal(self.loc[name], self.scale(name), validate_args=False)

    def scale(self, name: str) -> Tensor:
        """The standard deviation of one parameter."""
        return self.scale_map(self.raw_scale[name])

    def sampler(self) -> Draw:
        """A function that draws one network's weights at each call.

        The noise comes from a CPU generator, so the same seed gives the same network on
        every device. The scales are computed once, here.
        """
        with torch.no_grad():
            sites = {
                name: (channels_last(loc.detach()), channels_last(self.scale(name)))
                for name, loc in self.loc.items()
            }

        def draw(generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:  # noqa: ARG001
            return {
                name: torch.empty_like(loc)
                .copy_(torch.randn(loc.shape, generator=generator))
                .mul_(scale)
                .add_(loc)
                for name, (loc, scale) in sites.items()
            }

        return draw

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One network's weights, see :meth:`sampler`."""
        return self.sampler()(generator)

    def clone(self) -> MeanField:
        """A copy that later steps do not change."""
        return MeanField(self.loc, self.raw_scale, self.scale_map)

    def to(self, device: torch.device) -> MeanField:
        """A copy on ``device``."""
        return MeanField(
            {name: value.to(device) for name, value in self.loc.items()},
            {name: value.to(device) for name, value in self.raw_scale.items()},
            self.scale_map,
        )

    def center(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.loc

    def tensors(self) -> dict[str, Tensor]:
        """Groups ``loc`` and ``raw_scale``."""
        return grouped(loc=self.loc, raw_scale=self.raw_scale)

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, Tensor], shapes: Shapes, scale_map: ScaleMap
    ) -> MeanField:
        """From :meth:`tensors`, for a network of such shapes.

        Raises:
            Misfit: They do not fit it, or each other.
        """
        fitted = fitting(tensors, shapes, loc=(), raw_scale=())
        return MeanField(fitted["loc"], fitted["raw_scale"], scale_map)

    def describe(self) -> str:
        """What it is, in a few words."""
        return f"an independent Normal for each of {count(self.loc):,} weights"
