"""Corruptions in five grades: what happens to images that were taken, sent or written badly.

After the list of MNIST-C (Mu & Gilmer 2019, *MNIST-C: A robustness benchmark for computer
vision*), in the manner of Hendrycks & Dietterich 2019; the functions and their grades are
our own. Axes: ``n`` images, ``K`` channels, ``H``, ``W``, ``D`` random numbers an image.

A corruption is a pure function of images ``(n, K, H, W)`` float32 in [0, 1], a level, and
uniform random numbers ``(n, D)``. The numbers do not depend on the level, so a higher grade
does more of the same to the same image. Amounts in pixels are shares of the shorter side.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nescio.data.augment import warp
from nescio.data.images import to_float
from nescio.progress import SILENT, Reporter

CHUNK = 512
"""How many images are corrupted at once, so that the float copies stay small."""

EACH_VALUE = 0
"""As a number of draws: one for each value of an image, ``K H W``."""

Change: TypeAlias = Callable[[Tensor, float, Tensor], Tensor]


@dataclass(frozen=True)
class Corruption:
    """One way in which images go bad.

    Attributes:
        description: One line for a person.
        change: From ``(n, K, H, W)`` in [0, 1], a level and ``(n, D)`` random numbers to
            images of the same shape; values outside [0, 1] are cut off.
        levels: One for each severity, 1 to 5.
        draws: ``D``, or :data:`EACH_VALUE`.
    """

    description: str
    change: Change
    levels: tuple[float, float, float, float, float]
    draws: int


def corrupt(
    images: Tensor,
    corruption: Corruption,
    severity: int,
    generator: np.random.Generator,
    reporter: Reporter = SILENT,
) -> Tensor:
    """Corrupted copies of images; the first do not depend on how many there are.

    Args:
        images: ``(N, K, H, W)`` uint8.
        corruption: What happens to them.
        severity: 1 to 5.
        generator: Of all random numbers.
        reporter: Told of progress.
    """
    level = corruption.levels[severity - 1]
    draws = corruption.draws or images[0:1].numel()
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    with reporter.task("shifting", len(images), "images") as task:
        for start in range(0, len(images), CHUNK):
            part = images[start : start + CHUNK]
            numbers = torch.from_numpy(generator.random((len(part), draws), dtype=np.float32))
            changed = corruption.change(to_float(part), level, numbers)
            result[start : start + CHUNK] = to_bytes(changed)
            task.advance(len(part))
    return result


def to_bytes(x: Tensor) -> Tensor:
    """Pixels ``(n, K, H, W)`` float32, cut off to [0, 1], as uint8."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def blur(x: Tensor, level: float, _: Tensor) -> Tensor:
    """Out of focus; ``level`` is the Gaussian's standard deviation."""
    return _smooth(x, level * _side(x))


