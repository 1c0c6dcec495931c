"""Which arrays of a NumPy archive are images, which are labels, and of which part.

Besides ``images`` and ``labels``, the layouts are known that people have: Keras (``x_train``,
``y_train``, ...), MedMNIST (``train_images``, ...), ``X`` and ``y``, ``data`` and ``target``, and
the ``arr_0`` and ``arr_1`` of arrays without names.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nescio.data.layout import CALIBRATION, TEST, TRAIN
from nescio.data.parts import KEYWORDS
from nescio.errors import DataError

IMAGES = ("images", "image", "imgs", "img", "x", "data", "inputs")
"""What arrays of images are called, in any case; the first that is there counts."""

LABELS = ("labels", "label", "y", "targets", "target", "cls", "class")
"""Likewise of labels."""

CLASSES = ("classes", "class_names", "classnames", "label_names", "target_names")
"""Likewise of class names."""

ROLES = {"images": IMAGES, "labels": LABELS, "classes": CLASSES}

LISTED = 12
"""Arrays that a message names."""

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


@dataclass(frozen=True)
class Entry:
    """An array in an archive, by its header.

    Attributes:
        member: What holds it.
        header: How many bytes stand before its numbers.
        shape: Its shape.
        fortran: Whether it lies column by column.
        dtype: Of its numbers.
        offset: Where its first number stands in the archive; ``None`` where it is compressed.
    """

    member: zipfile.ZipInfo
    header: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int | None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.member.filename.removesuffix(".npy")

    @property
    def images(self) -> int:
        """How many images it has, where it holds any."""
        return self.shape[0] if self.shape else 0

    def __str__(self) -> str:
        """``images (60000, 28, 28) uint8``."""
        return f"{self.name} {self.shape} {self.dtype}"


@dataclass(frozen=True)
class Layout:
    """Which arrays are what.

    Attributes:
        images: The array of images, by part.
        labels: The array of labels, by part; not of every part.
        classes: The array of class names, if there is one.
        others: What is not used.
    """

    images: Mapping[str, str]
    labels: Mapping[str, str]
    classes: str | None
    others: tuple[str, ...]

    @property
    def answered(self) -> str:
        """The part that counts where no labels are needed: test if there is one."""
        return next(part for part in (TEST, TRAIN, CALIBRATION) if part in self.images)


def list_arrays(path: Path) -> dict[str, Entry]:
    """The arrays in an archive, of which the headers alone are read.

    Raises:
        DataError: It is missing, or no archive of arrays.
    """
    entries = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    entry = _look_at(archive, member)
                    entries[entry.name] = entry
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DAMAGED as error:
        raise not_readable(path, error) from error
    return entries


def not_readable(path: Path, error: Exception) -> DataError:
    """What is said of a file that is no archive of arrays."""
    why = " ".join(str(error).split())[:200]
    return DataError(f"{path}: not a readable .npz archive of plain arrays ({why})")


def _look_at(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Entry:
    with archive.open(member) as file:
        shape, fortran, dtype = _header(file)
        header = file.tell()
    offset = None
    if member.compress_type == zipfile.ZIP_STORED and archive.fp is not None:
        archive.fp.seek(member.header_offset + 26)
        sizes = np.frombuffer(archive.fp.read(4), "<u2")  # of its name and what follows it
        offset = member.header_offset + 30 + int(sizes.sum()) + header
    return Entry(member, header, shape, fortran, dtype, offset)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether column by column, and type."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def find_layout(path: Path, entries: Mapping[str, Entry]) -> Layout:
    """Tell by their names what the arrays of an archive are.

    Args:
        path: The archive, for errors.
        entries: Its arrays by name.

    Raises:
        DataError: There are no images; or two arrays could be the same; or one that is needed
            holds Python objects.
    """
    found = _by_role(path, entries) or _by_position(path, entries)
    images, labels, classes = (found.get(role, {}) for role in ROLES)
    if not images:
        raise DataError(
            f"{path}: expected an array 'images' (or x_train, train_images, X, data), found "
            f"{list_entries(entries)}"
        )
    labels = {part: name for part, name in labels.items() if part in images}
    named = next(iter(classes.values()), None)
    used = {*images.values(), *labels.values(), *([named] if named else [])}
    for name in used:
        if entries[name].dtype.hasobject:
            raise DataError(
                f"{path}: {name!r} holds Python objects, which only pickle reads; save plain "
                "arrays: images of one size stacked, names as texts"
            )
    return Layout(images, labels, named, tuple(name for name in entries if name not in used))


def list_entries(entries: Mapping[str, Entry]) -> str:
    """What is in an archive, for a message."""
    texts = [str(entry) for entry in entries.values()]
    more = ", ..." if len(texts) > LISTED else ""
    return f"{', '.join(texts[:LISTED])}{more}" if texts else "nothing"


def _by_role(path: Path, entries: Mapping[str, Entry]) -> dict[str, dict[str, str]]:
    """The array of each role and part, by their names."""
    met: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in entries:
        place = _place(name)
        if place is not None:
            part, role, rank = place
            met.setdefault((role, part), []).append((rank, name))
    if ("images", "") in met and ("images", TRAIN) in met:
        both = met["images", ""][0][1], met["images", TRAIN][0][1]
        raise DataError(f"{path}: both {both[0]!r} and {both[1]!r} could be for training; keep one")
    found: dict[str, dict[str, str]] = {}
    for (role, part), names in met.items():
        ranks = sorted(names)
        if len(ranks) > 1 and ranks[0][0] == ranks[1][0]:
            raise DataError(
                f"{path}: both {ranks[0][1]!r} and {ranks[1][1]!r} could be the {role}; keep one"
            )
        found.setdefault(role, {}).setdefault(part or TRAIN, ranks[0][1])
    return found


def _place(name: str) -> tuple[str, str, int] | None:
    """Part (empty where none is named), role, and which of the names of that role it is."""
    text = name.casefold()
    rests = [("", text)]
    for word, part in KEYWORDS.items():
        if text.startswith(word):
            rests.append((part, text.removeprefix(word).strip("_-. ")))
        if text.endswith(word):
            rests.append((part, text.removesuffix(word).strip("_-. ")))
    for part, rest in rests:
        for role, names in ROLES.items():
            if rest in names:
                return part, role, names.index(rest)
    return None


def _by_position(path: Path, entries: Mapping[str, Entry]) -> dict[str, dict[str, str]]:
    """``arr_0`` and ``arr_1``, as NumPy calls arrays without names."""
    names = [f"arr_{number}" for number in range(len(entries))]
    if not names or sorted(entries) != sorted(names):
        return {}
    if len(names) > 2:
        raise DataError(
            f"{path}: which of {list_entries(entries)} is which cannot be told; save them by "
            "name: np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
        )
    return {role: {TRAIN: name} for role, name in zip(ROLES, names, strict=False)}
