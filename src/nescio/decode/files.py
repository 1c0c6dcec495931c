"""Decode one image file: whatever it holds, as grey or colour of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nescio.decode.bmp import Bmp
from nescio.decode.decoding import DEFAULT, Decoding
from nescio.decode.foreign import PREFIX, kind_of
from nescio.decode.jpeg import SIGNATURE as JPEG_SIGNATURE
from nescio.decode.jpeg import Jpeg
from nescio.decode.plugin import HAS_AVIF, Plugin
from nescio.decode.png import Png
from nescio.decode.png_chunks import SIGNATURE as PNG_SIGNATURE
from nescio.decode.pnm import Pnm
from nescio.decode.raster import Opened, Pixels, check_pixels
from nescio.decode.shown import bytes_of, finish, to_channels
from nescio.decode.tags import PREFIXES as TIFF_PREFIXES
from nescio.decode.tiff import Tiff
from nescio.errors import OutOfMemoryError, UnreadableImage, says_no_memory

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", *(("AVIF",) if HAS_AVIF else ()))
"""What is decoded; AVIF where Pillow was built with it. Its first bytes decide what a file is."""

SMALL = 2**18
"""Bytes; shorter files are read at once."""

OURS: dict[str, type[Bmp | Pnm]] = {"BMP": Bmp, "PPM": Pnm}
"""What reads the files of a format that Pillow would not read, or not rightly."""

PNM = tuple(b"P%d" % kind for kind in range(1, 7))


@dataclass(frozen=True)
class Look:
    """What the beginning of a file tells; nothing is decoded for it.

    Attributes:
        height: As it will be shown, in pixels.
        width: Likewise.
        colour: Whether it may have colour.
        deep: Whether its samples have more than 8 bits, or may be negative or floats.
        transparent: Whether parts of it may be transparent.
    """

    height: int
    width: int
    colour: bool
    deep: bool
    transparent: bool


def decode_image(
    source: Path | BinaryIO,
    name: str = "",
    formats: tuple[str, ...] = FORMATS,
    decoding: Decoding = DEFAULT,
) -> Pixels:
    """Decode one file: ``(H, W)`` when grey, ``(H, W, 3)`` when coloured; uint8.

    The EXIF orientation is applied, and of an animation the first frame counts. Palettes, CMYK,
    LAB and other colour spaces become RGB; what has no colour in it is grey, however it was stored.
    What could be read in two ways is refused.

    Args:
        source: The file, or its content.
        name: What to call it in errors; the path itself when empty.
        formats: Which of :data:`FORMATS` it may have.
        decoding: What becomes of deep images, of transparent parts and of large images.

    Raises:
        UnreadableImage: It cannot be decoded, is empty, or is absurdly large.
        OutOfMemoryError: The memory does not hold it.
    """
    with open_image(source, name, formats, decoding) as opened:
        return finish(opened, decoding).pixels


def read_image(
    source: str | Path | BinaryIO, decoding: Decoding = DEFAULT, channels: int = 3
) -> Pixels:
    """Read one file as a model takes it, but for its size: ``(H, W, K)`` uint8.

    A model's ``Decoding`` and ``K`` stand in the metadata of an exported ONNX file. With them this
    gives the very pixels that ``nescio predict`` sees; the graph brings them to the model's size.

    Args:
        source: The file, or its content.
        decoding: Of the model.
        channels: 1 for grey, 3 for RGB.

    Raises:
        UnreadableImage: It cannot be decoded, is empty, or is absurdly large.
        OutOfMemoryError: The memory does not hold it.
    """
    path = Path(source) if isinstance(source, str) else source
    # A copy, since others are not to be written to, of which PyTorch would warn.
    return np.array(to_channels(decode_image(path, decoding=decoding), channels))


def look_at_image(
    source: Path | BinaryIO,
    name: str = "",
    formats: tuple[str, ...] = FORMATS,
    decoding: Decoding = DEFAULT,
) -> Look:
    """What kind of image :func:`decode_image` will give.

    Headers alone are read, and nothing is decoded.

    Raises:
        UnreadableImage: It is no image, or absurdly large.
    """
    with open_image(source, name, formats, decoding) as opened:
        facts = opened.facts
        height, width = facts.shown
        return Look(height, width, facts.colour, facts.deep, facts.transparent)


@contextmanager
def open_image(
    source: Path | BinaryIO,
    name: str = "",
    formats: tuple[str, ...] = FORMATS,
    decoding: Decoding = DEFAULT,
) -> Iterator[Opened]:
    """A file whose headers have been read; what fails within is told in one line.

    Args:
        source: The file, or its content.
        name: What to call it in errors; the path itself when empty.
        formats: Which of :data:`FORMATS` it may have.
        decoding: How large it may be, and to what it may be reduced while it is decoded.

    Raises:
        UnreadableImage: It is no image, or absurdly large, or fails while it is decoded.
        OutOfMemoryError: The memory does not hold it.
    """
    name, facts = name or str(source), None
    try:
        with _file(source) as file:
            opened = _open(file, formats, decoding)
            check_pixels(opened.facts.area, decoding.max_pixels, opened.facts.counted)
            facts = opened.facts
            yield opened
    except FileNotFoundError:
        raise UnreadableImage(f"{name}: no such file") from None
    except Exception as error:
        # One that was refused memory may say that pixels are broken.
        if says_no_memory(error) or not _has_room(bytes_of(facts, decoding) if facts else 0):
            raise OutOfMemoryError(
                f"{name}: the memory does not hold it while it is decoded; free some, or make it "
                "smaller"
            ) from error
        if isinstance(error, UnreadableImage):
            raise UnreadableImage(f"{name}: {error}") from None
        # Decoders fail on hostile files in many ways; each means the same to the user.
        why = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"{name}: not a readable image ({why})") from error


@contextmanager
def _file(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as raw:
            start = raw.read(SMALL)
            if len(start) < SMALL:
                yield BytesIO(start)
            else:
                raw.seek(0)
                yield BufferedReader(raw)
    else:
        yield source


def _open(file: BinaryIO, formats: tuple[str, ...], decoding: Decoding) -> Opened:
    file.seek(0)
    start = file.read(16)
    kind = _format_of(start)
    if kind is None or kind not in formats:
        start += file.read(PREFIX - len(start))
        found = kind_of(start)
        if found.picture and kind is not None:
            taken = ", ".join(formats)
            raise UnreadableImage(f"not an image that is taken here ({found.what}, not {taken})")
        raise UnreadableImage(f"not an image that can be read ({found})")
    if kind == "PNG":
        return Png.open(file)
    if kind == "JPEG":
        return Jpeg.open(file, decoding.reduce_to)
    if kind == "TIFF":
        return Tiff.open(file)
    ours = OURS[kind].open(file) if kind in OURS else None
    return ours or Plugin.open(file, kind, decoding.max_pixels)


def _format_of(start: bytes) -> str | None:
    """By the first 16 bytes of a file."""
    for kind, signatures in (
        ("PNG", PNG_SIGNATURE),
        ("JPEG", JPEG_SIGNATURE),
        ("GIF", (b"GIF87a", b"GIF89a")),
        ("BMP", b"BM"),
        ("TIFF", tuple(TIFF_PREFIXES)),
    ):
        if start.startswith(signatures):
            return kind
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return "PPM" if start.startswith(PNM) and start[2:3] in b" \t\r\n\v\f#" else None


def _has_room(count: int) -> bool:
    try:
        np.empty(count, np.uint8)
    except MemoryError:
        return False
    return True
