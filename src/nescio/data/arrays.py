"""Arrays as people hold them, as images: uint8 ``(N, K, H, W)``; nothing is done one by one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nescio.data.axes import Kind, check_axes, find_axes
from nescio.data.images import Preprocessing
from nescio.decode import DEFAULT, Decoding
from nescio.errors import DataError

OPAQUE = 255


def array_to_images(
    array: Any,
    *,
    axes: str | None = None,
    wanted: Preprocessing | None = None,
    first: Literal["any", "N", "no N"] = "any",
    decoding: Decoding = DEFAULT,
) -> Tensor:
    """An array of images, or of one, as uint8 ``(N, K, H, W)`` on the CPU.

    Args:
        array: NumPy array, tensor, or what NumPy makes an array of; uint8, booleans (black and
            white), or floats in [0, 1], which are rounded to 8 bits.
        axes: Which axis is which, such as ``NHWC``; ``None`` to tell it by
            :func:`nescio.data.axes.find_axes`.
        wanted: What a model brings images to.
        first: See :func:`nescio.data.axes.find_axes`.
        decoding: What transparent parts are laid on.

    Raises:
        DataError: Another type, a shape that is none or may be several, or a float that is NaN,
            infinite or outside.
        UsageError: There are no such axes.
    """
    values = array.detach().cpu() if isinstance(array, Tensor) else _tensor(array)
    shape, model = tuple(values.shape), None if wanted is None else wanted.shape
    named: str
    if axes is None:
        named = find_axes(shape, kind=kind_of_array(array), wanted=model, first=first)
    else:
        named = check_axes(axes, shape)
    if "N" not in named:
        values, named = values.unsqueeze(0), f"N{named}"
    if "C" not in named:
        values, named = values.unsqueeze(-1), f"{named}C"
    values = values.permute([named.index(letter) for letter in "NCHW"])
    return _opaque(_to_bytes(values).contiguous(), decoding)


def kind_of_array(array: Any) -> Kind:
    """What holds the numbers, by which axes are told."""
    if not isinstance(array, Tensor):
        return "array"
    return "float tensor" if array.is_floating_point() else "byte tensor"


def _tensor(array: Any) -> Tensor:
    try:
        values = np.asarray(array)
        if values.dtype.kind not in "bfu" or (values.dtype.kind == "u" and values.itemsize > 1):
            raise DataError(_wrong_type(values.dtype))
        native = values.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(values, order="C", dtype=native))
    except (TypeError, ValueError) as error:  # of no type that it knows, or ragged
        if isinstance(error, DataError):
            raise
        why = " ".join(str(error).split())
        raise DataError(f"no array of images can be made of it ({why})") from error


def _wrong_type(dtype: object) -> str:
    return (
        f"images must be uint8, or float in [0, 1], got {dtype}; divide them by the value that is "
        "white, or, where they go from 0 to 255, make them uint8"
    )


def _to_bytes(images: Tensor) -> Tensor:
    """``(N, C, H, W)`` of any type as uint8."""
    if images.dtype == torch.uint8:
        return images
    if images.dtype == torch.bool:
        return images.to(torch.uint8) * OPAQUE
    if not images.is_floating_point():
        raise DataError(_wrong_type(images.dtype))
    # Written so that NaN is outside too.
    outside = ~((images >= 0) & (images <= 1))
    if bool(outside.any()):
        first = int(outside.flatten(1).any(1).nonzero()[0])
        value = float(images[outside][0])
        mend = (
            "leave out the normalisation (of transforms), and ask fit for it: normalise='imagenet'"
            if value < 0
            else "divide 8-bit pixels by 255, or give uint8"
        )
        raise DataError(f"float images must lie in [0, 1], image {first} has {value:g}; {mend}")
    return (images * OPAQUE).round().to(torch.uint8)


def _opaque(images: Tensor, decoding: Decoding) -> Tensor:
    """Images with alpha ``(N, 4, H, W)`` laid on the background: ``(N, 3, H, W)``."""
    if images.shape[1] != 4:
        return images
    under = torch.tensor(decoding.background_rgb, dtype=torch.float32).view(1, 3, 1, 1)
    parts = []
    for part in images.split(256):
        share = part[:, 3:].float() / OPAQUE
        parts.append((part[:, :3] * share + under * (1 - share)).round().to(torch.uint8))
    return torch.cat(parts) if parts else images[:, :3]
