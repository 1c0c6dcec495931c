"""PNG: what pixels need is taken out of the file; the rest can do no harm.

Scan lines come band by band from :mod:`nescio.decode.png_chunks`, so that memory is bounded. Pillow
undoes their filters. See the PNG specification, third edition (W3C, 2025).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
from PIL import Image

from nescio.decode.exif import orientation_of
from nescio.decode.png_chunks import Inflated, chunks, content_of, optional
from nescio.decode.raster import Band, Facts, Pixels, Samples, rows_of
from nescio.errors import UnreadableImage

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types."""

CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}

DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGBA: (8, 16),
}
"""Bits of a sample for each colour type: table 11.1."""

PASSES = (
    (0, 8, 0, 8),
    (0, 8, 4, 8),
    (4, 8, 0, 4),
    (0, 4, 2, 4),
    (2, 4, 0, 2),
    (0, 2, 1, 2),
    (1, 2, 0, 1),
)
"""First row, step, first column, step of each pass of Adam7: section 8.1."""


@dataclass(frozen=True)
class Header:
    """What ``IHDR`` says."""

    width: int
    height: int
    bits: int
    kind: int
    interlaced: bool

    @classmethod
    def of(cls, content: bytes) -> Header:
        """Read it.

        Raises:
            UnreadableImage: It is not valid.
        """
        if len(content) != 13:
            raise UnreadableImage("its header is damaged")
        width, height, bits, kind, *methods = struct.unpack(">IIBBBBB", content)
        if bits not in DEPTHS.get(kind, ()) or methods[:2] != [0, 0] or methods[2] > 1:
            raise UnreadableImage("its header is damaged")
        if not 0 < width < 2**31 or not 0 < height < 2**31:
            raise UnreadableImage("it has no pixels")
        return cls(width, height, bits, kind, bool(methods[2]))

    def line(self, width: int) -> int:
        """The bytes of a scan line of so many pixels, its filter among them."""
        return 1 + (width * self.bits * CHANNELS[self.kind] + 7) // 8