def motion(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Moved while it was taken, by ``level`` in a random direction."""
    length = level * _side(x)
    angle = numbers[:, 0] * math.pi
    along = torch.stack([angle.cos(), angle.sin()], 1)
    steps = max(2, math.ceil(length) + 1)
    total = torch.zeros_like(x)
    for place in torch.linspace(-length / 2, length / 2, steps):
        total += warp(x, _unmoved(len(x)), along * place)
    return total / steps


def gaussian_noise(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Independent normal noise of standard deviation ``level`` on every value."""
    return x + level * _normal(numbers).view_as(x)


def impulse(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """A share ``level`` of the values lost, half to black and half to white."""
    numbers = numbers.view_as(x)
    # The lowest numbers become black and the highest white, so that grades are nested.
    x = torch.where(numbers < level / 2, 0.0, x)
    return torch.where(numbers > 1 - level / 2, 1.0, x)


def rotation(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Turned by ``level`` degrees to a random side."""
    angle = math.radians(level) * _sign(numbers[:, 0])
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1)
    return warp(x, turn.view(-1, 2, 2), torch.zeros(len(x), 2))


def shear(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Slanted by ``level`` pixels across for each one down, to a random side."""
    turn = _unmoved(len(x)).clone()
    turn[:, 0, 1] = level * _sign(numbers[:, 0])
    return warp(x, turn, torch.zeros(len(x), 2))


def zoom(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Larger or smaller, at random, by the factor ``level``."""
    size = torch.where(numbers[:, :1, None] < 0.5, level, 1 / level)
    return warp(x, _unmoved(len(x)) * size, torch.zeros(len(x), 2))


def shift(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Moved by ``level`` in a random direction."""
    angle = numbers[:, 0] * 2 * math.pi
    return warp(x, _unmoved(len(x)), torch.stack([angle.cos(), angle.sin()], 1) * level * _side(x))


def occlusion(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """A square of side ``level`` in front, black or grey at random, wholly in view."""
    inside = torch.ones(len(x), 1, 1, dtype=torch.bool)
    size = max(1, round(level * _side(x)))
    for axis, length in enumerate(x.shape[-2:]):
        # Its middle is drawn, so that a higher grade covers the same place and more.
        middle = size / 2 + numbers[:, axis] * (length - size)
        near = ((torch.arange(length) + 0.5) - middle[:, None]).abs() < size / 2
        inside = inside & near.unsqueeze(2 - axis)
    grey = torch.where(numbers[:, 2] < 0.5, 0.0, 0.5)
    return torch.where(inside[:, None], grey[:, None, None, None], x)


def contrast(x: Tensor, level: float, _: Tensor) -> Tensor:
    """Levels drawn in to the image's mean, so that a share ``level`` of the contrast stays."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * level


def brightness(x: Tensor, level: float, _: Tensor) -> Tensor:
    """Brighter by ``level`` everywhere; what is white already stays."""
    return x + level


def stripe(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Bars across the image, of random direction and phase, where it is inverted by ``level``."""
    height, width = x.shape[-2:]
    angle = numbers[:, 0].view(-1, 1, 1) * math.pi
    place = angle.cos() * torch.arange(width) + angle.sin() * torch.arange(height)[:, None]
    period = STRIPE_PERIOD * _side(x)
    within = (place / period + numbers[:, 1].view(-1, 1, 1)) % 1
    return torch.where((within < STRIPE_SHARE)[:, None], x + level * (1 - 2 * x), x)


def spatter(x: Tensor, level: float, numbers: Tensor) -> Tensor:
    """Bright drops that cover about a share ``level`` of the image."""
    field = _smooth(_normal(numbers).view_as(x)[:, :1], DROP * _side(x))
    # A smoothed field is flat: measured by its own deviation, its quantiles are the normal's.
    deviation, mean = torch.std_mean(field, (1, 2, 3), keepdim=True, correction=0)
    height = (field - mean) / deviation.clamp_min(1e-6)
    limit = float(torch.special.ndtri(torch.tensor(1 - level)))
    cover = ((height - limit) * 4 + 0.5).clamp(0, 1)
    return x + cover * (DROP_LEVEL - x).clamp_min(0)


def jpeg(x: Tensor, level: float, _: Tensor) -> Tensor:
    """Written as JPEG of quality ``level`` (Pillow's, 1 to 95) and read again."""
    pixels = to_bytes(x).permute(0, 2, 3, 1).numpy()
    grey = pixels.shape[-1] == 1
    read = []
    for image in pixels[..., 0] if grey else pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(level))
        read.append(np.asarray(Image.open(buffer)))
    result = torch.from_numpy(np.stack(read)).view(len(x), *x.shape[-2:], -1)
    return to_float(result.permute(0, 3, 1, 2))


STRIPE_PERIOD, STRIPE_SHARE = 0.3, 0.4
"""From bar to bar, of the shorter side; and how much of that a bar takes."""

DROP, DROP_LEVEL = 0.05, 0.85
"""The smoothing that makes drops of noise, of the shorter side; and how bright they are."""

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "blur": Corruption("out of focus", blur, (0.025, 0.04, 0.055, 0.075, 0.1), 1),
        "motion": Corruption("moved while taken", motion, (0.1, 0.17, 0.25, 0.35, 0.5), 1),
        "noise": Corruption(
            "normal noise", gaussian_noise, (0.08, 0.15, 0.25, 0.4, 0.6), EACH_VALUE
        ),
        "impulse": Corruption(
            "values lost to black and white", impulse, (0.02, 0.05, 0.1, 0.2, 0.35), EACH_VALUE
        ),
        "rotation": Corruption("turned to either side", rotation, (12, 22, 32, 44, 60), 1),
        "occlusion": Corruption(
            "a black or grey square in front", occlusion, (0.2, 0.28, 0.36, 0.45, 0.55), 3
        ),
        "contrast": Corruption("less contrast", contrast, (0.7, 0.5, 0.35, 0.2, 0.1), 1),
        "brightness": Corruption("brighter", brightness, (0.12, 0.25, 0.4, 0.55, 0.7), 1),
        "shear": Corruption("slanted to either side", shear, (0.2, 0.4, 0.6, 0.8, 1.0), 1),
        "zoom": Corruption("larger or smaller", zoom, (1.12, 1.25, 1.4, 1.6, 1.9), 1),
        "shift": Corruption("moved aside", shift, (0.07, 0.11, 0.16, 0.21, 0.27), 1),
        "stripe": Corruption("inverted in stripes", stripe, (0.15, 0.3, 0.45, 0.65, 0.9), 2),
        "spatter": Corruption("bright drops", spatter, (0.03, 0.07, 0.12, 0.18, 0.26), EACH_VALUE),
        "jpeg": Corruption("compressed as JPEG", jpeg, (50, 25, 12, 5, 1), 1),
    }
)
"""All of them, by name."""


def _side(x: Tensor) -> int:
    return min(x.shape[-2:])


def _sign(numbers: Tensor) -> Tensor:
    return torch.where(numbers < 0.5, -1.0, 1.0)


def _unmoved(count: int) -> Tensor:
    return torch.eye(2).expand(count, 2, 2)


def _normal(numbers: Tensor) -> Tensor:
    """Uniform numbers as standard normal ones; 0 would become infinite."""
    normal: Tensor = torch.special.ndtri(numbers.clamp(2**-25, 1 - 2**-24))
    return normal


def _smooth(x: Tensor, deviation: float) -> Tensor:
    """A Gaussian over ``(n, K, H, W)``, down and then across; the border repeats."""
    reach = max(1, math.ceil(3 * deviation))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    weights = weights / weights.sum()
    rows = x.flatten(0, 1)[:, None]
    rows = F.conv2d(F.pad(rows, (0, 0, reach, reach), "replicate"), weights.view(1, 1, -1, 1))
    rows = F.conv2d(F.pad(rows, (reach, reach, 0, 0), "replicate"), weights.view(1, 1, 1, -1))
    return rows.view_as(x)
