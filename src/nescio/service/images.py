"""Images as clients send them: files, base64, or numbers. All of it is hostile until read."""

from __future__ import annotations

import binascii
import math
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor

from nescio.data import Preprocessing, adapt, as_images
from nescio.data.decode import FORMATS, decode_image, look_at_image
from nescio.errors import DataError, UnreadableImage, UsageError
from nescio.service.limits import Limits
from nescio.service.problems import Problem

DEFAULT_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What is decoded unless told otherwise: what cameras, browsers and programs make."""

MEDIA_TYPES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/bmp": "BMP",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/tiff": "TIFF",
    "image/x-portable-pixmap": "PPM",
}
"""The content type of a raw body for each format."""


@dataclass(frozen=True)
class Given:
    """One image as it came.

    Attributes:
        name: What the client calls it.
        content: A file's bytes, base64 of such, or rows of numbers.
    """

    name: str
    content: bytes | str | list[Any]


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """The formats in capitals.

    Raises:
        UsageError: One is not known.
    """
    chosen = tuple(name.strip().upper() for name in formats)
    for name in chosen:
        if name not in FORMATS:
            raise UsageError(
                f"unknown image format {name!r}: expected some of {', '.join(FORMATS)}"
            )
    return chosen


def read_given(
    given: Sequence[Given],
    preprocessing: Preprocessing,
    limits: Limits,
    formats: Sequence[str] = DEFAULT_FORMATS,
    deadline: float = math.inf,
) -> list[Tensor | str]:
    """Read images, and bring them to what the model takes.

    Args:
        given: The images.
        preprocessing: Of the model.
        limits: On their pixels; looked at before any is decoded.
        formats: That files may have.
        deadline: By :func:`time.monotonic`; no image is begun after it.

    Returns:
        For each image ``(1, K, H, W)`` uint8, or why it cannot be read.

    Raises:
        Problem: There are too many pixels (413), or it takes too long (504).
    """
    room = limits.request_pixels
    read: list[Tensor | str] = []
    for one in given:
        if time.monotonic() > deadline:
            raise Problem(504, "reading the images took too long; send fewer or smaller ones")
        try:
            pixels, area = _read(one, min(limits.pixels, room), limits, formats)
            room -= area
            read.append(adapt(pixels, preprocessing))
        except DataError as error:
            read.append(str(error))
    return read


def _read(one: Given, room: int, limits: Limits, formats: Sequence[str]) -> tuple[Tensor, int]:
    """The image ``(1, K, H, W)``, and how many pixels it has."""
    if isinstance(one.content, list):
        images = as_images(from_numbers(one.content)[None])
        return images, images.shape[-2] * images.shape[-1]
    content = from_base64(one.content) if isinstance(one.content, str) else one.content
    if not content:
        raise UnreadableImage("the file is empty")
    try:
        (height, width), _ = look_at_image(BytesIO(content), "image", formats)
        if height * width > room:
            raise _too_large(height, width, limits)
        pixels = decode_image(BytesIO(content), "image", formats)
    except UnreadableImage as error:
        raise _explain(error, formats) from None
    return as_images(pixels[None]), height * width


def _too_large(height: int, width: int, limits: Limits) -> Problem:
    return Problem(
        413,
        f"an image of {width} by {height} pixels is too large: at most {limits.pixels:,} pixels "
        f"are taken, and {limits.request_pixels:,} in a request; make it smaller",
    )


def _explain(error: UnreadableImage, formats: Sequence[str]) -> UnreadableImage:
    """Why a file is not read, without what the decoder says of itself."""
    del error
    return UnreadableImage(f"it cannot be read as an image; taken are {', '.join(formats)}")


def from_base64(text: str) -> bytes:
    """The bytes behind base64, or behind a ``data:`` URL of base64.

    Raises:
        UnreadableImage: It is no base64.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableImage("it is not valid base64") from None


def from_numbers(rows: list[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """Pixels from JSON, as ``(H, W)`` or ``(H, W, 3)``: uint8, or float64 in [0, 1].

    Types are looked at before NumPy sees any value: it would read "7" as a number, and would
    make room for a long string in every place.

    Raises:
        DataError: They are ragged, of another shape or type, or outside.
    """
    values = _flatten(rows, "rows")
    shape = [len(rows), len(rows[0])]
    if values and type(values[0]) is list:
        values = _flatten(values, "pixels")
        shape.append(len(values) // math.prod(shape))
        if shape[-1] != 3:
            raise DataError(f"a pixel must be a number, or 3 of them, got {shape[-1]}")
    kinds = set(map(type, values))
    if not kinds <= {int, float}:
        raise DataError("pixels must be numbers, in H rows of W, or of W triples")
    if kinds == {int}:
        if min(values) < 0 or max(values) > 255:
            raise DataError("pixels that are whole numbers must lie between 0 and 255")
        return np.array(values, np.uint8).reshape(shape)
    if not all(0.0 <= value <= 1.0 for value in (min(values), max(values))) or not all(
        map(math.isfinite, values)
    ):
        raise DataError(
            "pixels with fractions must lie in [0, 1]; divide by 255, or send whole numbers"
        )
    return np.array(values, np.float64).reshape(shape)


def _flatten(lists: list[Any], what: str) -> list[Any]:
    """The elements of lists that are all of one length.

    Raises:
        DataError: They are not, or are empty.
    """
    if not lists or not all(type(one) is list for one in lists):
        raise DataError("pixels must be numbers, in H rows of W, or of W triples")
    lengths = set(map(len, lists))
    if len(lengths) > 1:
        raise DataError(f"all {what} must have one length, got {min(lengths)} and {max(lengths)}")
    if 0 in lengths:
        raise DataError(f"{what} must not be empty")
    return list(chain.from_iterable(lists))