@dataclass(frozen=True)
class Png:
    """A PNG file.

    Attributes:
        file: From which it is read.
        header: Of it.
        palette: Red, green and blue of each entry.
        transparency: The content of ``tRNS``; empty where there is none.
        orientation: By ``eXIf``.
        data: Place and length of each piece of compressed scan lines.
    """

    file: BinaryIO
    header: Header
    palette: bytes
    transparency: bytes
    orientation: int
    data: tuple[tuple[int, int], ...]

    @cached_property
    def facts(self) -> Facts:
        """What its beginning tells."""
        head = self.header
        channels = 3 if head.kind == PALETTE else CHANNELS[head.kind]
        return Facts(
            head.height,
            head.width,
            colour=head.kind in (RGB, PALETTE, RGBA),
            deep=head.bits == 16,
            transparent=head.kind in (GREY_ALPHA, RGBA) or bool(self.transparency),
            orientation=self.orientation,
            weight=(8 if head.bits == 16 else 4) if channels > 1 else 4,
        )

    @classmethod
    def open(cls, file: BinaryIO) -> Png:
        """Walk over the chunks of a file, without those that no pixel needs.

        Raises:
            UnreadableImage: Something that pixels need is damaged or missing.
        """
        header, orientation = None, 1
        found, data = {b"PLTE": b"", b"tRNS": b""}, list[tuple[int, int]]()
        for kind, place, length in chunks(file):
            if kind == b"IHDR" and header is None:
                header = Header.of(content_of(file, kind, length))
            elif header is None:
                break
            elif kind == b"IDAT":
                data.append((place, length))
            elif kind == b"eXIf":
                orientation = orientation_of(optional(file, kind, length))
            elif kind in found:
                read = content_of if kind == b"PLTE" else optional
                found[kind] = read(file, kind, length)
        if header is None:
            raise UnreadableImage("its header is damaged")
        if not data:
            raise UnreadableImage("there are no pixels in it")
        palette = found[b"PLTE"]
        if header.kind == PALETTE and (not palette or len(palette) % 3 or len(palette) > 768):
            raise UnreadableImage("its palette is damaged")
        return cls(file, header, palette, found[b"tRNS"][:256], orientation, tuple(data))

    def bands(self) -> Iterator[Band]:
        """Decode it from top to bottom.

        Raises:
            UnreadableImage: Scan lines are damaged or missing.
        """
        lines = Inflated(self.file, self.data)
        for samples in self._woven(lines) if self.header.interlaced else self._in_turn(lines):
            yield self._band(samples)

    def _in_turn(self, lines: Inflated) -> Iterator[Samples]:
        """The samples ``(h, W, C)`` of each band."""
        head, above = self.header, b""
        rows = rows_of(head.width)
        for top in range(0, head.height, rows):
            scanned = lines.read(min(rows, head.height - top) * head.line(head.width))
            # The filters of its first line look at the line above, which has none any more.
            raw = self._unfiltered(b"\0" * bool(above) + above + scanned, head.width)
            above = raw[-1].tobytes()
            yield self._unpacked(raw[1:] if top else raw, head.width)

    def _woven(self, lines: Inflated) -> Iterator[Samples]:
        """Likewise, of an image that is put together from seven passes."""
        head = self.header
        depth = np.uint16 if head.bits == 16 else np.uint8
        whole = np.empty((head.height, head.width, CHANNELS[head.kind]), depth)
        for top, down, left, right in PASSES:
            part = whole[top::down, left::right]
            if part.size:
                scanned = lines.read(len(part) * head.line(part.shape[1]))
                part[...] = self._unpacked(self._unfiltered(scanned, part.shape[1]), part.shape[1])
        rows = rows_of(head.width)
        yield from (whole[top : top + rows] for top in range(0, head.height, rows))

    def _unfiltered(self, scanned: bytes, width: int) -> Pixels:
        """Bytes ``(h, B)`` of scan lines without filters; Pillow undoes them."""
        length = self.header.line(width)
        step = max(1, self.header.bits * CHANNELS[self.header.kind] // 8)
        size = (length - 1) // step, len(scanned) // length
        stored = zlib.compress(scanned, 0)
        parts = [
            np.asarray(Image.frombytes(mode, size, stored, "zip", raw)) for mode, raw in RAW[step]
        ]
        # High and low bytes come apart, since Pillow gives 8 bits of 16.
        joined = parts[0] if len(parts) == 1 else np.stack(parts, -1)
        return joined.reshape(size[1], length - 1)

    def _unpacked(self, raw: Pixels, width: int) -> Samples:
        """The samples ``(h, W, C)``: indices of a palette, or uint8, or uint16."""
        bits, channels = self.header.bits, CHANNELS[self.header.kind]
        if bits == 16:
            return raw.view(">u2").astype(np.uint16).reshape(len(raw), width, channels)
        if bits == 8:
            return raw.reshape(len(raw), width, channels)
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        samples = (raw[..., None] >> shifts) & np.uint8(2**bits - 1)
        return samples.reshape(len(raw), -1)[:, :width, None]

    def _band(self, samples: Samples) -> Band:
        head = self.header
        full = (0.0, 65535.0) if head.bits == 16 else None
        if head.kind == PALETTE:
            colours, alpha = self._entries()
            places = samples[..., 0]
            return Band(colours[places], alpha[places] if self.transparency else None)
        if head.kind in (GREY_ALPHA, RGBA):
            own: Samples = samples[..., -1]
            if head.bits == 16:
                own = (own.astype(np.uint32) + 128) // 257
            return Band(_squeezed(samples[..., :-1]), own.astype(np.uint8), full)
        mask = self._mask(samples) if self.transparency else None
        if head.bits < 8:
            samples = samples * np.uint8(255 // (2**head.bits - 1))
        return Band(_squeezed(samples), mask, full)

    def _entries(self) -> tuple[Pixels, Pixels]:
        """Colour ``(256, 3)`` and alpha ``(256,)`` of each entry; missing ones are black."""
        colours, alpha = np.zeros((256, 3), np.uint8), np.full(256, 255, np.uint8)
        entries = np.frombuffer(self.palette, np.uint8).reshape(-1, 3)
        colours[: len(entries)] = entries
        alpha[: len(self.transparency)] = np.frombuffer(self.transparency, np.uint8)
        return colours, alpha

    def _mask(self, samples: Samples) -> Pixels | None:
        """The alpha of samples, of which one value or colour is transparent."""
        channels = samples.shape[-1]
        if len(self.transparency) != 2 * channels:
            return None
        most = 2**self.header.bits - 1
        clear = [value & most for value in struct.unpack(f">{channels}H", self.transparency)]
        seen = (samples != np.array(clear, samples.dtype)).any(-1)
        return np.where(seen, 255, 0).astype(np.uint8)


RAW = {
    1: (("L", "L"),),
    2: (("LA", "LA"),),
    3: (("RGB", "RGB"),),
    4: (("RGBA", "RGBA"),),
    6: (("RGB", "RGB;16B"), ("RGB", "RGB;16L")),
    8: (("RGBA", "RGBA;16B"), ("RGBA", "RGBA;16L")),
}
"""The modes of Pillow that give the bytes of a pixel as they are, by their number."""


def _squeezed(samples: Samples) -> Samples:
    """Grey as ``(h, W)``."""
    return samples[..., 0] if samples.shape[-1] == 1 else samples
