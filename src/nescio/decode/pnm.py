"""PNM of more than 8 bits: a header in ASCII, then samples; Pillow gives 8 bits of its colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO

import numpy as np

from nescio.decode.raster import Band, Facts, Samples, in_bands
from nescio.errors import UnreadableImage

CHANNELS = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3}
"""By what a file begins with; the first two are written in digits."""

DIGITS = (b"P2", b"P3")

LONGEST = 2**12
"""Bytes of the header, comments among them, in which to look for three numbers."""


@dataclass(frozen=True)
class Pnm:
    """A PGM or PPM file whose white is above 255.

    Attributes:
        file: From which it is read.
        kind: What it begins with.
        facts: What its header tells.
        white: The largest value.
        data: The place of the samples.
    """

    file: BinaryIO
    kind: bytes
    facts: Facts
    white: int
    data: int

    @classmethod
    def open(cls, file: BinaryIO) -> Pnm | None:
        """Read the header; ``None`` where it is of 8 bits, or none.

        Raises:
            UnreadableImage: It has no pixels, or does not say where they begin.
        """
        file.seek(0)
        kind = file.read(2)
        if kind not in CHANNELS:
            return None
        numbers = _numbers(file)
        if numbers is None or not 0 < numbers[2] < 65536:
            return None
        width, height, white = numbers
        if not width or not height:
            raise UnreadableImage("it has no pixels")
        channels = CHANNELS[kind]
        if kind not in DIGITS:
            _check_begin(file, width * height * channels * (2 if white > 255 else 1))
        if white < 256:
            return None
        facts = Facts(height, width, colour=channels > 1, deep=True, weight=2 * channels)
        return cls(file, kind, facts, white, file.tell())

    def bands(self) -> Iterator[Band]:
        """Decode it from top to bottom.

        Raises:
            UnreadableImage: Samples are missing, or above white.
        """
        shape = self.facts.height, self.facts.width, CHANNELS[self.kind]
        self.file.seek(self.data)
        samples = self._samples(int(np.prod(shape, dtype=np.int64)))
        if samples.size and samples.max() > self.white:
            raise UnreadableImage("some of its pixels are brighter than its white")
        values = samples.reshape(shape)
        full = 0.0, float(self.white)
        yield from in_bands(values[..., 0] if shape[2] == 1 else values, None, full)

    def _samples(self, count: int) -> Samples:
        if self.kind in DIGITS:
            words = self.file.read(8 * count + LONGEST).split(None, count)[:count]
            if not all(word.isdigit() and len(word) < 10 for word in words):
                raise UnreadableImage("its pixels are damaged")
            samples: Samples = np.array([*map(int, words)], np.int64)
        else:
            content = self.file.read(2 * count)
            samples = np.frombuffer(content[: len(content) // 2 * 2], ">u2").astype(np.uint16)
        if len(samples) < count:
            raise UnreadableImage("it is cut off: scan lines are missing")
        return samples


def _check_begin(file: BinaryIO, count: int) -> None:
    """See that so many bytes begin where the file stands, behind the one blank that ends a header.

    Raises:
        UnreadableImage: A program that ends lines in two characters may have written one more.
    """
    place = file.tell()
    file.seek(place - 1)
    two = file.read(2) == b"\r\n"
    if two and file.seek(0, SEEK_END) - place > count:
        raise UnreadableImage(
            "its header ends in CR LF, so that nothing says where its pixels begin; save it as PNG"
        )
    file.seek(place)


def _numbers(file: BinaryIO) -> tuple[int, int, int] | None:
    """Width, height and white; the file stands behind the one blank that ends them."""
    found, word, comment = list[int](), b"", False
    for _ in range(LONGEST):
        byte = file.read(1)
        if not byte:
            return None
        if comment or byte == b"#":
            comment = byte not in b"\r\n"
        elif not byte.isspace():
            word += byte
        if byte.isspace() and word:
            if not word.isdigit() or len(word) > 10:
                return None
            found, word = [*found, int(word)], b""
            if len(found) == 3:
                return found[0], found[1], found[2]
    return None
