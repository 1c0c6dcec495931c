"""Augmentation: images moved a little at random, a whole batch in a few tensor operations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nescio.errors import UsageError

FORMS = "auto, none, or shift:PIXELS, rotate:DEGREES, zoom:SHARE and flip, joined by commas"
"""What ``--augment`` may be."""


@dataclass(frozen=True)
class Augmentation:
    """Every image is moved, turned and zoomed by random amounts, about its middle.

    Attributes:
        shift: At most so many pixels, along each axis.
        rotate: At most so many degrees, either way.
        zoom: Larger or smaller by at most this share, in [0, 1).
        flip: Whether half of the images are mirrored, left to right.
    """

    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    flip: bool = False

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Other images ``(n, K, H, W)`` for those of ``x``, float32.

        What comes in from outside the image repeats its border.

        Args:
            x: ``(n, K, H, W)`` float32, on any device; not changed.
            generator: On the CPU, so that a seed means the same on every device.
        """
        if self == Augmentation():
            return x
        if self == Augmentation(flip=True):
            mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
            return torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        draws = torch.rand(len(x), 5, generator=generator) * 2 - 1
        angle = draws[:, 0] * math.radians(self.rotate)
        size = 1 / (1 + draws[:, 1] * self.zoom)
        across = torch.where(draws[:, 2] < 0, -size, size) if self.flip else size
        turn = torch.stack(
            [angle.cos() * across, -angle.sin() * size, angle.sin() * across, angle.cos() * size], 1
        ).view(len(x), 2, 2)
        return warp(x, turn, draws[:, 3:] * self.shift)


def warp(x: Tensor, turn: Tensor, move: Tensor) -> Tensor:
    """Images turned, sheared, zoomed and moved about their middles, bilinear.

    What comes in from outside the image repeats its border.

    Args:
        x: ``(n, K, H, W)`` float32, on any device.
        turn: ``(n, 2, 2)``: from a place in the new image to one in the old, both in pixels
            from the middle, across first.
        move: ``(n, 2)``: and so many pixels on.
    """
    height, width = x.shape[-2:]
    # Coordinates run over [-1, 1] along both axes, so turning an image that is not
    # square takes its two sides into account.
    side = torch.tensor([[1.0, height / width], [width / height, 1.0]])
    places = move * 2 / torch.tensor([width, height])
    theta = torch.cat([turn * side, places[:, :, None]], 2).to(x.device)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


SHIFTED_SHARE = 0.07
"""By default an image moves by at most this share of its side: 2 pixels of 28."""

FLIPPED = ("fashion-mnist",)
"""Named sets whose images mean the same in a mirror. Digits and letters do not."""


def suitable_augmentation(data: str, side: int) -> str:
    """What ``auto`` stands for: small shifts, turns and zooms; mirrored only where known to be.

    Args:
        data: The name of the data set.
        side: Of its images, in pixels.
    """
    shift = max(1, round(SHIFTED_SHARE * side))
    flip = ",flip" if data in FLIPPED else ""
    return f"shift:{shift},rotate:10,zoom:0.1{flip}"


def parse_augmentation(text: str) -> Augmentation:
    """The augmentation of that description, such as ``shift:2,rotate:10``.

    ``auto`` depends on the data (:func:`suitable_augmentation`); without any it is none.

    Raises:
        UsageError: It is none.
    """
    if text in ("none", "auto"):
        return Augmentation()
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, colon, amount = part.partition(":")
        if name in amounts or name not in {"shift", "rotate", "zoom", "flip"}:
            raise UsageError(f"--augment {text}: expected {FORMS}")
        if (name == "flip") == bool(colon):
            raise UsageError(f"--augment {text}: expected {FORMS}")
        amounts[name] = 1.0 if name == "flip" else _amount(text, amount)
    if amounts.get("zoom", 0.0) >= 1:
        raise UsageError(f"--augment {text}: zoom must be below 1")
    return Augmentation(
        amounts.get("shift", 0.0),
        amounts.get("rotate", 0.0),
        amounts.get("zoom", 0.0),
        "flip" in amounts,
    )


def _amount(text: str, amount: str) -> float:
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"--augment {text}: {amount!r} is not a positive number")
    return value
