"""Which axis of an array is which: told by its shape, by its kind, and by what a model takes.

Letters as in PyTorch: ``N`` images, ``C`` colour channels, ``H`` height, ``W`` width. Channels are
1 (grey), 3 (RGB) or 4 (RGB and alpha); so a shape may be read in more ways than one:

======  ==========================================  ==============================================
axes    may be                                      is
======  ==========================================  ==============================================
2       ``HW``                                      one grey image
3       ``HWC`` where the last is 1, 3 or 4;        ``HWC`` where the last may be channels and the
        ``CHW`` where the first is;                 first may not; ``NHW`` where neither may; where
        ``NHW`` always                              the first alone may, ``CHW`` of a tensor
4       ``NHWC`` where the last is 1, 3 or 4;       the one that may be; alpha only where nothing
        ``NCHW`` where the second is                else may be
======  ==========================================  ==============================================

Where a single reading gives images of the very shape that the model takes, it is that one: three
images of 28x28 as NumPy array ``(3, 28, 28)`` are three for a model of 28x28 in grey. But a float
tensor ``(3, H, W)`` is one colour image, as torchvision makes it, and an 8-bit one that could be
either is neither. What is left is not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal, TypeAlias, get_args

from nescio.errors import DataError, UsageError

Axes: TypeAlias = Literal["HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"]
"""The axes of an array of images, in order."""

Shape: TypeAlias = Sequence[int]

CHANNELS = (1, 3, 4)
"""Grey, RGB, RGB and alpha."""

Kind = Literal["array", "float tensor", "byte tensor"]
"""What holds the numbers: conventions differ."""


def find_axes(
    shape: Shape,
    *,
    kind: Kind = "array",
    wanted: tuple[int, int, int] | None = None,
    first: Literal["any", "N", "no N"] = "any",
) -> Axes:
    """Which axis of an array of that shape is which.

    Args:
        shape: Of the array.
        kind: What it is; tensors are read channels first.
        wanted: ``(K, H, W)`` of the images that a model takes, if there is one.
        first: Whether the first axis is known to count images (``N``), or known not to (``no N``),
            as of one image of a list.

    Raises:
        DataError: It has no such shape, or may be read in more ways than one.
    """
    readings: list[Axes] = [
        axes for axes in get_args(Axes) if len(axes) == len(shape) and _may_be(axes, shape, first)
    ]
    _refuse_rows(shape, readings, wanted, first)
    if len(readings) > 1:
        readings = _chosen(readings, shape, kind, wanted)
    if not readings:
        raise DataError(
            "images must have shape (N, H, W), (N, H, W, 3) or (N, 3, H, W), or one of them "
            f"(H, W), (H, W, 3) or (3, H, W), got {tuple(shape)}"
        )
    if len(readings) > 1:
        told = " or ".join(f"{_told(axes, shape)} ({axes!r})" for axes in readings)
        raise DataError(
            f"an array of shape {tuple(shape)} may be {told}; say which: "
            f"nescio.image_set(images, axes={readings[0]!r})"
        )
    return readings[0]


def check_axes(axes: str, shape: Shape) -> Axes:
    """The axes that someone has named.

    Raises:
        UsageError: They are none.
        DataError: An array of that shape has no such axes.
    """
    known: dict[str, Axes] = {str(each): each for each in get_args(Axes)}
    if axes not in known:
        raise UsageError(f"axes must be one of {', '.join(known)}, got {axes!r}")
    if len(axes) != len(shape) or not _may_be(known[axes], shape, "any"):
        raise DataError(f"an array of shape {tuple(shape)} has no axes {axes!r}")
    return known[axes]


def image_shape(axes: Axes, shape: Shape) -> tuple[int, int, int]:
    """``(K, H, W)`` of one image."""
    size = dict(zip(axes, shape, strict=True))
    return size.get("C", 1), size["H"], size["W"]


def _may_be(axes: Axes, shape: Shape, first: str) -> bool:
    channels, height, width = image_shape(axes, shape)
    counted = {"N": axes[0] == "N", "no N": axes[0] != "N"}.get(first, True)
    return counted and channels in CHANNELS and height > 0 and width > 0


def _chosen(
    readings: list[Axes], shape: Shape, kind: Kind, wanted: tuple[int, int, int] | None
) -> list[Axes]:
    """Of several readings the one that is meant, or those that nobody can tell apart."""
    if shape[0] == 1 and {"NHW", "CHW"} <= set(readings):  # they say the same
        readings = [axes for axes in readings if axes != "CHW"]
    opaque = [axes for axes in readings if image_shape(axes, shape)[0] != 4]
    if any("C" in axes for axes in opaque):  # alpha only where nothing else may be
        readings = opaque
    exact = [axes for axes in readings if wanted == image_shape(axes, shape)]
    tensor = kind != "array" and shape[0] == 3 and "CHW" in readings and "HWC" not in readings
    if tensor and exact == ["NHW"]:
        return ["CHW"] if kind == "float tensor" else ["NHW", "CHW"]
    if len(exact) == 1:
        return exact
    if tensor:
        return ["CHW"]
    if "HWC" in readings and "CHW" not in readings and shape[0] != 1:
        return ["HWC"]
    return readings


def _refuse_rows(
    shape: Shape,
    readings: Sequence[Axes],
    wanted: tuple[int, int, int] | None,
    first: str,
) -> None:
    """Rows of pixels are no images: where one ends in them, nobody tells.

    Raises:
        DataError: These look like such rows.
    """
    sizes = {prod(wanted), prod(wanted[1:])} if wanted is not None else set()
    images = [image_shape(axes, shape) for axes in readings]
    if wanted in images:
        return
    flat = len(shape) == 2 and (first == "N" or (shape[1] in sizes and shape[0] != shape[1]))
    flat = flat or any(
        height == 1 and colours * width in sizes for colours, height, width in images
    )
    if flat or (len(shape) == 1 and shape[0] in sizes):
        what = "H, W" if wanted is None else f"{wanted[1]}, {wanted[2]}"
        raise DataError(
            f"an array of shape {tuple(shape)} holds rows of pixels, not images; give each its "
            f"height and width: images.reshape(-1, {what}), or (-1, {what}, 3) of colour ones; a "
            "single image of that size is images[None]"
        )


def _told(axes: Axes, shape: Shape) -> str:
    channels, height, width = image_shape(axes, shape)
    count = shape[0] if axes[0] == "N" else 1
    colour = {1: "grey", 3: "colour"}.get(channels, "transparent")
    return f"{count} {colour} {'image' if count == 1 else 'images'} of {height}x{width}"
