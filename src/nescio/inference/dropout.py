"""Dropout as a posterior over weights.

Gal & Ghahramani 2016, *Dropout as a Bayesian approximation: representing model uncertainty*.

To drop inputs of a layer is to set columns of its weights to zero:

    W (x * m) / (1 - p) = (W diag(m) / (1 - p)) x        m_i Bernoulli(1 - p)

so a draw is a network: one mask for each layer, which all images meet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from nescio.inference.posterior import Draw, Misfit, Shapes, count, fitting, group, grouped
from nescio.inference.scale import ScaleMap
from nescio.network import channels_last

MASKED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose inputs are dropped: single ones of a linear layer, channels of a convolution."""

FEWEST_INPUTS = 8
"""A layer with fewer inputs is left whole: without a grey image's only channel there is none."""

RATE = "dropout/rate"
"""The name of the rate among :meth:`Dropout.tensors`."""


class Dropout:
    """A network whose layers' inputs are dropped, the same ones for all images.

    Attributes:
        loc: The weights, by name.
        groups: For each weight whose layer's inputs are dropped: into how many groups a
            convolution parts its channels; 1 for others.
        rate: The probability of dropping an input, in (0, 1).
    """

    family = "dropout"
    distinct = None
    fixed = ()

    def __init__(self, loc: Mapping[str, Tensor], groups: Mapping[str, int], rate: float) -> None:
        self.loc = {name: value.detach().clone() for name, value in loc.items()}
        self.groups, self.rate = dict(groups), float(rate)

    @property
    def names(self) -> Collection[str]:
        """The parameters that a draw replaces, in the order in which they are drawn."""
        return self.loc.keys()

    def sampler(self) -> Draw:
        """A function that draws one network."""
        weights = {name: channels_last(value) for name, value in self.loc.items()}

        def draw(generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:  # noqa: ARG001
            drawn = dict(weights)
            for name, groups in self.groups.items():
                value = weights[name]
                kept = torch.rand(groups, 1, value.shape[1], generator=generator) >= self.rate
                mask = (kept.to(value.dtype) / (1 - self.rate)).to(value.device)
                columns = mask.expand(groups, len(value) // groups, -1).flatten(0, 1)
                drawn[name] = value * columns.reshape(*columns.shape, *[1] * (value.ndim - 2))
            return drawn

        return draw

    def center(self) -> Mapping[str, Tensor]:
        """The mean of the draws: nothing dropped."""
        return self.loc

    def tensors(self) -> dict[str, Tensor]:
        """Groups ``loc`` and ``groups`` (int64, 0-d), and the rate."""
        groups = {name: torch.tensor(number) for name, number in self.groups.items()}
        rate = torch.tensor(self.rate, dtype=torch.float64)
        return {**grouped(loc=self.loc, groups=groups), RATE: rate}

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, Tensor],
        shapes: Shapes,
        scale_map: ScaleMap,  # noqa: ARG004 - it has no scales
    ) -> Dropout:
        """From :meth:`tensors`, for a network of such shapes.

        Raises:
            Misfit: They do not fit it, or each other.
        """
        loc = fitting(tensors, shapes, loc=())["loc"]
        groups, rate = group(tensors, "groups"), tensors.get(RATE)
        if rate is None or rate.ndim or not 0 < float(rate) < 1:
            raise Misfit(RATE)
        for name, number in groups.items():
            shape = shapes.get(name, ())
            if name not in loc or len(shape) < 2 or number.ndim or number.is_floating_point():
                raise Misfit(f"groups/{name}")
            if int(number) < 1 or shape[0] % int(number):
                raise Misfit(f"groups/{name}")
        return Dropout(loc, {n: int(groups[n]) for n in loc if n in groups}, float(rate))

    def to(self, device: torch.device) -> Dropout:
        """A copy on ``device``."""
        loc = {name: value.to(device) for name, value in self.loc.items()}
        return Dropout(loc, self.groups, self.rate)

    def describe(self) -> str:
        """What it is, in a few words."""
        return (
            f"{count(self.loc):,} weights in {len(self.groups)} layers, {100 * self.rate:g} % of "
            "whose inputs are dropped"
        )


def masked_layers(network: nn.Module, random: Collection[str]) -> dict[str, nn.Module]:
    """The layers with random weights whose inputs are dropped, by their path."""
    found = {}
    for path, layer in network.named_modules():
        name = f"{path}.weight" if path else "weight"
        if type(layer) in MASKED and name in random:
            inputs = layer.weight.shape[1] * getattr(layer, "groups", 1)
            if inputs >= FEWEST_INPUTS:
                found[path] = layer
    return found


def drop_inputs(
    layer: nn.Module, x: Tensor, rate: float, generator: torch.Generator | None = None
) -> Tensor:
    """``x`` with inputs of ``layer`` dropped, for each image others, the same at all positions."""
    features = x.ndim - 1 if isinstance(layer, nn.Linear) else 1
    kept = [size if axis in (0, features) else 1 for axis, size in enumerate(x.shape)]
    mask = torch.empty(kept, device=x.device).bernoulli_(1 - rate, generator=generator)
    return x * mask.div_(1 - rate)
