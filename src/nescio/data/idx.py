"""IDX, the format of MNIST: a header of big-endian sizes, then raw bytes.

Layout (Y. LeCun, *The MNIST database*): two zero bytes, the element type (8 for
unsigned byte), the number of axes, one 32-bit size an axis, the elements.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from torch import Tensor

from nescio.data.class_numbers import number_array
from nescio.data.idx_names import labels_beside, set_name
from nescio.data.images import Dataset, ImageSet
from nescio.data.parts import PixelPart, join_pixels
from nescio.data.preprocess import as_images
from nescio.data.raw import RawImages
from nescio.data.reading import Reading
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

UNSIGNED_BYTE = 8


class _Reader(Protocol):
    """What plain and gzip files have in common."""

    def read(self, size: int, /) -> bytes: ...


CHUNK = 1 << 24
"""Bytes read at a time, so that a header cannot make us ask for more than there is."""


def read_idx(path: Path, *, compressed: bool | None = None) -> Tensor:
    """Read one IDX file, plain or gzip.

    Args:
        path: The file.
        compressed: Whether it is gzip; told by its name when ``None``.

    Returns:
        uint8, of the shape in the file's header.

    Raises:
        DataError: The file is not IDX of unsigned bytes, or its length does not fit.
    """
    compressed = path.suffix == ".gz" if compressed is None else compressed
    with _opened(path, compressed=compressed) as file:
        shape = _read_header(path, file.read(4), file)
        content = _read_content(path, file, math.prod(shape))
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(shape))


def find_idx_images(path: Path) -> RawImages:
    """Where the images of an IDX file lie, of which the header alone is read.

    Raises:
        DataError: It is not IDX of images, or, where it is not compressed, has another length
            than its header promises.
    """
    compressed = path.suffix == ".gz"
    with _opened(path, compressed=compressed) as file:
        shape = _read_header(path, file.read(4), file)
    if len(shape) != 3 or 0 in shape:
        raise DataError(f"{path}: expected images (N, H, W), got shape {shape}")
    offset = 4 + 4 * len(shape)
    if not compressed and path.stat().st_size != offset + math.prod(shape):
        raise DataError(
            f"{path}: its header promises {math.prod(shape)} bytes, there are "
            f"{path.stat().st_size - offset}; fetch it again"
        )

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with _opened(path, compressed=compressed) as file:
            file.read(offset)
            yield file

    return RawImages(path, shape, np.dtype(np.uint8), None if compressed else offset, opened)


@contextmanager
def _opened(path: Path, *, compressed: bool) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            yield file  # type: ignore[misc]  # plain or gzip: both read
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: a damaged gzip file ({error}); fetch it again or unpack it by hand"
        ) from error


def read_idx_set(
    path: Path,
    name: str | None = None,
    classes: tuple[str, ...] = (),
    *,
    reading: Reading | None = None,
    reporter: Reporter = SILENT,
) -> ImageSet:
    """Read the images at ``path``, and the labels beside them if there are any.

    Args:
        path: Named as :mod:`nescio.data.idx_names` has it.
        name: What to call the set; after its file when ``None``.
        classes: The class names; the numbers that occur when empty.
        reading: Whether labels are needed; bytes of images that may be held in memory. More are
            mapped from the file or, where that is compressed, from the cache folder.
        reporter: Told where images are kept.

    Raises:
        DataError: A file is damaged, or the labels do not fit the images.
    """
    reading = reading or Reading()
    name = name or set_name(path)
    found = find_idx_images(path)
    large = found.nbytes > reading.memory
    images = found.stack(reporter) if large else as_images(read_idx(path))
    try:
        labels, names = _read_labels(path, len(images), classes)
    except DataError:
        if reading.labelled:
            raise
        labels, names = None, ()
    return ImageSet(name, images, labels, names)


def read_idx_folder(
    folder: Path,
    parts: Mapping[str, Path],
    name: str,
    classes: tuple[str, ...] = (),
    *,
    reading: Reading | None = None,
    reporter: Reporter = SILENT,
) -> Dataset:
    """Read a folder in MNIST's layout: training and test images with their labels.

    Args:
        folder: The folder.
        parts: Its images by part, see :func:`nescio.data.idx_names.find_idx_parts`.
        name: What to call the set.
        classes: As for :func:`read_idx_set`.
        reading: Likewise, of each part.
        reporter: Told where images are kept, and of what is left out.
    """
    reading = reading or Reading()
    sets = {
        part: read_idx_set(path, name, classes, reading=reading, reporter=reporter)
        for part, path in parts.items()
    }
    pixels = {part: PixelPart(own.images, own.labels, own.classes) for part, own in sets.items()}
    return join_pixels(name, str(folder), pixels, reading, names=classes, reporter=reporter)


def _read_labels(
    images: Path, count: int, classes: tuple[str, ...]
) -> tuple[Tensor | None, tuple[str, ...]]:
    path = labels_beside(images)
    if path is None:
        return None, ()
    labels = read_idx(path)
    if len(labels) != count:
        raise DataError(f"{images}: {count} images need as many labels, got {tuple(labels.shape)}")
    if classes:
        return labels.long(), classes
    return number_array(labels.numpy(), str(path))


def _read_header(path: Path, magic: bytes, file: _Reader) -> tuple[int, ...]:
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTE or magic[3] == 0:
        raise DataError(
            f"{path}: not an IDX file of unsigned bytes (it begins with {magic.hex() or 'nothing'})"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: the file ends within its header; fetch it again")
    return tuple(int(n) for n in np.frombuffer(sizes, ">u4"))


def _read_content(path: Path, file: _Reader, size: int) -> bytearray:
    content = bytearray()
    while len(content) < size:
        chunk = file.read(min(CHUNK, size - len(content)))
        if not chunk:
            break
        content += chunk
    if len(content) < size or file.read(1):
        more = "more" if len(content) == size else f"only {len(content)}"
        raise DataError(
            f"{path}: its header promises {size} bytes, there are {more}; fetch it again"
        )
    return content
