"""NumPy archives: ``images``, optionally ``labels`` and ``classes``."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nescio.data.images import ImageSet
from nescio.data.preprocess import as_images
from nescio.errors import DataError

MOST_CLASSES = 100_000
"""A larger label is taken for a mistake."""


def read_npz(path: Path) -> ImageSet:
    """Read ``images`` (N, H, W) or (N, H, W, 3), and ``labels`` (N,) if there.

    Labels are integers or class names; ``classes`` names the integers.

    Raises:
        DataError: The file is no such archive; pickled objects are never read.
    """
    arrays = _read_arrays(path)
    if "images" not in arrays:
        raise DataError(f"{path}: expected an array 'images', found {sorted(arrays) or 'nothing'}")
    raw = arrays["images"]
    if raw.ndim not in (3, 4) or len(raw) == 0:
        raise DataError(
            f"{path}: 'images' must have shape (N, H, W) or (N, H, W, 3) with N at least 1, "
            f"got {raw.shape}"
        )
    try:
        images = as_images(raw)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    labels, classes = _labels(path, arrays, len(images))
    return ImageSet(path.name.removesuffix(".npz"), images, labels, classes)


def _read_arrays(path: Path) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    try:
        # NumPy would leave a damaged file open; we close it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            wanted = [name for name in ("images", "labels", "classes") if name in archive.files]
            # What is no array in an archive comes back as its bytes.
            return {name: np.asarray(archive[name]) for name in wanted}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    # A file that is no archive makes NumPy give an array, which is no context manager.
    except (
        AttributeError,
        EOFError,
        KeyError,
        MemoryError,
        NotImplementedError,
        OSError,
        OverflowError,
        SyntaxError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(f"{path}: not a readable .npz archive of plain arrays ({error})") from error


def _labels(
    path: Path, arrays: dict[str, np.ndarray[Any, np.dtype[Any]]], count: int
) -> tuple[Tensor | None, tuple[str, ...]]:
    if "labels" not in arrays:
        return None, ()
    raw = arrays["labels"]
    if raw.shape != (count,):
        raise DataError(f"{path}: 'labels' must have shape ({count},), got {raw.shape}")
    if raw.dtype.kind in "US":
        names, indices = np.unique(raw.astype(str), return_inverse=True)
        return torch.from_numpy(indices.astype(np.int64)), tuple(str(name) for name in names)
    if raw.dtype.kind not in "iu":
        raise DataError(f"{path}: 'labels' must be integers or names, got {raw.dtype}")
    labels = torch.from_numpy(raw.astype(np.int64))
    if "classes" in arrays:
        return labels, tuple(str(name) for name in arrays["classes"].ravel())
    if int(labels.min()) < 0:
        raise DataError(f"{path}: label {int(labels.min())} is below 0; number classes from 0")
    if int(labels.max()) >= MOST_CLASSES:
        raise DataError(
            f"{path}: label {int(labels.max())} is not a class number below {MOST_CLASSES}; "
            "number classes from 0, or give names"
        )
    return labels, tuple(str(i) for i in range(int(labels.max()) + 1))
