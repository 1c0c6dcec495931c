"""Augmentation: images moved a little at random, a whole batch in a few tensor operations."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from nescio.errors import UsageError

FORMS = (
    "auto, none, or shift:PIXELS, rotate:DEGREES, zoom:SHARE, shear:SHARE, bend:PIXELS, "
    "wild:SHARE, hide:SHARE, colour:SHARE and flip, joined by commas"
)
"""What ``--augment`` may be."""


@dataclass(frozen=True)
class Augmentation:
    """Every image is moved, turned, zoomed, slanted and bent by random amounts, about its middle.

    Attributes:
        shift: At most so many pixels, along each axis.
        rotate: At most so many degrees, either way.
        zoom: Larger or smaller by at most this share, in [0, 1).
        flip: Whether half of the images are mirrored, left to right.
        shear: Slanted by at most this share of its height, either way.
        bend: The standard deviation, in pixels, by which places move against their
            surroundings, smoothly (Simard, Steinkraus & Platt 2003, *Best practices for
            convolutional neural networks*).
        wild: The share of images that are turned, zoomed and slanted up to :data:`WILDER` times
            as much, so that the network has seen what it may not know well.
        hide: The share of images in which a rectangle is hidden: black, or any grey (Zhong et
            al. 2020, *Random erasing data augmentation*).
        colour: In every channel contrast grows or shrinks by at most this share, and all becomes
            lighter or darker by at most half of it, so that colour tells little; in [0, 1].
    """

    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    shear: float = 0.0
    bend: float = 0.0
    wild: float = 0.0
    hide: float = 0.0
    colour: float = 0.0

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
        draws = torch.rand(len(x), 6, generator=generator) * 2 - 1
        wild = torch.rand(len(x), generator=generator) < self.wild
        more = torch.where(wild, WILDER, 1.0)
        angle = draws[:, 0] * math.radians(self.rotate) * more
        size = 1 / (1 + draws[:, 1] * (self.zoom * more).clamp_max(MOST_ZOOM))
        across = torch.where(draws[:, 2] < 0, -size, size) if self.flip else size
        turn = torch.stack(
            [angle.cos() * across, -angle.sin() * size, angle.sin() * across, angle.cos() * size], 1
        ).view(len(x), 2, 2)
        slant = torch.eye(2).repeat(len(x), 1, 1)
        slant[:, 0, 1] = draws[:, 5] * self.shear * more
        moved = warp(x, turn @ slant, draws[:, 3:5] * self.shift, self._bends(x, generator))
        return self._coloured(self._hidden(moved, generator), generator)

    def _coloured(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """``x`` with the contrast and the lightness of each channel changed."""
        if self.colour == 0:
            return x
        draws = (torch.rand(2, *x.shape[:2], 1, 1, generator=generator) * 2 - 1) * self.colour
        contrast, lightness = draws.to(x.device)
        changed: Tensor = (x - 0.5) * (1 + contrast) + 0.5 + lightness / 2
        return changed.clamp(0, 1)

    def _hidden(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """``x`` with a rectangle covered in a share of the images."""
        if self.hide == 0:
            return x
        draws = torch.rand(len(x), 6, generator=generator)
        low, high = HIDDEN_SIDES
        covered = (draws[:, 0] < self.hide)[:, None, None]
        for axis, length in enumerate(x.shape[-2:]):
            size = (low + draws[:, 1 + axis] * (high - low)) * length
            middle = draws[:, 3 + axis] * length
            away = (torch.arange(length) + 0.5 - middle[:, None]).abs()
            covered = covered & (away < size[:, None] / 2).unsqueeze(2 - axis)
        # As often black as any grey: in most images of this kind black is what is behind.
        grey = (2 * draws[:, 5] - 1).clamp_min(0.0).to(x.device)
        return torch.where(covered.to(x.device)[:, None], grey[:, None, None, None], x)

    def _bends(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        """How far each place moves, ``(n, 2, H, W)`` in pixels, across first."""
        if self.bend == 0:
            return None
        knots = torch.randn(len(x), 2, BENDS, BENDS, generator=generator) * self.bend
        return F.interpolate(knots, size=x.shape[-2:], mode="bicubic", align_corners=True)


WILDER = 4.5
"""How much further wild images are turned, zoomed and slanted: 45 degrees instead of 10."""

MOST_ZOOM = 0.6
"""Where images are wildly zoomed, at most by so much."""

HIDDEN_SIDES = (0.15, 0.5)
"""The smallest and largest side of a hidden rectangle, as a share of the image's."""

BENDS = 6
"""Places along a side that move independently when an image is bent."""


def warp(x: Tensor, turn: Tensor, move: Tensor, bends: Tensor | None = None) -> Tensor:
    """Images turned, sheared, zoomed, moved and bent about their middles, bilinear.

    What comes in from outside the image repeats its border.

    Args:
        x: ``(n, K, H, W)`` float32, on any device.
        turn: ``(n, 2, 2)``: from a place in the new image to one in the old, both in pixels
            from the middle, across first.
        move: ``(n, 2)``: and so many pixels on.
        bends: ``(n, 2, H, W)``: and so many more at each place, across first.
    """
    height, width = x.shape[-2:]
    # Coordinates run over [-1, 1] along both axes, so turning an image that is not
    # square takes its two sides into account.
    side = torch.tensor([[1.0, height / width], [width / height, 1.0]])
    places = move * 2 / torch.tensor([width, height])
    theta = torch.cat([turn * side, places[:, :, None]], 2).to(x.device)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    if bends is not None:
        pixels = torch.tensor([2 / width, 2 / height])
        grid = grid + (bends.permute(0, 2, 3, 1) * pixels).to(x.device)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


AMOUNTS = tuple(field.name for field in fields(Augmentation))
"""What may be named."""

SHIFTED_SHARE, BENT_SHARE = 0.07, 0.4 / 28
"""By default an image moves by at most this share of its side, 2 pixels of 28; and is bent by the
other."""

FLIPPED = ("fashion-mnist",)
"""Named sets whose images mean the same in a mirror. Digits and letters do not."""


def suitable_augmentation(data: str, side: int) -> str:
    """What ``auto`` stands for: small changes of every kind; mirrored only where known to be.

    Args:
        data: The name of the data set.
        side: Of its images, in pixels.
    """
    shift = max(1, round(SHIFTED_SHARE * side))
    flip = ",flip" if data in FLIPPED else ""
    return f"shift:{shift},rotate:10,zoom:0.1,shear:0.1,bend:{BENT_SHARE * side:.2g}{flip}"


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
        if name in amounts or name not in AMOUNTS:
            raise UsageError(f"--augment {text}: expected {FORMS}")
        if (name == "flip") == bool(colon):
            raise UsageError(f"--augment {text}: expected {FORMS}")
        amounts[name] = 1.0 if name == "flip" else _amount(text, amount)
    if amounts.get("zoom", 0.0) >= 1:
        raise UsageError(f"--augment {text}: zoom must be below 1")
    for name in ("wild", "hide", "colour"):
        if amounts.get(name, 0.0) > 1:
            raise UsageError(f"--augment {text}: {name} is a share, at most 1")
    flip = amounts.pop("flip", 0.0) > 0
    return Augmentation(**amounts, flip=flip)


def _amount(text: str, amount: str) -> float:
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"--augment {text}: {amount!r} is not a positive number")
    return value
