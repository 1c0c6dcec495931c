"""JPEG: what pixels need is taken out of the file; the rest can do no harm.

Segments are walked here, so that optional ones never decide whether pixels can be read, and the end
of the file is looked at: a missing mark of the end is mended where no pixel is missing. libjpeg,
behind Pillow, decodes, at a half, a quarter or an eighth of the size where that is enough. See
ITU-T T.81, annex B.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import SEEK_CUR
from typing import BinaryIO

from PIL import Image

from nescio.decode.exif import orientation_of
from nescio.decode.raster import Band, Facts, bands_of
from nescio.errors import UnreadableImage

SIGNATURE = b"\xff\xd8\xff"

START, END, SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA

FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
"""Baseline, extended, progressive; the last two the same in arithmetic coding."""

OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC8, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE)
"""Lossless and hierarchical ones."""

PROGRESSIVE = (0xC2, 0xCA)
"""In several scans, each finer than the last."""

ARITHMETIC = (0xC9, 0xCA)

PASSED = (0x00, 0x01, *range(0xD0, 0xD8), 0xFF)
"""What may follow 0xFF where no segment begins: data, markers that stand alone, filling."""

APP0, APP1, APP14, APP15, COMMENT = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE

MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}
"""Pillow's, by the number of components; inks are stored inverted, as Adobe does."""

MOST_JUNK = 2**16
"""Bytes between segments that are passed over."""

NEXT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
"""The next marker that ends the data of a scan."""

GREY = bytes((127, 128))
"""What libjpeg leaves where data end too early, in each channel; inks are inverted."""

CORNER = 8
"""Last pixels of an image: where they are grey, its data may have ended too early."""

NOISE = (b"\xaa" * 8 + b"\x55" * 8) * 4
"""It begins with a one: libjpeg fills with zeros, which may well end a block."""

JUNK = b"".join(NOISE + bytes([0xFF, restart]) for restart in range(0xD0, 0xD8))
"""What stands in for missing data, with marks of restarts, to see whether any is missing."""


@dataclass(frozen=True)
class Scan:
    """What the header of a scan says.

    Attributes:
        components: Which it has.
        first: The first coefficient.
        last: The last one.
        low: By how many bits coefficients are still too short.
    """

    components: tuple[int, ...]
    first: int
    last: int
    low: int

    @classmethod
    def of(cls, content: bytes) -> Scan:
        """Read it.

        Raises:
            UnreadableImage: It is damaged.
        """
        count = content[0] if content else 0
        if len(content) != 4 + 2 * count:
            raise UnreadableImage("the header of a scan is damaged")
        first, last, bits = content[-3:]
        return cls(tuple(content[1 : 1 + 2 * count : 2]), first, last, bits & 15)


