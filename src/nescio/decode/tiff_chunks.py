"""Where the samples of a TIFF lie: in strips or tiles, together or plane by plane, compressed.

What compresses them otherwise than by Deflate, libtiff behind Pillow undoes. See TIFF 6.0, and
Adobe's technical notes 1 to 3 for Photoshop (predictors, floats).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from nescio.decode.libtiff import damage_heard
from nescio.decode.raster import Samples
from nescio.decode.tags import Tag, Tags
from nescio.errors import UnreadableImage

NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
"""Compressions."""

KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
"""NumPy's kind of each sample format; the fourth is undefined, which all take for unsigned."""

WIDTHS = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}
"""Bits of a sample that are read, by kind."""

MOST_CHANNELS = 64

NAMED = 4
"""So many numbers of a header are told at most."""

MEND = "save it as PNG or JPEG"


@dataclass(frozen=True)
class Layout:
    """How samples lie in the file.

    Attributes:
        height: Of the image.
        width: Of it.
        channels: Samples of a pixel.
        dtype: Of a sample, in the file's byte order.
        compression: Of each chunk.
        predictor: What was done before it.
        planar: Whether each channel lies alone.
        tiled: Whether chunks are tiles, all of one size, and not strips, the last of which ends
            with the image.
        rows: Of a chunk: strip or tile.
        columns: Of it.
        places: Of the chunks, plane by plane, row by row.
        lengths: In bytes.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[np.generic]
    compression: int
    predictor: int
    planar: bool
    tiled: bool
    rows: int
    columns: int
    places: tuple[int, ...]
    lengths: tuple[int, ...]


def layout_of(tags: Tags) -> Layout:
    """How samples lie in the file.

    Raises:
        UnreadableImage: They lie otherwise than is read here.
    """
    height, width = tags.one(Tag.HEIGHT), tags.one(Tag.WIDTH)
    channels, planar = tags.one(Tag.SAMPLES, 1), tags.one(Tag.PLANAR, 1) == 2
    dtype = _dtype(tags, channels)
    tiled = Tag.TILE_OFFSETS in tags.values
    rows = tags.one(Tag.TILE_HEIGHT) if tiled else min(tags.one(Tag.ROWS_PER_STRIP, height), height)
    columns = tags.one(Tag.TILE_WIDTH) if tiled else width
    places = tags.all(Tag.TILE_OFFSETS if tiled else Tag.STRIP_OFFSETS)
    lengths = tags.all(Tag.TILE_COUNTS if tiled else Tag.STRIP_COUNTS)
    if rows < 1 or columns < 1 or rows * columns > 4 * max(height * width, 2**16):
        raise UnreadableImage("its strips or tiles are damaged")
    chunks = -(-height // rows) * -(-width // columns) * (channels if planar else 1)
    compression = tags.one(Tag.COMPRESSION, NONE)
    if not lengths and compression == NONE and chunks == 1:
        lengths = (height * width * channels * dtype.itemsize,)
    if min(len(places), len(lengths)) < chunks:
        raise UnreadableImage("it is cut off: strips or tiles are missing")
    if tags.one(Tag.FILL_ORDER, 1) != 1:
        raise UnreadableImage(f"a TIFF whose bits lie in reverse; {MEND}")
    return Layout(
        height,
        width,
        channels,
        dtype,
        compression,
        tags.one(Tag.PREDICTOR, 1),
        planar and channels > 1,
        tiled,
        rows,
        columns,
        places,
        lengths,
    )


def _dtype(tags: Tags, channels: int) -> np.dtype[np.generic]:
    """Of a sample.

    Raises:
        UnreadableImage: Samples differ, or are of a type that is not read.
    """
    bits, forms = set(tags.all(Tag.BITS, (1,))), set(tags.all(Tag.SAMPLE_FORMAT, (1,)))
    form = KINDS.get(min(forms), "") if len(forms) == 1 else ""
    if not 1 <= channels <= MOST_CHANNELS:
        raise UnreadableImage(f"a TIFF of {channels:,} samples a pixel, which is not read; {MEND}")
    if len(bits) > 1 or min(bits) not in WIDTHS.get(form, ()):
        raise UnreadableImage(
            f"a TIFF with samples of {_some(bits)} bits, of format {_some(forms)}, which is not "
            f"read; {MEND}"
        )
    return np.dtype(f"{tags.order}{form}{min(bits) // 8}")


def _some(numbers: set[int]) -> str:
    """The smallest few."""
    first = [str(number) for number in sorted(numbers)[:NAMED]]
    return ", ".join(first) + (", ..." if len(numbers) > NAMED else "")


def read_samples(file: BinaryIO, layout: Layout) -> Samples:
    """All samples, ``(H, W, C)``, as the machine takes them."""
    native = layout.dtype.newbyteorder("=")
    whole = np.empty((layout.height, layout.width, layout.channels), native)
    down, across = -(-layout.height // layout.rows), -(-layout.width // layout.columns)
    for number in range(down * across * (layout.channels if layout.planar else 1)):
        plane, place = divmod(number, down * across)
        top, left = (place // across) * layout.rows, (place % across) * layout.columns
        rows = layout.rows if layout.tiled else min(layout.rows, layout.height - top)
        chunk = _chunk(file, layout, number, rows)[: layout.height - top, : layout.width - left]
        channels = slice(plane, plane + 1) if layout.planar else slice(None)
        whole[top : top + len(chunk), left : left + chunk.shape[1], channels] = chunk
    return whole


def _chunk(file: BinaryIO, layout: Layout, number: int, rows: int) -> Samples:
    """A strip or tile, ``(rows, columns, C)``; ``(rows, columns, 1)`` of a plane."""
    channels = 1 if layout.planar else layout.channels
    shape, item = (rows, layout.columns, channels), layout.dtype.itemsize
    width = layout.columns * channels * item
    file.seek(layout.places[number])
    stored = file.read(min(layout.lengths[number], 2 * rows * width + 2**16))
    content = _decompressed(stored, layout.compression, width, rows)
    if len(content) < rows * width:
        raise UnreadableImage("it is cut off: a strip or tile is not whole")
    raw = np.frombuffer(content, np.uint8, rows * width).reshape(rows, width)
    if layout.predictor == 3 and layout.dtype.kind == "f":
        # Differences of bytes, of which the most significant of all samples come first.
        summed = np.cumsum(raw.reshape(rows, -1, channels), axis=1, dtype=np.uint8)
        planes = summed.reshape(rows, item, -1).swapaxes(1, 2)
        samples = np.ascontiguousarray(planes).view(layout.dtype.newbyteorder(">"))
        return samples.reshape(shape)
    samples = raw.view(layout.dtype).reshape(shape)
    if layout.predictor == 2:
        whole = samples.view(np.dtype(f"{layout.dtype.byteorder}u{item}")).astype(f"=u{item}")
        return np.cumsum(whole, axis=1, dtype=whole.dtype).view(layout.dtype.newbyteorder("="))
    if layout.predictor != 1:
        raise UnreadableImage(f"a TIFF with predictor {layout.predictor}; {MEND}")
    return samples


def _decompressed(stored: bytes, compression: int, width: int, rows: int) -> bytes:
    """The bytes of a chunk of so many rows of so many bytes.

    Raises:
        UnreadableImage: They are damaged, or the compression is not known.
    """
    if compression == NONE:
        return stored
    if compression in (DEFLATE, OLD_DEFLATE):
        inflate = zlib.decompressobj()
        try:
            content = inflate.decompress(stored, rows * width)
            inflate.decompress(inflate.unconsumed_tail, 1)  # the checksum behind them
        except zlib.error:
            raise UnreadableImage("a strip or tile is damaged") from None
        return content
    if compression in (LZW, PACKBITS, LZMA, ZSTD):
        content = _bytes_as_tiff(stored, compression, width, rows)
        with damage_heard():
            return TiffImageFile(BytesIO(content)).tobytes()
    raise UnreadableImage(f"a TIFF of compression {compression}; {MEND}")


def _bytes_as_tiff(stored: bytes, compression: int, width: int, rows: int) -> bytes:
    """A TIFF whose grey pixels are the bytes of a chunk, for libtiff to decompress."""
    tags = (
        (Tag.WIDTH, width),
        (Tag.HEIGHT, rows),
        (Tag.BITS, 8),
        (Tag.COMPRESSION, compression),
        (Tag.PHOTOMETRIC, 1),
        (Tag.STRIP_OFFSETS, 8),
        (Tag.SAMPLES, 1),
        (Tag.ROWS_PER_STRIP, rows),
        (Tag.STRIP_COUNTS, len(stored)),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = struct.pack("<4sI", b"II*\0", 8 + len(stored) + len(stored) % 2)
    pad = b"\0" * (len(stored) % 2)
    return start + stored + pad + struct.pack("<H", len(tags)) + entries + bytes(4)
