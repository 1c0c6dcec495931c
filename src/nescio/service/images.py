"""Images as clients send them: files, base64, or numbers. All of it is hostile until read."""

from __future__ import annotations

import binascii
import math
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain
from typing import Any
from urllib.parse import unquote

import numpy as np
from torch import Tensor

from nescio.data import Preprocessing, adapt, as_images
from nescio.data.decoder import decode_opened
from nescio.decode import FORMATS, MOST_PIXELS, Decoding, look_at_image, open_image
from nescio.decode.foreign import PREFIX, kind_of
from nescio.errors import DataError, UnreadableImage, UsageError
from nescio.service.limits import Limits
from nescio.service.problems import Problem

DEFAULT_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What is decoded unless told otherwise: what cameras, browsers and programs make."""

ANY_SIZE = Decoding(max_pixels=MOST_PIXELS)
"""How large an image may be, :class:`Limits` say alone."""

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

_OF_URLS = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class Given:
    """One image as it came.

    Attributes:
        name: What the client calls it.
        content: A file's bytes, base64 of such, or rows of numbers.
    """

    name: str
    content: bytes | str | list[Any]


@dataclass(frozen=True)
class Found:
    """One image, taken out of what it came in.

    Attributes:
        content: A file's bytes, or pixels ``(H, W)`` or ``(H, W, 3)``, or why there is neither.
        area: How many pixels it has.
    """

    content: bytes | np.ndarray[Any, np.dtype[Any]] | str
    area: int


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


def look_at(
    given: Sequence[Given], limits: Limits, formats: tuple[str, ...] = DEFAULT_FORMATS
) -> list[Found]:
    """Take images out of what they came in, and see how large they are; none is decoded yet.

    Args:
        given: The images.
        limits: On their pixels.
        formats: That files may have.

    Raises:
        Problem: There are too many pixels (413).
    """
    found = [_look(one, formats) for one in given]
    for one in found:
        if one.area > limits.pixels:
            raise Problem(
                413,
                f"an image has {one.area:,} pixels, {limits.pixels:,} are taken; make it smaller",
            )
    area = sum(one.area for one in found)
    if area > limits.request_pixels:
        raise Problem(
            413,
            f"the images have {area:,} pixels together, {limits.request_pixels:,} are taken; "
            "send fewer at once, or smaller ones",
        )
    return found


def read_found(
    found: Sequence[Found],
    preprocessing: Preprocessing,
    formats: tuple[str, ...] = DEFAULT_FORMATS,
    deadline: float = math.inf,
) -> list[Tensor | str]:
    """Decode images, and bring them to what the model takes.

    Args:
        found: The images.
        preprocessing: Of the model.
        formats: That files may have.
        deadline: By :func:`time.monotonic`; no image is begun after it.

    Returns:
        For each image ``(1, K, H, W)`` uint8, or why it cannot be read.

    Raises:
        Problem: It takes too long (504).
    """
    read: list[Tensor | str] = []
    for one in found:
        if time.monotonic() > deadline:
            raise Problem(504, "reading the images took too long; send fewer or smaller ones")
        try:
            read.append(_read(one.content, preprocessing, formats))
        except UnreadableImage as error:
            read.append(str(error))
    return read


def _look(one: Given, formats: tuple[str, ...]) -> Found:
    content = one.content
    try:
        if isinstance(content, list):
            pixels = from_numbers(content)
            return Found(pixels, pixels.shape[0] * pixels.shape[1])
        if isinstance(content, str):
            content = from_base64(content)
        if not content:
            raise UnreadableImage("the file is empty")
        with _explained(content, formats):
            seen = look_at_image(BytesIO(content), formats=formats, decoding=ANY_SIZE)
    except DataError as error:
        return Found(str(error), 0)
    return Found(content, seen.height * seen.width)


def _read(
    content: bytes | np.ndarray[Any, np.dtype[Any]] | str,
    preprocessing: Preprocessing,
    formats: tuple[str, ...],
) -> Tensor | str:
    """As ``predict`` reads the same file; of a large one little more is held than the model needs.

    Raises:
        UnreadableImage: It cannot be decoded.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, bytes):
        return adapt(as_images(content[None]), preprocessing)
    decoding = replace(preprocessing.decoding, max_pixels=MOST_PIXELS)  # its size was looked at
    with (
        _explained(content, formats),
        open_image(BytesIO(content), formats=formats, decoding=decoding) as opened,
    ):
        return decode_opened(opened, "", preprocessing).image[None]


@contextmanager
def _explained(content: bytes, formats: tuple[str, ...]) -> Iterator[None]:
    """Why a file is not read, without what the decoder says: it may tell of the inside."""
    try:
        yield
    except UnreadableImage:
        kind = kind_of(content[:PREFIX])
        damaged = ", or damaged" if kind.picture else ""
        raise UnreadableImage(
            f"{kind.what}, not an image that can be read{damaged}; read are {', '.join(formats)}"
        ) from None


def from_base64(text: str) -> bytes:
    """The bytes behind base64, or behind a ``data:`` URL of base64.

    Lines may be wrapped, padding may be left out, and the alphabet may be that of URLs.

    Raises:
        UnreadableImage: It is no base64.
    """
    text = text.lstrip()
    if text[:5].lower() == "data:":
        kind, comma, text = text.partition(",")
        if not comma or not kind.rstrip().lower().endswith(";base64"):
            raise UnreadableImage("a data: URL must hold base64, as data:image/png;base64,...")
        text = unquote(text)
    text = "".join(text.split()).translate(_OF_URLS)
    try:
        return b64decode(text + "=" * (-len(text) % 4 if "=" not in text else 0), validate=True)
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
