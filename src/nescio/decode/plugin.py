"""Formats that Pillow reads as they are: other BMP, GIF, WebP, AVIF, PNM of 8 bits."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import SEEK_CUR
from typing import BinaryIO

import numpy as np
from PIL import features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from nescio.decode.decoding import MAX_PIXELS
from nescio.decode.exif import orientation_of
from nescio.decode.raster import (
    Band,
    Facts,
    bands_of,
    check_pixels,
    has_colour,
    is_transparent,
)
from nescio.errors import UnreadableImage

HAS_AVIF = bool(features.check("avif"))
"""Whether this Pillow was built with it."""

READERS: dict[str, type[ImageFile]] = {
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
    "PPM": PpmImageFile,
}
if HAS_AVIF:
    from PIL.AvifImagePlugin import AvifImageFile

    READERS["AVIF"] = AvifImageFile


WEBP_WEIGHT = 8
"""Bytes of a pixel that the WebP decoder holds: it keeps two frames of four."""


@dataclass(frozen=True)
class Plugin:
    """A file that Pillow has opened.

    Attributes:
        image: Not decoded yet.
        facts: What its beginning tells.
        seen: The part of the canvas that its first frame covers: left, top, right, bottom.
    """

    image: ImageFile
    facts: Facts
    seen: tuple[int, int, int, int]

    @classmethod
    def open(cls, file: BinaryIO, kind: str, max_pixels: int) -> Plugin:
        """Read the header.

        Args:
            file: From which it is read.
            kind: Of :data:`READERS`.
            max_pixels: The WebP decoder makes room for all of them as soon as it is opened.

        Raises:
            UnreadableImage: It has no pixels, too many, or nothing says of which colours.
            MemoryError: There is no room for them.
        """
        image = _opened(file, kind, max_pixels)
        whole = 0, 0, image.width, image.height
        if not image.width or not image.height:
            raise UnreadableImage("it has no pixels")
        seen = image.tile[0][1] if kind == "GIF" and image.tile else None
        exif = image.info.get("exif")
        facts = Facts(
            image.height,
            image.width,
            colour=has_colour(image),
            transparent=(seen or whole) != whole or is_transparent(image),
            orientation=orientation_of(exif) if isinstance(exif, bytes) else 1,
        )
        return cls(image, facts, seen or whole)

    def bands(self) -> Iterator[Band]:
        """Decode it from top to bottom."""
        image = self.image
        image.load()
        # Many programs write BMP with an alpha that is zero everywhere and means nothing.
        opaque = (
            isinstance(image, BmpImageFile)
            and image.mode == "RGBA"
            and image.getchannel("A").getextrema()[1] == 0
        )
        top, (left, upper, right, lower) = 0, self.seen
        for band in bands_of(image, opaque=opaque):
            alpha = band.alpha
            if self.seen != (0, 0, image.width, image.height):
                # What the first frame of a GIF does not cover is not seen.
                inside = np.zeros(band.values.shape[:2], np.uint8)
                inside[max(0, upper - top) : max(0, lower - top), left:right] = 255
                alpha = inside if alpha is None else np.minimum(alpha, inside)
            top += len(band.values)
            yield replace(band, alpha=alpha)


def _opened(file: BinaryIO, kind: str, max_pixels: int) -> ImageFile:
    """By Pillow, where nothing tells against it: see :meth:`Plugin.open`."""
    room = 0
    if kind == "GIF":
        _check_gif(file, max_pixels)
    if kind == "WEBP":
        file.seek(0)
        pixels = _webp_pixels(file.read(30))
        check_pixels(pixels, max_pixels)
        room = WEBP_WEIGHT * pixels
    file.seek(0)
    try:
        image = READERS[kind](file)
    except Exception:
        np.empty(room, np.uint8)  # where there is none, this says so, and Pillow does not
        raise
    return image


def _check_gif(file: BinaryIO, max_pixels: int) -> None:
    """See that its first picture has colours, and makes its canvas not absurdly large.

    Pillow would take grey ones, and warn of more than it takes for honest. See GIF89a, sections 15
    to 24; what is damaged is left to Pillow.

    Raises:
        UnreadableImage: It has none, or makes it so.
    """
    file.seek(6)
    screen = file.read(7)
    if len(screen) < 7:
        return
    width, height, flags, _ = struct.unpack("<HHBH", screen)
    coloured = bool(flags & 0x80)
    file.seek(3 << (flags & 7) + 1 if coloured else 0, SEEK_CUR)
    while (mark := file.read(1)) not in (b"", b";"):
        if mark == b"!":
            file.seek(1, SEEK_CUR)
            while length := file.read(1).rjust(1, b"\0")[0]:
                file.seek(length, SEEK_CUR)
        elif mark == b"," and len(descriptor := file.read(9)) == 9:
            left, top, across, down, flags = struct.unpack("<HHHHB", descriptor)
            if not coloured and not flags & 0x80:
                raise UnreadableImage("a GIF without colours of its own; save it as PNG")
            if left + across > width or top + down > height:
                area = max(width, left + across) * max(height, top + down)
                check_pixels(area, min(max_pixels, MAX_PIXELS))
            return


def _webp_pixels(start: bytes) -> int:
    """By its first 30 bytes: RFC 9649, sections 2.5 to 2.7."""
    kind = start[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(start[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(start[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    return width * height
