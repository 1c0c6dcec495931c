"""A few networks, or a few mean fields, side by side, each with the same weight.

Deep ensembles (Lakshminarayanan et al. 2017, *Simple and scalable predictive uncertainty
estimation using deep ensembles*), ensembles of mean fields, the draws of a Markov chain, and one
network alone are all kept like this.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from nescio.inference.posterior import Draw, Shapes, count, fitting, group, grouped, leading
from nescio.inference.scale import SCALE_MAPS, ScaleMap
from nescio.network import channels_last


class Mixture:
    """``M`` members; network number ``s`` is (or is drawn from) member ``s % M``.

    Taken in turn and not by lot, so that ``S`` networks give every member its share as nearly as
    whole numbers allow: the mean over a multiple of ``M`` networks has no noise of choosing.

    Attributes:
        loc: ``(M, ...)`` for each parameter or buffer that members do not share.
        raw_scale: ``(M, ...)`` for those that are random within a member; may be empty.
        scale_map: From these to standard deviations, see :mod:`nescio.inference.scale`.
    """

    family = "mixture"

    def __init__(
        self,
        loc: Mapping[str, Tensor],
        raw_scale: Mapping[str, Tensor] | None = None,
        scale_map: ScaleMap = SCALE_MAPS["softplus"],
    ) -> None:
        self.loc = {name: value.detach().clone() for name, value in loc.items()}
        self.raw_scale = {n: value.detach().clone() for n, value in (raw_scale or {}).items()}
        self.scale_map = scale_map

    @staticmethod
    def of(networks: Sequence[Mapping[str, Tensor]]) -> Mixture:
        """These networks, each given by its weights."""
        return Mixture({n: torch.stack([each[n] for each in networks]) for n in networks[0]})

    @property
    def members(self) -> int:
        """``M``."""
        return len(next(iter(self.loc.values())))

    @property
    def distinct(self) -> int | None:
        """``M`` where members are networks, ``None`` where they are mean fields."""
        return None if self.raw_scale else self.members

    @property
    def fixed(self) -> Sequence[Mapping[str, Tensor]]:
        """Of each mean field the weights that are not random; empty where members are networks."""
        own = {n: value for n, value in self.loc.items() if n not in self.raw_scale}
        if not self.raw_scale or not own:
            return ()
        return tuple({n: value[m] for n, value in own.items()} for m in range(self.members))

    @property
    def names(self) -> Collection[str]:
        """The parameters and buffers that a draw replaces."""
        return self.loc.keys()

    def sampler(self) -> Draw:
        """A function that gives network number ``s``."""
        # Copies are aligned as freshly computed tensors are, in memory and from a file alike.
        members = [
            {name: channels_last(value[m].clone()) for name, value in self.loc.items()}
            for m in range(self.members)
        ]
        scales = {name: self.scale_map(raw) for name, raw in self.raw_scale.items()}

        def draw(generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:
            member = number % len(members)
            weights = dict(members[member])
            for name, scale in scales.items():
                noise = torch.randn(scale.shape[1:], generator=generator).to(scale.device)
                weights[name] = weights[name] + scale[member] * noise
            return weights

        return draw

    def center(self) -> Mapping[str, Tensor]:
        """The first member: the mean of networks from different starts is no network."""
        return {name: value[0] for name, value in self.loc.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Groups ``loc`` and ``raw_scale``."""
        return grouped(loc=self.loc, raw_scale=self.raw_scale)

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], shapes: Shapes, scale_map: ScaleMap) -> Mixture:
        """From :meth:`tensors`, for a network of such shapes.

        Raises:
            Misfit: They do not fit it, or each other.
        """
        members = leading(tensors, "loc")
        loc = fitting(tensors, shapes, loc=(members,))["loc"]
        if not group(tensors, "raw_scale"):
            return Mixture(loc, scale_map=scale_map)
        own = {name: shapes[name] for name in loc}
        return Mixture(loc, fitting(tensors, own, raw_scale=(members,))["raw_scale"], scale_map)

    def to(self, device: torch.device) -> Mixture:
        """A copy on ``device``."""
        return Mixture(
            {name: value.to(device) for name, value in self.loc.items()},
            {name: value.to(device) for name, value in self.raw_scale.items()},
            self.scale_map,
        )

    def describe(self) -> str:
        """What it is, in a few words."""
        size = count(self.center())
        if not self.raw_scale:
            return f"{self.members} networks of {size:,} weights"
        random = count(self.raw_scale) // self.members
        return f"{self.members} mean fields over {random:,} of {size:,} weights"
