"""What a PNG consists of: chunks, of which some hold compressed scan lines.

Chunks are walked here, so that optional ones never decide whether pixels can be read, and scan
lines are inflated here, as they are asked for, so that missing ones are noticed and memory is
bounded. See the PNG specification, third edition (W3C, 2025), sections 5 and 10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from nescio.errors import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST_CHUNKS = 2**17
"""More are no image but an attempt to keep the reader busy."""

MOST_NEEDED = 2**16
"""Bytes of a header or a palette; both are far smaller."""

MOST_OPTIONAL = 2**20
"""Bytes of EXIF or transparency."""

BLOCK = 2**18
"""Compressed bytes that are read at a time."""


class Inflated:
    """The scan lines, inflated as they are asked for."""

    def __init__(self, file: BinaryIO, data: tuple[tuple[int, int], ...]) -> None:
        self._pieces = _compressed(file, data)
        self._inflate, self._left = zlib.decompressobj(), b""

    def read(self, count: int) -> bytes:
        """So many bytes.

        Raises:
            UnreadableImage: There are fewer, or they are damaged.
        """
        found, missing = list[bytes](), count
        while missing:
            if not self._left:
                self._left = next(self._pieces, b"")
                if not self._left or self._inflate.eof:
                    raise UnreadableImage("it is cut off: scan lines are missing")
            try:
                found.append(self._inflate.decompress(self._left, missing))
            except zlib.error:
                raise UnreadableImage("its pixels are damaged") from None
            self._left = self._inflate.unconsumed_tail
            missing -= len(found[-1])
        return b"".join(found)


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and length of each chunk before the last; the file stands at its content."""
    place = len(SIGNATURE)
    for _ in range(MOST_CHUNKS):
        file.seek(place)
        framed = file.read(8)
        if len(framed) < 8:
            return
        length, kind = struct.unpack(">I4s", framed)
        if kind == b"IEND":
            return
        yield kind, place + 8, length
        place += length + 12


def _compressed(file: BinaryIO, data: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    """The compressed scan lines, piece by piece, once checked."""
    for place, length in data:
        file.seek(place)
        check, left = zlib.crc32(b"IDAT"), length
        while left:
            piece = file.read(min(BLOCK, left))
            if not piece:
                return
            check, left = zlib.crc32(piece, check), left - len(piece)
            if not left and file.read(4) not in (b"", struct.pack(">I", check)):
                raise UnreadableImage("its pixels are damaged: a checksum is wrong")
            yield piece


def content_of(file: BinaryIO, kind: bytes, length: int) -> bytes:
    """The content of a chunk that pixels need.

    Raises:
        UnreadableImage: It is damaged.
    """
    content = file.read(length) if length <= MOST_NEEDED else b""
    if len(content) < length or file.read(4) != struct.pack(">I", zlib.crc32(kind + content)):
        raise UnreadableImage("its header or palette is damaged: a checksum is wrong")
    return content


def optional(file: BinaryIO, kind: bytes, length: int) -> bytes:
    """The content of a chunk; nothing where it is damaged, or larger than there is use for."""
    content = file.read(length) if length <= MOST_OPTIONAL else b""
    return content if file.read(4) == struct.pack(">I", zlib.crc32(kind + content)) else b""
