"""NumPy archives: images, perhaps labels and class names, perhaps in parts."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from nescio.data.arrays import array_to_images
from nescio.data.axes import find_axes
from nescio.data.class_numbers import number_array
from nescio.data.images import Dataset
from nescio.data.npz_layout import (
    DAMAGED,
    LISTED,
    Entry,
    Layout,
    find_layout,
    list_arrays,
    list_entries,
    not_readable,
)
from nescio.data.parts import PixelPart, join_pixels
from nescio.data.raw import RawImages
from nescio.data.reading import Reading
from nescio.data.rows import Stack
from nescio.data.telling import tell_absent, tell_others
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter


def read_npz(path: Path, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Read an archive of arrays; see :mod:`nescio.data.npz_layout` for what they may be called.

    Images are (N, H, W) or (N, H, W, 3); labels as :func:`nescio.data.number_array` takes them;
    class names stand for the numbers 0, 1, ... Pickled objects are never read.

    Args:
        path: The archive.
        reading: Whether labels are needed; how many bytes of images may be held in memory. More
            are mapped from the file or, where they are compressed, coloured or floats, from
            the cache folder.
        reporter: Told where images are kept, of parts that are joined, and of what is not used.

    Returns:
        The set; where no labels are needed the test images alone, if there are any.

    Raises:
        DataError: The file is no such archive, or its labels cannot be used.
    """
    entries = list_arrays(path)
    layout = find_layout(path, entries)
    name = path.name.removesuffix(".npz")
    parts = [*layout.images] if reading.labelled else [layout.answered]
    _tell_unused(name, entries, layout, parts, reporter)
    if reading.labelled and not layout.labels:
        raise DataError(
            f"{path}: labels are needed here; expected an array 'labels' (or y_train, "
            f"train_labels, y, target) beside {next(iter(layout.images.values()))!r}, found "
            f"{list_entries(entries)}"
        )
    labels, names = _read_labels(path, layout, parts, reading)
    arrays = {part: entries[layout.images[part]] for part in parts}
    large = sum(prod(array.shape) for array in arrays.values()) > reading.memory
    found: dict[str, PixelPart] = {}
    for part, array in arrays.items():
        raw = _raw(path, array) if large else None
        images = _read_images(path, array, reporter) if raw is None else raw.stack(reporter)
        own, classes = labels.get(part, (None, ()))
        fits = own is None or len(own) == len(images)
        if reading.labelled and not fits:
            raise DataError(
                f"{path}: {len(images)} images in {array.name!r} need as many labels, "
                f"{layout.labels[part]!r} has {0 if own is None else len(own)}"
            )
        found[part] = PixelPart(images, own, classes) if fits else PixelPart(images)
    if reading.labelled:
        present = {each for _, classes in labels.values() for each in classes}
        tell_absent(name, names, [each for each in names if each in present], reporter)
    return join_pixels(name, str(path), found, reading, names=names, reporter=reporter)


def find_npz_images(path: Path, reporter: Reporter = SILENT) -> RawImages | None:
    """Where the images of an archive lie that are answered; ``None`` where that is not known.

    (Other than plain numbers row by row, or damaged: whoever reads it all tells what is wrong.)
    """
    try:
        entries = list_arrays(path)
        layout = find_layout(path, entries)
    except DataError:
        return None
    raw = _raw(path, entries[layout.images[layout.answered]])
    if raw is not None and raw.offset is not None:
        name = path.name.removesuffix(".npz")
        _tell_unused(name, entries, layout, [layout.answered], reporter)
    return raw


def _raw(path: Path, array: Entry) -> RawImages | None:
    """Where an array of images lies; ``None`` where it is not plain numbers row by row."""
    shape, dtype = array.shape, array.dtype
    coloured = len(shape) == 4 and shape[3] == 3
    plain = dtype == np.uint8 or dtype.kind == "f"
    if array.fortran or not plain or not (len(shape) == 3 or coloured) or 0 in shape:
        return None

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(array.member) as file:
                file.read(array.header)
                yield file
        except (EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: a damaged archive ({error}); fetch it again") from error

    return RawImages(path, shape, dtype, array.offset, opened)


def _tell_unused(
    name: str,
    entries: Mapping[str, Entry],
    layout: Layout,
    parts: Sequence[str],
    reporter: Reporter,
) -> None:
    """Note arrays that nobody reads; and images of other parts, where one alone is answered."""
    if layout.others:
        shown = ", ".join(str(entries[each]) for each in layout.others[:LISTED])
        more = ", ..." if len(layout.others) > LISTED else ""
        reporter.note(f"{name}: arrays that are not used: {shown}{more}")
    left = {
        array: entries[array].images for part, array in layout.images.items() if part not in parts
    }
    mend = "save them to a file of their own to have them answered"
    tell_others(name, layout.images[parts[0]], left, mend, reporter)


def _read_labels(
    path: Path, layout: Layout, parts: Sequence[str], reading: Reading
) -> tuple[dict[str, tuple[Tensor | None, tuple[str, ...]]], list[str]]:
    """Labels and classes of each part, and the class names; none that cannot be read unless needed.

    Raises:
        DataError: They are needed and cannot be used.
    """
    arrays = {part: layout.labels[part] for part in parts if part in layout.labels}
    try:
        read = _read_arrays(path, [*arrays.values(), *([layout.classes] if layout.classes else [])])
        given = read[layout.classes].ravel().tolist() if layout.classes else []
        names = [each.decode() if isinstance(each, bytes) else str(each) for each in given]
        return {
            part: number_array(read[array], f"{path}: {array!r}", names)
            for part, array in arrays.items()
        }, names
    except (DataError, UnicodeDecodeError) as error:
        if not reading.labelled:
            return {}, []
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {layout.classes!r} are not in UTF-8 ({error})") from error


def _read_images(path: Path, array: Entry, reporter: Reporter) -> Stack:
    raw = _read_arrays(path, [array.name])[array.name]
    if raw.ndim not in (3, 4) or len(raw) == 0 or raw.shape[3:] == (4,):
        raise DataError(
            f"{path}: {array.name!r} must have shape (N, H, W), (N, H, W, 3) or (N, 3, H, W) with "
            f"N at least 1, got {raw.shape}"
        )
    try:
        axes = find_axes(raw.shape, first="N")
        images = array_to_images(raw, axes=axes)
    except DataError as error:
        raise DataError(f"{path}: {array.name!r}: {error}") from error
    if axes == "NCHW":
        reporter.note(f"{path.name}: {array.name!r} of shape {raw.shape} is read channels first")
    return images


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    try:
        # NumPy would leave a damaged file open; we close it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            # What is no array in an archive comes back as its bytes.
            return {name: np.asarray(archive[name]) for name in names}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DAMAGED as error:
        raise not_readable(path, error) from error
