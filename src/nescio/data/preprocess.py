"""Bring images of any size and colour to one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from statistics import median
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from nescio.data.arrays import array_to_images
from nescio.data.images import CHANNELS, Fit, Preprocessing
from nescio.data.rows import Rows, Stack, content_hashes, read_batches
from nescio.errors import DataError, UsageError

LARGEST_SIDE = 64
"""Images larger than this are brought to it unless the user names a size."""

LARGEST_ASKED = 4096
"""The largest side that a user may name."""

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey, by ITU-R BT.601."""

BAND = 2**24
"""Numbers of images that are floats at a time while large ones are scaled."""

AT_ONCE = 2**24
"""Bytes of the float copies of images that are resized at once."""


def choose_preprocessing(
    sizes: Sequence[tuple[int, int]],
    *,
    colour: bool,
    image_size: int | tuple[int, int] | None = None,
    fit: Fit = "pad",
) -> Preprocessing:
    """Decide once what every image of a set is brought to.

    Their own size if they share one of at most 64 a side; else a square of the median
    longer side, at most 64.

    Args:
        sizes: ``(H, W)`` of each image, or of each shape that occurs.
        colour: Whether any image has colour.
        image_size: A square of this side, or ``(H, W)``, instead.
        fit: What becomes of an image of another size.

    Raises:
        UsageError: ``image_size`` is not a size.
    """
    channels = 3 if colour else 1
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if not all(1 <= side <= LARGEST_ASKED for side in size):
            raise UsageError(
                f"--image-size must be between 1 and {LARGEST_ASKED}, got {image_size}"
            )
        return Preprocessing(channels, *size, fit)
    if len(set(sizes)) == 1 and max(sizes[0]) <= LARGEST_SIDE:
        return Preprocessing(channels, *sizes[0], fit)
    side = min(round(median(max(size) for size in sizes)), LARGEST_SIDE)
    return Preprocessing(channels, side, side, fit)


@overload
def adapt(images: Tensor, preprocessing: Preprocessing) -> Tensor: ...
@overload
def adapt(images: Stack, preprocessing: Preprocessing) -> Stack: ...
def adapt(images: Stack, preprocessing: Preprocessing) -> Stack:
    """Bring images ``(n, K, H, W)`` uint8 to the shape of ``preprocessing``.

    Images that have it already are given back as they are; others that are not in memory are
    brought to it whenever they are read.
    """
    if images.shape[1:] == preprocessing.shape:
        return images
    if isinstance(images, Rows):
        return Rows.of(Adapted(images, preprocessing)).to(images.device)
    images = _adapt_channels(images, preprocessing.channels)
    height, width = images.shape[-2:]
    if (height, width) == (preprocessing.height, preprocessing.width):
        return images
    at_once = _at_once(max(prod(images.shape[1:]), prod(preprocessing.shape)))
    return torch.cat([_resize(part, preprocessing) for part in images.split(at_once)])


@dataclass(frozen=True, eq=False)
class Adapted:
    """Images that are not in memory, in another shape: a :class:`nescio.data.rows.Lazy` part.

    Attributes:
        images: What they are read from.
        preprocessing: What each is brought to when it is read.
    """

    images: Rows
    preprocessing: Preprocessing

    @property
    def shape(self) -> torch.Size:
        """``(N, K, H, W)``."""
        return torch.Size((len(self), *self.preprocessing.shape))

    @property
    def groups(self) -> Tensor:
        """``(N,)`` int64, see :meth:`nescio.data.rows.Rows.groups`."""
        return self.images.groups()

    @property
    def workers(self) -> int:
        """As of what has to be decoded among them; none for what is mapped."""
        return max((part.workers for part in self.images.lazy), default=0)

    @property
    def buffer(self) -> int:
        """Likewise; what is mapped may be read in any order."""
        return max((part.buffer for part in self.images.lazy), default=len(self))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Read and resize the images at ``index`` ``(n,)`` int64: ``(n, K, H, W)`` uint8."""
        return adapt(self.images[index], self.preprocessing)

    def hashes(self, index: Tensor) -> Tensor:
        """The content hash of each image at ``index``, ``(n,)`` int64."""
        return self._hashes[index]

    @cached_property
    def _hashes(self) -> Tensor:
        return content_hashes(read_batches(Rows.of(self)))

    def digest(self, prefix: bytes) -> None:
        """Not known without reading."""


def as_images(array: Any) -> Tensor:
    """Images whose axes are known, as files hold them, as uint8 ``(N, K, H, W)``.

    :func:`nescio.data.arrays.array_to_images` finds the axes of others.

    Args:
        array: NumPy array or tensor, ``(H, W)``, ``(N, H, W)`` or ``(N, H, W, 3)``;
            uint8, or float in [0, 1] (rounded to 8 bits).

    Raises:
        DataError: Another shape or type, or a float that is NaN, infinite or outside.
    """
    axes = {2: "HW", 3: "NHW", 4: "NHWC"}.get(array.ndim)
    if axes is None or 0 in array.shape[1:] or (axes == "NHWC" and array.shape[3] not in CHANNELS):
        raise DataError(
            "images must have shape (N, H, W) or (N, H, W, 3), uint8 or float in [0, 1], got "
            f"{tuple(array.shape)}"
        )
    return array_to_images(array, axes=axes)


def _adapt_channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    weights = torch.tensor(LUMA).view(1, 3, 1, 1)
    parts = images.split(_at_once(prod(images.shape[1:])))
    grey = [(part * weights).sum(1, keepdim=True).round().to(torch.uint8) for part in parts]
    return torch.cat(grey)


def _at_once(pixels: int) -> int:
    """How many images of that many numbers become floats at once."""
    return max(1, AT_ONCE // (4 * max(1, pixels)))


def _resize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    height, width = images.shape[-2:]
    size = preprocessing.height, preprocessing.width
    if preprocessing.fit == "pad":
        scale = min(size[0] / height, size[1] / width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
    if preprocessing.fit == "crop":
        images = _cut(images, size[0] / size[1])
    scaled = _scale(images, size)
    scaled = scaled.round().clamp(0, 255).to(torch.uint8)
    rows, columns = preprocessing.height - size[0], preprocessing.width - size[1]
    padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return F.pad(scaled, padding)


def _scale(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear and antialiased, float32; of large images some rows at a time.

    PyTorch scales along rows, then along columns, so rows may go through by themselves.
    """
    height, width = images.shape[-2:]
    rows = max(1, BAND // max(1, images.shape[0] * images.shape[1] * width))
    if rows < height:
        bands = [
            F.interpolate(
                band.float(), size=(band.shape[-2], size[1]), mode="bilinear", antialias=True
            )
            for band in images.split(rows, -2)
        ]
        images = torch.cat(bands, -2)
    return F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)


def _cut(images: Tensor, aspect: float) -> Tensor:
    """The largest part in the middle whose height is ``aspect`` times its width.

    Cut before scaling: a strip of 30,000 by 10 pixels, scaled first, would need gigabytes.
    """
    height, width = images.shape[-2:]
    rows = min(height, max(1, round(width * aspect)))
    columns = min(width, max(1, round(height / aspect)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[..., top : top + rows, left : left + columns]
