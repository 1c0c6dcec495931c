"""Bring images of any size and colour to one shape."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nescio.data.images import Fit, Preprocessing
from nescio.data.rows import Rows, Stack, read_batches
from nescio.errors import DataError, UsageError

LARGEST_SIDE = 64
"""Images larger than this are brought to it unless the user names a size."""

LARGEST_ASKED = 4096
"""The largest side that a user may name."""

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey, by ITU-R BT.601."""

CHUNK = 4096
"""How many images are resized at once, so that the float copies stay small."""


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

    Images that have it already are given back as they are; others come to be in memory.
    """
    if images.shape[1:] == preprocessing.shape:
        return images
    if isinstance(images, Rows):
        return torch.cat([adapt(batch, preprocessing) for batch in read_batches(images)])
    images = _adapt_channels(images, preprocessing.channels)
    height, width = images.shape[-2:]
    if (height, width) == (preprocessing.height, preprocessing.width):
        return images
    parts = [_resize(part, preprocessing) for part in images.split(CHUNK)]
    return torch.cat(parts)


def as_images(array: Any) -> Tensor:
    """Images as people hold them, as uint8 ``(N, K, H, W)``.

    Args:
        array: NumPy array or tensor, ``(H, W)``, ``(N, H, W)`` or ``(N, H, W, 3)``;
            uint8, or float in [0, 1] (rounded to 8 bits).

    Raises:
        DataError: Another shape or type, or a float that is NaN, infinite or outside.
    """
    tensor = array.detach().cpu() if isinstance(array, Tensor) else _tensor(array)
    tensor = _to_bytes(tensor)
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim == 3:
        tensor = tensor[..., None]
    if tensor.ndim != 4 or tensor.shape[-1] not in (1, 3) or 0 in tensor.shape[1:]:
        raise DataError(
            f"images must have shape (N, H, W) or (N, H, W, 3), got {tuple(tensor.shape)}"
        )
    return tensor.permute(0, 3, 1, 2).contiguous()


def _tensor(array: Any) -> Tensor:
    values = np.asarray(array)
    if values.dtype.kind not in "fu" or (values.dtype.kind == "u" and values.dtype != np.uint8):
        raise DataError(f"images must be uint8, or float in [0, 1], got {values.dtype}")
    return torch.from_numpy(np.array(values, order="C", dtype=values.dtype.newbyteorder("=")))


def _to_bytes(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        raise DataError(f"images must be uint8, or float in [0, 1], got {tensor.dtype}")
    # Written so that NaN is outside too.
    outside = ~((tensor >= 0) & (tensor <= 1))
    if bool(outside.any()):
        first = int(outside.flatten(1).any(1).nonzero()[0]) if tensor.ndim > 2 else 0
        value = float(tensor[outside][0])
        raise DataError(
            f"float images must lie in [0, 1], image {first} has {value:g}; "
            "divide 8-bit pixels by 255, or give uint8"
        )
    return (tensor * 255).round().to(torch.uint8)


def _adapt_channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    weights = torch.tensor(LUMA).view(1, 3, 1, 1)
    parts = [(part * weights).sum(1, keepdim=True).round() for part in images.split(CHUNK)]
    return torch.cat(parts).to(torch.uint8)


def _resize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    height, width = images.shape[-2:]
    size = preprocessing.height, preprocessing.width
    if preprocessing.fit == "pad":
        scale = min(size[0] / height, size[1] / width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
    if preprocessing.fit == "crop":
        images = _cut(images, size[0] / size[1])
    scaled = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
    scaled = scaled.round().clamp(0, 255).to(torch.uint8)
    rows, columns = preprocessing.height - size[0], preprocessing.width - size[1]
    padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return F.pad(scaled, padding)


def _cut(images: Tensor, aspect: float) -> Tensor:
    """The largest part in the middle whose height is ``aspect`` times its width.

    Cut before scaling: a strip of 30,000 by 10 pixels, scaled first, would need gigabytes.
    """
    height, width = images.shape[-2:]
    rows = min(height, max(1, round(width * aspect)))
    columns = min(width, max(1, round(height / aspect)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[..., top : top + rows, left : left + columns]