@dataclass(frozen=True)
class Jpeg:
    """A JPEG file.

    Attributes:
        file: From which it is read.
        head: What stands before the data of the first scan, without what no pixel needs.
        data: The place of those.
        first: The header of the first scan.
        facts: What its beginning tells.
        components: Of each pixel.
        code: The marker of its frame, one of :data:`FRAMES`.
    """

    file: BinaryIO
    head: bytes
    data: int
    first: Scan
    facts: Facts
    components: tuple[int, ...]
    code: int

    @classmethod
    def open(cls, file: BinaryIO, least: tuple[int, int] | None = None) -> Jpeg:
        """Walk over the segments of a file, without those that no pixel needs.

        Args:
            file: From which it is read.
            least: ``(H, W)`` that must be left when it is reduced; ``None`` to reduce nothing.

        Raises:
            UnreadableImage: Something that pixels need is damaged or missing, or it is of a kind
                that is not read.
        """
        file.seek(len(START))
        kept, frame, orientation = [START], None, 1
        for code, content in _segments(file):
            if code in OTHER_FRAMES:
                raise UnreadableImage("a lossless or hierarchical JPEG; save it as PNG or JPEG")
            if code in FRAMES:
                frame = _Frame.of(code, content)
            elif code == APP1 and content.startswith(b"Exif\0\0") and orientation == 1:
                orientation = orientation_of(content)
            if _is_needed(code, content):
                kept += [struct.pack(">BBH", 0xFF, code, len(content) + 2), content]
            if code == SCAN:
                break
        else:
            raise UnreadableImage("it is cut off: there are no pixels in it")
        if frame is None:
            raise UnreadableImage("its header is damaged")
        return cls(
            file,
            b"".join(kept),
            file.tell(),
            Scan.of(content),
            frame.facts(orientation, least),
            frame.components,
            frame.code,
        )

    def bands(self) -> Iterator[Band]:
        """Decode it from top to bottom, reduced.

        Raises:
            UnreadableImage: Its data are damaged or missing.
        """
        self.file.seek(self.data)
        data = self.file.read()
        end, later = _scans(data)
        scans = self.first, *later
        # With its end marked an image may have fewer scans, if only each component has one.
        finest = self.code in PROGRESSIVE and end is None
        if not _are_all(scans, self.components, finest=finest):
            raise UnreadableImage("it is cut off: scans are missing")
        whole = b"".join((self.head, memoryview(data)[:end], END))  # megabytes, copied once
        del data
        image = self._decoded(whole)
        if end is None or (self.code not in ARITHMETIC and self._ends_grey(image)):
            self._check_whole(whole.removesuffix(END), image)
        yield from bands_of(image)

    def _decoded(self, content: bytes) -> Image.Image:
        """Grey, RGB or CMYK, reduced."""
        factor = self.facts.reduced
        size = -(-self.facts.width // factor), -(-self.facts.height // factor)
        mode, raw = MODES[len(self.components)]
        return Image.frombytes(mode, size, content, "jpeg", raw, "", factor, 0)

    def _ends_grey(self, image: Image.Image) -> bool:
        """Whether its last pixels are as libjpeg leaves them where data end too early."""
        right, bottom = image.size
        last = image.getpixel((right - 1, bottom - 1))
        if not {*(last if isinstance(last, tuple) else (last,))} <= {*GREY}:
            return False  # as most show at once
        left = max(0, right - CORNER // self.facts.reduced)
        return not image.crop((left, bottom - 1, right, bottom)).tobytes().strip(GREY)

    def _check_whole(self, whole: bytes, image: Image.Image) -> None:
        """See that an image is the same whatever stands behind its data.

        What stands in place of missing data changes pixels. (Not so in arithmetic coding, which may
        leave out zeros at the end.)

        Raises:
            UnreadableImage: Pixels are missing.
        """
        # Half a mark at its end would make one with what follows.
        if self._decoded(whole.rstrip(b"\xff") + JUNK + END).tobytes() != image.tobytes():
            raise UnreadableImage("it is cut off: scan lines are missing")


@dataclass(frozen=True)
class _Frame:
    """What the header of the frame says."""

    code: int
    height: int
    width: int
    components: tuple[int, ...]
    samples: float

    @classmethod
    def of(cls, code: int, content: bytes) -> _Frame:
        if len(content) < 6 or len(content) != 6 + 3 * content[5]:
            raise UnreadableImage("its header is damaged")
        bits, height, width, count = struct.unpack_from(">BHHB", content)
        if bits != 8:
            raise UnreadableImage(
                f"a JPEG of {bits} bits; save it as PNG of 16 bits, or as JPEG of 8"
            )
        if not height or not width:
            raise UnreadableImage("it has no pixels")
        if count not in (1, 3, 4):
            raise UnreadableImage(f"a JPEG of {count} components; save it as PNG or JPEG")
        factors = [(byte >> 4) * (byte & 15) for byte in content[7::3]]
        if not all(factors):
            raise UnreadableImage("its header is damaged")
        samples = sum(factors) / max(factors)
        return cls(code, height, width, tuple(content[6::3]), samples)

    def facts(self, orientation: int, least: tuple[int, int] | None) -> Facts:
        # A progressive image is held as coefficients of two bytes until its last scan has come.
        weight = 4 + (math.ceil(2 * self.samples) if self.code in PROGRESSIVE else 0)
        colour = len(self.components) > 1
        whole = Facts(
            self.height, self.width, colour=colour, orientation=orientation, weight=weight
        )
        factor = whole.factor(least)
        return whole if factor == 1 else replace(whole, reduced=factor)


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment; ends where the file does."""
    junk = 0
    while len(start := file.read(4)) == 4:
        mark, code, length = struct.unpack(">BBH", start)
        if mark != 0xFF or code in PASSED:
            file.seek(-3, SEEK_CUR)
            junk += 1
            if junk > MOST_JUNK:
                return
            continue
        if code == END[1] or length < 2:
            return
        content = file.read(length - 2)
        if len(content) < length - 2:
            return
        yield code, content


def _is_needed(code: int, content: bytes) -> bool:
    """Whether pixels need a segment; of the optional ones two tell how colour is coded."""
    if code == APP0:
        return content.startswith(b"JFIF\0") and len(content) >= 14
    if code == APP14:
        return content.startswith(b"Adobe") and len(content) >= 12
    return not APP0 <= code <= APP15 and code != COMMENT


def _scans(data: bytes) -> tuple[int | None, tuple[Scan, ...]]:
    """The place of the mark of the end, and the scans after the first."""
    place, scans = 0, list[Scan]()
    while found := NEXT.search(data, place):
        code = data[found.start() + 1]
        if code == END[1]:
            return found.start(), tuple(scans)
        start = found.end() + 2
        (length,) = struct.unpack(">H", data[found.end() : start].rjust(2, b"\0"))
        place = found.end() + max(2, length)
        if place > len(data):
            break
        if code == SCAN:
            scans.append(Scan.of(data[start:place]))
    return None, tuple(scans)


def _are_all(scans: tuple[Scan, ...], components: tuple[int, ...], *, finest: bool) -> bool:
    """Whether scans give something of all components.

    Args:
        scans: Their headers.
        components: Of the image.
        finest: Whether they must give all coefficients to the last bit.
    """
    if not finest:
        begun = {each for scan in scans if scan.first == 0 for each in scan.components}
        return begun >= set(components)
    missing = {component: set(range(64)) for component in components}
    for scan in scans:
        for component in scan.components:
            if scan.low == 0 and component in missing:
                missing[component] -= set(range(scan.first, scan.last + 1))
    return not any(missing.values())
