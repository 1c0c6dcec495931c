"""NumPy archives: ``images``, optionally ``labels`` and ``classes``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from nescio.data.class_numbers import number_array
from nescio.data.images import ImageSet
from nescio.data.preprocess import as_images
from nescio.data.raw import RawImages
from nescio.data.reading import MEMORY
from nescio.data.rows import Stack
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

IMAGES = "images"

DAMAGED = (
    AttributeError,  # a file that is no archive makes NumPy give an array, no context manager
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,  # a password is asked for
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""How a file that is no archive of arrays shows."""


def read_npz(path: Path, *, memory: int = MEMORY, reporter: Reporter = SILENT) -> ImageSet:
    """Read ``images`` (N, H, W) or (N, H, W, 3), and ``labels`` (N,) if there.

    Labels are integers or class names; ``classes`` names the integers.

    Args:
        path: The archive.
        memory: Bytes of images that may be held in memory. More are mapped from the file or, where
            they are compressed, coloured or floats, from the cache folder.
        reporter: Told where images are kept.

    Raises:
        DataError: The file is no such archive; pickled objects are never read.
    """
    raw = find_npz_images(path)
    if raw is not None and raw.nbytes > memory:
        arrays = _read_arrays(path, ("labels", "classes"))
        images = raw.stack(reporter)
    else:
        arrays = _read_arrays(path, (IMAGES, "labels", "classes"))
        images = _images(path, arrays)
    labels, classes = _labels(path, arrays, len(images))
    return ImageSet(path.name.removesuffix(".npz"), images, labels, classes)


def find_npz_images(path: Path) -> RawImages | None:
    """Where the images of an archive lie; ``None`` where that is not known.

    (Other than plain numbers row by row, or damaged: whoever reads it all tells what is wrong.)
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{IMAGES}.npy")
            with archive.open(member) as file:
                shape, fortran, dtype = _header(file)
                header = file.tell()
            offset = None
            if member.compress_type == zipfile.ZIP_STORED and archive.fp is not None:
                archive.fp.seek(member.header_offset + 26)
                sizes = np.frombuffer(archive.fp.read(4), "<u2")  # of its name and what follows it
                offset = member.header_offset + 30 + int(sizes.sum()) + header
    except DAMAGED:
        return None
    coloured = len(shape) == 4 and shape[3] == 3
    plain = dtype == np.uint8 or dtype.kind == "f"
    if fortran or not plain or not (len(shape) == 3 or coloured) or 0 in shape:
        return None

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                file.read(header)
                yield file
        except (EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: a damaged archive ({error}); fetch it again") from error

    return RawImages(path, shape, dtype, offset, opened)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether column by column, and type."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _images(path: Path, arrays: dict[str, np.ndarray[Any, np.dtype[Any]]]) -> Stack:
    if "images" not in arrays:
        raise DataError(f"{path}: expected an array 'images', found {sorted(arrays) or 'nothing'}")
    raw = arrays["images"]
    if raw.ndim not in (3, 4) or len(raw) == 0:
        raise DataError(
            f"{path}: 'images' must have shape (N, H, W) or (N, H, W, 3) with N at least 1, "
            f"got {raw.shape}"
        )
    try:
        return as_images(raw)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    try:
        # NumPy would leave a damaged file open; we close it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            wanted = [name for name in names if name in archive.files]
            # What is no array in an archive comes back as its bytes.
            return {name: np.asarray(archive[name]) for name in wanted}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DAMAGED as error:
        raise DataError(f"{path}: not a readable .npz archive of plain arrays ({error})") from error


def _labels(
    path: Path, arrays: dict[str, np.ndarray[Any, np.dtype[Any]]], count: int
) -> tuple[Tensor | None, tuple[str, ...]]:
    if "labels" not in arrays:
        return None, ()
    raw = arrays["labels"]
    if raw.ndim == 0 or len(raw) != count:
        raise DataError(f"{path}: {count} images need as many labels, got shape {raw.shape}")
    names = [str(name) for name in arrays["classes"].ravel()] if "classes" in arrays else []
    return number_array(raw, f"{path}: 'labels'", names)
