"""The tags of a TIFF file: those of its first image. See TIFF 6.0, section 2, and BigTIFF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from nescio.errors import UnreadableImage

PREFIXES = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
"""How a file begins, and its byte order; the last two are BigTIFF."""

MOST_TAGS = 4096

MOST_VALUES = 2**21
"""Of one tag: the places of as many strips."""

_WHOLE = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Types of whole numbers."""


class Tag(IntEnum):
    """What pixels need."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_COUNTS = 279
    PLANAR = 284
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339


@dataclass(frozen=True)
class Tags:
    """Whole numbers by tag.

    Attributes:
        order: ``<`` or ``>``.
        values: Those of :class:`Tag` that the file has.
    """

    order: str
    values: Mapping[int, tuple[int, ...]]

    @classmethod
    def read(cls, file: BinaryIO) -> Tags:
        """Those of the first image.

        Raises:
            UnreadableImage: They are damaged.
        """
        try:
            return cls._read(file)
        except (struct.error, OverflowError, OSError, ValueError):
            raise UnreadableImage("its header is damaged") from None

    @classmethod
    def _read(cls, file: BinaryIO) -> Tags:
        file.seek(0)
        start = file.read(16)
        order, big = PREFIXES[start[:4]], start[2:3] == b"+" or start[3:4] == b"+"
        (place,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", start, 8 if big else 4)
        file.seek(place)
        counted, entry = (f"{order}Q", f"{order}HHQ") if big else (f"{order}H", f"{order}HHI")
        (count,) = struct.unpack(counted, file.read(struct.calcsize(counted)))
        inline = 8 if big else 4
        size = struct.calcsize(entry) + inline
        table = file.read(min(count, MOST_TAGS) * size)
        known, values = {tag.value for tag in Tag}, dict[int, tuple[int, ...]]()
        for offset in range(0, len(table) - size + 1, size):
            tag, kind, number = struct.unpack_from(entry, table, offset)
            if tag not in known or kind not in _WHOLE or tag in values or number > MOST_VALUES:
                continue
            form = f"{order}{number}{_WHOLE[kind]}"
            content = table[offset + size - inline : offset + size]
            if struct.calcsize(form) > inline:
                file.seek(struct.unpack(f"{order}Q" if big else f"{order}I", content)[0])
                content = file.read(struct.calcsize(form))
            values[tag] = struct.unpack_from(form, content)
        return cls(order, values)

    def all(self, tag: Tag, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """All numbers of a tag."""
        return self.values.get(tag) or default

    def one(self, tag: Tag, default: int | None = None) -> int:
        """The first number of a tag.

        Raises:
            UnreadableImage: It is missing, and there is no default.
        """
        found = self.values.get(tag)
        if found:
            return found[0]
        if default is None:
            raise UnreadableImage(f"its header lacks the tag {tag.name.lower()}")
        return default
