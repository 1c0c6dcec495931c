"""From what scikit-learn users hold to images: uint8 ``(N, K, H, W)``.

Two kinds of input. *Images* are 8-bit pixels, or numbers that are brought to 8 bits by a range
that is known beforehand. *Features* are any real numbers; each becomes one pixel of 24 bits, in
three bytes, so that what scikit-learn calls a sample is an image of one row. Half a step of
those 24 bits is 2.4e-7 of the largest deviation from the mean among the training samples:
about as much as float32 keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from nescio.errors import DataError, UsageError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

REACH = 4.0
"""Features are told apart up to so many times the largest deviation from the mean among the
training samples; what lies beyond is brought there, which is stranger than anything seen."""

HALF = 2**23
"""Half of the 24-bit steps: the place of the mean."""

CONSTANT = 1e-10
"""A feature that varies by less than this share of its size does not vary."""


@dataclass(frozen=True)
class Pixels:
    """How arrays are read as images.

    Attributes:
        shape: ``(H, W, K)`` of one image.
        limits: What black and white are; ``None`` for 0 and 255 of integers, 0 and 1 of others.
    """

    shape: tuple[int, int, int]
    limits: tuple[float, float] | None

    @staticmethod
    def of(
        X: Array, image_shape: tuple[int, ...] | None, pixel_range: tuple[float, float] | None
    ) -> Pixels:
        """From the training images ``(N, H, W)``, ``(N, H, W, K)``, ``(N, K, H, W)`` or ``(N, D)``.

        Channels come first where they cannot come last.

        Raises:
            DataError: They have no such shape.
            UsageError: The shape or the range is none.
        """
        given = X.shape[1:] if image_shape is None else _checked_shape(image_shape)
        if image_shape is None and len(given) == 3 and given[0] in (1, 3):
            if given[2] in (1, 3):
                raise DataError(
                    f"X {X.shape} may have its channels first or last: say "
                    f"image_shape={given} where they are last, else move them there"
                )
            given = (given[1], given[2], given[0])
        if 0 in given:
            raise DataError(f"Found array with 0 feature(s) (shape={X.shape}); images have pixels")
        if len(given) not in (2, 3) or (len(given) == 3 and given[2] not in (1, 3)):
            raise DataError(
                f"images must have shape (N, H, W), (N, H, W, 3) or (N, 3, H, W), got {X.shape}"
            )
        height, width, *channels = given
        pixels = Pixels((height, width, *(channels or [1])), _checked_range(pixel_range))
        pixels.check(X, "image_shape" if image_shape is not None else "the first fit")
        return pixels

    @property
    def features(self) -> int:
        """How many numbers one image has."""
        height, width, channels = self.shape
        return height * width * channels

    def check(self, X: Array, source: str) -> None:
        """Refuse arrays of images of another shape.

        Raises:
            DataError: They are.
        """
        height, width, channels = self.shape
        fitting = [(self.features,), (channels, height, width), self.shape]
        fitting += [(height, width)] if channels == 1 else []
        if X.shape[1:] not in fitting:
            shapes = " or ".join(str(("N", *shape)).replace("'", "") for shape in reversed(fitting))
            raise DataError(f"X must have shape {shapes}, by {source}; got {X.shape}")

    def __call__(self, X: Array) -> Tensor:
        """``(N, K, H, W)`` uint8.

        Raises:
            DataError: Images of another shape than those of the fit, or pixels out of range.
        """
        self.check(X, "what it was fitted to")
        height, width, channels = self.shape
        if X.shape[1:] != self.shape and X.shape[1:] == (channels, height, width):
            X = np.moveaxis(X, 1, -1)
        images = self._to_bytes(X).reshape(len(X), *self.shape).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.array(images, order="C"))

    def _to_bytes(self, X: Array) -> Array:
        if X.dtype == np.uint8 and self.limits is None:
            return X
        low, high = self.limits or ((0, 255) if X.dtype.kind in "iu" else (0, 1))
        outside = np.less(X, low) | np.greater(X, high)
        if outside.any():
            first = int(np.flatnonzero(outside.reshape(len(X), -1).any(1))[0])
            value = X[first][outside[first]].flat[0]
            negative = "Negative values in data: " if value < 0 and low >= 0 else ""
            raise DataError(
                f"{negative}pixels must lie in [{low:g}, {high:g}], image {first} has {value:g}; "
                "say what black and white are with pixel_range=(low, high)"
            )
        shares = np.subtract(X, low, dtype=np.float64) / (high - low)
        rounded: Array = np.rint(shares * 255).astype(np.uint8)
        return rounded


@dataclass(frozen=True)
class Features:
    """How arrays of any real numbers are read as images of one row.

    Attributes:
        centre: ``(D,)`` float64, the means of the training samples.
        reach: ``(D,)`` float64, the largest deviation that is told apart.
        spread: ``(D,)`` float64, the standard deviations of the training samples.
    """

    centre: Array
    reach: Array
    spread: Array

    @staticmethod
    def of(X: Array) -> Features:
        """From the training samples ``(N, D)``.

        Raises:
            DataError: Their numbers are too large to compute with.
        """
        X = X.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            centre, spread = X.mean(0), X.std(0)
            farthest = np.abs(X - centre).max(0)
            reach = REACH * farthest
        if not np.isfinite([centre, spread, reach]).all():
            raise DataError("X has values too large to compute with; scale them first")
        size = np.abs(X).max(0)
        constant = farthest <= CONSTANT * size
        # What never varied has no scale of its own: any change of its own size is as large.
        unit = np.where(size > 0, size, 1.0)
        return Features(
            centre, np.where(constant, REACH * unit, reach), np.where(constant, unit, spread)
        )

    @property
    def features(self) -> int:
        """``D``."""
        return len(self.centre)

    def __call__(self, X: Array) -> Tensor:
        """``(N, 3, 1, D)`` uint8: the three bytes of each feature, the highest first.

        Raises:
            DataError: There is more than one axis of features.
        """
        if X.ndim != 2:
            raise DataError(
                f"Expected 2D array of features, as in the fit, got shape {X.shape} instead; "
                "images are a matter of the whole fit"
            )
        with np.errstate(over="ignore"):  # far beyond the reach is beyond it
            away = np.clip((X.astype(np.float64) - self.centre) / self.reach, -1.0, 1.0)
        steps = np.minimum(np.rint((away + 1.0) * HALF), 2 * HALF - 1).astype(np.int64)
        packed = np.stack([steps >> 16, (steps >> 8) & 255, steps & 255], 1).astype(np.uint8)
        return torch.from_numpy(packed[:, :, None])


class Unpack(nn.Module):
    """From the bytes of :class:`Features` to standardised numbers.

    ``(n, 3, 1, D)`` float32 in [0, 1] to ``(n, D)``: 0 for the mean of the training samples, 1
    for one standard deviation above it.

    Args:
        features: What packed them.
    """

    scale: Tensor

    def __init__(self, features: Features) -> None:
        super().__init__()
        scale = torch.from_numpy(features.reach / features.spread)
        self.register_buffer("scale", scale.float())

    def forward(self, x: Tensor) -> Tensor:
        """Unpack; 24 bits are just what a float32 holds."""
        high, middle, low = (x * 255.0).round().squeeze(2).unbind(1)
        steps = low.add(middle, alpha=256).add_(high, alpha=65536)
        return (steps - HALF) / HALF * self.scale


def stacked(X: Any) -> Any:
    """A column of arrays (a Series of pandas, an array of objects) as one; all else as it is.

    Raises:
        DataError: They are of several shapes.
    """
    if getattr(getattr(X, "dtype", None), "kind", "") != "O" or np.ndim(X) != 1:
        return X
    items = [each.detach().cpu() if isinstance(each, Tensor) else each for each in X]
    if not items or any(np.ndim(each) == 0 for each in items):
        return X  # scikit-learn tells what is wrong
    shapes = {np.shape(each) for each in items}
    if len(shapes) > 1:
        told = " and ".join(str(shape) for shape in sorted(shapes, key=str)[:2])
        raise DataError(
            f"X holds arrays of {len(shapes)} shapes, such as {told}; bring them to one, or use "
            "nescio.fit, which takes images of any sizes"
        )
    return np.stack([np.asarray(each) for each in items])


Input: TypeAlias = Pixels | Features
"""What brings arrays to images."""


def _checked_shape(image_shape: Any) -> tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in image_shape)
        valid = all(side == own for side, own in zip(sides, image_shape, strict=True))
    except (TypeError, ValueError):
        valid, sides = False, ()
    if not valid or len(sides) not in (2, 3) or min(sides) < 1 or sides[2:] not in ((), (1,), (3,)):
        raise UsageError(f"image_shape must be (H, W) or (H, W, 3), got {image_shape!r}")
    return sides


def _checked_range(pixel_range: Any) -> tuple[float, float] | None:
    if pixel_range is None:
        return None
    try:
        low, high = (float(limit) for limit in pixel_range)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise UsageError(f"pixel_range must be two numbers (low, high), got {pixel_range!r}")
    return low, high
