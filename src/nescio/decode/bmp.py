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

LONGER = (INFO, 52, ALPHA, 64, 108, 124)
"""All sizes of headers that are longer than the first, Windows' and OS/2's."""

MOST_COLOURS = 2**16
"""More in a palette are no number of colours; of more than samples tell apart the rest is passed
over."""

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
            UnreadableImage: It has no pixels, a palette that is cut off, or an alpha that Pillow
                would drop.
        """
        header = _Header.read(file)
        if header is None or header.compression != PLAIN or header.bits not in PACKED:
            return None
        if header.colours > MOST_COLOURS:
            return None
        if header.width <= 0 or not header.height:
            raise UnreadableImage("it has no pixels")
        most = 2**header.bits
        file.seek(header.end)
        entries = file.read(header.entry * min(header.colours or most, most))
        if len(entries) % header.entry:
            raise UnreadableImage("it is cut off: its palette is not whole")
        found = np.frombuffer(entries, np.uint8).reshape(-1, header.entry)[:, 2::-1]
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(found)] = found
        place = header.data
        if place in (0, header.end):  # some programs forget the palette
            place = header.end + header.entry * (header.colours or most)
        coloured = bool((colours != colours[:, :1]).any())
        facts = Facts(abs(header.height), header.width, colour=coloured)
        return cls(file, facts, header.bits, colours, place, header.height > 0)

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


@dataclass(frozen=True)
class _Header:
    """What the headers say.

    Attributes:
        data: The place of the scan lines.
        end: That of what stands behind the header: the palette.
        width: In pixels.
        height: Likewise; negative where the highest scan line comes first.
        bits: Of a pixel.
        compression: Its kind.
        colours: Of the palette; 0 for as many as there can be.
        entry: Bytes of each.
    """

    data: int
    end: int
    width: int
    height: int
    bits: int
    compression: int = PLAIN
    colours: int = 0
    entry: int = 3

    @classmethod
    def read(cls, file: BinaryIO) -> _Header | None:
        """Read them; ``None`` where they are of another form.

        Raises:
            UnreadableImage: They tell of an alpha that Pillow would drop.
        """
        file.seek(0)
        start = file.read(14 + ALPHA)
        if len(start) < 14 + CORE:
            return None
        data, size = struct.unpack_from("<II", start, 10)
        if size == CORE:
            width, height, _, bits = struct.unpack_from("<HHHH", start, 18)
            return cls(data, 14 + size, width, height, bits)
        if size not in LONGER or len(start) < 14 + INFO:
            return None
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", start, 18)
        (colours,) = struct.unpack_from("<I", start, 46)
        if compression == MASKED and bits == 16 and size >= ALPHA and any(start[66:70]):
            raise UnreadableImage("a BMP of 16 bits with alpha; save it as PNG")
        return cls(data, 14 + size, width, height, bits, compression, colours, 4)
