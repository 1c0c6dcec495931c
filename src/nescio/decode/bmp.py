"""BMP with a palette: Pillow misreads samples of 4 or 8 bits where all colours are grey.

Pillow undoes the packing, and reads the other kinds. See Microsoft's BITMAPINFOHEADER and
BITMAPV4HEADER.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from nescio.decode.raster import Band, Facts, Pixels, rows_of
from nescio.errors import UnreadableImage

CORE, INFO, ALPHA = 12, 40, 56
"""Bytes of headers: of OS/2, of Windows, and from which on there is a mask of alpha."""

PACKED = {1: "P;1", 4: "P;4", 8: "P"}
"""How Pillow calls samples of so many bits."""

PLAIN, MASKED = 0, 3
"""Kinds of compression: none; none, and masks tell where colours are."""


@dataclass(frozen=True)
class Bmp:
    """A BMP file with a palette, not compressed.

    Attributes:
        file: From which it is read.
        facts: What its header tells.
        bits: Of a sample.
        colours: Red, green and blue of each index, ``(256, 3)``; those that are missing are black.
        data: The place of the scan lines.
        upwards: Whether the lowest comes first.
    """

    file: BinaryIO
    facts: Facts
    bits: int
    colours: Pixels
    data: int
    upwards: bool

    @classmethod
    def open(cls, file: BinaryIO) -> Bmp | None:
        """Read the header; ``None`` where Pillow reads it rightly, or tells what is wrong with it.

        Raises:
            UnreadableImage: It has no pixels, or an alpha that Pillow would drop.
        """
        file.seek(0)
        start = file.read(14 + ALPHA)
        if len(start) < 14 + CORE:
            return None
        place, size = struct.unpack_from("<II", start, 10)
        if size == CORE:
            (width, height, _, bits), compression, used, step = (
                struct.unpack_from("<HHHH", start, 18), PLAIN, 0, 3
            )  # fmt: skip
        elif size >= INFO and len(start) >= 14 + INFO:
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", start, 18)
            (used,), step = struct.unpack_from("<I", start, 46), 4
        else:
            return None
        if compression == MASKED and bits == 16 and size >= ALPHA and any(start[66:70]):
            raise UnreadableImage("a BMP of 16 bits with alpha; save it as PNG")
        if compression != PLAIN or bits not in PACKED:
            return None
        if width <= 0 or not height:
            raise UnreadableImage("it has no pixels")
        colours = np.zeros((256, 3), np.uint8)
        file.seek(14 + size)
        entries = file.read(step * min(used or 2**bits, 2**bits))
        found = np.frombuffer(entries[: len(entries) // step * step], np.uint8).reshape(-1, step)
        colours[: len(found)] = found[:, 2::-1]
        if place in (0, 14 + size):  # as some programs write it who forget the palette
            place = 14 + size + step * (used or 2**bits)
        facts = Facts(abs(height), width, colour=bool((colours != colours[:, :1]).any()))
        return cls(file, facts, bits, colours, place, height > 0)

    def bands(self) -> Iterator[Band]:
        """Decode it from top to bottom.

        Raises:
            UnreadableImage: Scan lines are missing.
        """
        height, width = self.facts.height, self.facts.width
        line = (width * self.bits + 31) // 32 * 4
        rows = rows_of(width)
        for top in range(0, height, rows):
            count = min(rows, height - top)
            first = height - top - count if self.upwards else top
            self.file.seek(self.data + first * line)
            content = self.file.read(count * line)
            # What fills the last scan line up may be missing.
            if len(content) < (count - 1) * line + (width * self.bits + 7) // 8:
                raise UnreadableImage("it is cut off: scan lines are missing")
            content = content.ljust(count * line, b"\0")
            way = -1 if self.upwards else 1
            args = PACKED[self.bits], line, way
            places = np.asarray(Image.frombytes("P", (width, count), content, "raw", *args))
            shown = self.colours if self.facts.colour else self.colours[:, 0]
            yield Band(shown[places])
