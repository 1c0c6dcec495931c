"""Normalisation of pixels: constants that are a part of the network.

Images reach every network as float32 in [0, 1]. Networks that were trained elsewhere often
want them less a mean and over a standard deviation, channel by channel. These constants become
the network's first layer, so training, prediction, familiarity and the model file know of no
other place where pixels are changed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nescio.errors import UsageError

FORMS = "auto, none, imagenet, or means and deviations such as 0.5,0.5,0.5/0.25,0.25,0.25"
"""What ``--normalise`` may be."""


@dataclass(frozen=True)
class Normalisation:
    """What is taken off each channel, and what it is divided by; of pixels in [0, 1].

    Attributes:
        mean: ``K`` numbers.
        std: ``K`` positive numbers.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = all(math.isfinite(x) for x in (*self.mean, *self.std))
        if not (numbers and len(self.mean) == len(self.std) > 0 and min(self.std) > 0):
            raise UsageError(
                f"a normalisation needs a mean and a positive deviation a channel, got {self}"
            )

    def __str__(self) -> str:
        """As ``--normalise`` takes it."""
        return "/".join(",".join(f"{x:g}" for x in side) for side in (self.mean, self.std))

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Normalisation:
        """What :func:`dataclasses.asdict` gave, perhaps by way of JSON."""
        return Normalisation(*(tuple(float(x) for x in value[name]) for name in ("mean", "std")))


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of ImageNet's training images; what most pretrained networks were trained with."""


def parse_normalisation(
    text: str, channels: int, own: Normalisation | None = None
) -> Normalisation | None:
    """What ``--normalise`` asks for.

    Args:
        text: ``auto``, ``none``, ``imagenet``, or ``M1,M2,M3/S1,S2,S3``; one number stands for
            every channel.
        channels: ``K``, of the images.
        own: What ``auto`` stands for: what the network came with, if anything.

    Raises:
        UsageError: It is none of these, or for another number of channels.
    """
    if text == "none":
        return None
    found = {"auto": own, "imagenet": IMAGENET}[text] if text in ("auto", "imagenet") else None
    if text != "auto" and found is None:
        found = _numbers(text, channels)
    if found is not None and len(found.mean) != channels:
        raise UsageError(
            f"--normalise {text}: it is for {len(found.mean)} channels, and the images have "
            f"{channels}; give one number, or {channels}, on each side of the /"
        )
    return found


def _numbers(text: str, channels: int) -> Normalisation:
    try:
        mean, std = ([float(x) for x in side.split(",")] for side in text.split("/"))
        return Normalisation(*(tuple(x * channels if len(x) == 1 else x) for x in (mean, std)))
    except ValueError as error:  # of float, of unpacking, or a UsageError
        raise UsageError(f"--normalise {text}: expected {FORMS}") from error


class Normalise(nn.Module):
    """``(x - mean) / std``, channel by channel; the constants are kept with the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, K, H, W)`` to the same shape."""
        return (x - self.mean) / self.std


def normalised(network: nn.Module, normalisation: Normalisation | None) -> nn.Module:
    """``network`` behind its normalisation; the network itself where there is none.

    Its parameters are then named ``network.NAME``.
    """
    if normalisation is None:
        return network
    layers = {"normalise": Normalise(normalisation), "network": network}
    return nn.Sequential(OrderedDict(layers))
