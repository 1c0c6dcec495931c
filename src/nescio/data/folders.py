"""Folders of image files: one subfolder a class, or just images."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nescio.data.class_numbers import natural_key
from nescio.data.encoded import Encoded, Files, check_failures, choose_shape, read_encoded
from nescio.data.images import Dataset, ImageSet, Preprocessing, fingerprint_prefix
from nescio.data.reading import Reading
from nescio.data.streamed import stream_encoded
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""What counts as an image in a folder."""

KINDS = 4
"""How many kinds of skipped files a note names."""

OF_THE_SYSTEM = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")
"""Files and folders that systems leave among images, whatever their case."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is no user's: hidden, or left by a system."""
    return name.startswith(".") or name.casefold() in OF_THE_SYSTEM


def list_images(folder: Path) -> list[Path]:
    """All image files below ``folder``, hidden ones left out, in natural order."""
    return _sort_out(folder)[0]


def read_folder(folder: Path, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Read a folder with one subfolder a class, perhaps below ``train`` and ``test``.

    A class of the test folder that the training folder lacks comes after those of the
    training folder, in the test part alone.

    Args:
        folder: The folder.
        reading: What to bring images to, and how; where it asks for no labels, any folder with
            images in it will do.
        reporter: Told of progress, and of what is left out.

    Raises:
        DataError: There are no images, fewer than two classes, or an empty class.
        UnreadableImage: A file cannot be decoded, and none may be skipped.
    """
    parts = {name: folder / name for name in ("train", "test")}
    if not all(part.is_dir() for part in parts.values()):
        parts = {"train": folder}
    listed = {name: _list(part, labelled=reading.labelled) for name, part in parts.items()}
    if not any(part.files for part in listed.values()):
        raise DataError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)})")
    _tell_skipped(folder, [path for part in listed.values() for path in part.others], reporter)
    if "test" in listed:
        test, train = listed["test"], listed["train"]
        own = tuple(name for name in test.classes if name not in train.classes)
        if train.classes:
            listed["test"] = replace(test, classes=(*train.classes, *own))
        if train.classes and own:
            reporter.note(
                f"{folder}: class {own[0]!r} is in the test folder alone; evaluate counts its "
                "images as to be refused with --unknown-classes unfamiliar"
            )
        missing = [name for name in train.classes if name not in test.classes]
        if test.classes and missing:
            reporter.note(
                f"{folder}: class {missing[0]!r} has no images in the test folder; add some, "
                "or nothing is measured of it"
            )
    tell_alike(folder.name, list(listed.values())[-1].classes, reporter)
    every = Files([path for part in listed.values() for path in part.files])
    reading = replace(reading, preprocessing=choose_shape(every, reading, reporter))
    name = folder.resolve().name
    sets = {part: _read_set(name, own, reading, reporter) for part, own in listed.items()}
    return Dataset(name, sets["train"], sets.get("test"), root=str(folder))


def tell_alike(name: str, classes: Sequence[str], reporter: Reporter) -> None:
    """Note classes whose names differ in case alone: often one class in two folders."""
    first: dict[str, str] = {}
    for each in classes:
        other = first.setdefault(unicodedata.normalize("NFKC", each).casefold(), each)
        if other != each:
            reporter.note(
                f"{name}: classes {other!r} and {each!r} differ only in case or accents' spelling, "
                "and count as two; merge them if they are one"
            )


def read_labelled(
    name: str,
    encoded: Encoded,
    reading: Reading,
    *,
    labels: Sequence[int] | None,
    classes: tuple[str, ...],
    reporter: Reporter = SILENT,
) -> ImageSet:
    """Decode images, and keep the labels of those that could be.

    Args:
        name: What to call the set.
        encoded: The images.
        reading: With the preprocessing, and whether unreadable images may be skipped.
        labels: One for each, indices into ``classes``; ``None`` where they are not known.
        classes: The class names.
        reporter: Told of progress, and of images that are left out.

    Raises:
        UnreadableImage: One cannot be decoded, and none may be skipped.
    """
    shape = reading.preprocessing
    assert isinstance(shape, Preprocessing)  # noqa: S101 - chosen before
    if reading.stream:
        prefix = fingerprint_prefix((len(encoded.names), *shape.shape), classes)
        result = stream_encoded(encoded, shape, reading, prefix=prefix, reporter=reporter)
    else:
        result = read_encoded(encoded, shape, memory=reading.memory, reporter=reporter)
    check_failures(name, result.failures, reading, reporter)
    kept, names = result.indices, encoded.names
    return ImageSet(
        name,
        result.images,
        None if labels is None else torch.tensor([labels[i] for i in kept], dtype=torch.int64),
        classes,
        tuple(names[i] for i in kept),
        shape.fit,
        shape.decoding,
    )


@dataclass(frozen=True)
class _Listed:
    """What lies in a folder.

    Attributes:
        root: The folder, just above the class folders.
        files: Its images.
        others: Other files.
        classes: The class names; none where the images have no labels.
    """

    root: Path
    files: list[Path]
    others: list[Path]
    classes: tuple[str, ...]

    def labels(self) -> list[int] | None:
        """The class of each image: the folder just below the root."""
        if not self.classes:
            return None
        number = {name: i for i, name in enumerate(self.classes)}
        return [number[path.relative_to(self.root).parts[0]] for path in self.files]


def _list(folder: Path, *, labelled: bool) -> _Listed:
    """The images below ``folder`` and the class names, none if they have no labels."""
    subfolders = [p for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name)]
    subfolders.sort(key=lambda path: natural_key(path.name))
    files, others = _sort_out(folder)
    names = tuple(path.name for path in subfolders)
    if not labelled:
        loose = any(path.parent == folder for path in files) or not subfolders
        return _Listed(folder, files, others, () if loose else names)
    if not files:
        raise DataError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)})")
    if len(subfolders) < 2:
        what = f"only the class {subfolders[0].name!r}" if subfolders else "no class folders"
        raise DataError(
            f"{folder}: a classifier needs at least two classes, found {what}; "
            "make one subfolder a class"
        )
    counts = Counter(path.relative_to(folder).parts[0] for path in files if path.parent != folder)
    for subfolder in subfolders:
        if not counts[subfolder.name]:
            raise DataError(f"{subfolder}: this class has no images; add some or remove the folder")
    inside = [path for path in files if path.parent != folder]
    loose_files = [path for path in files if path.parent == folder]
    return _Listed(folder, inside, others + loose_files, names)


def _sort_out(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files below ``folder`` in natural order, and all other files."""
    images: list[Path] = []
    others: list[Path] = []
    for path in _files(folder):
        is_image = path.suffix.lower() in SUFFIXES
        hidden = any(is_hidden(part) for part in path.relative_to(folder).parts)
        (images if is_image and not hidden else others).append(path)
    images.sort(key=lambda path: natural_key(str(path.relative_to(folder))))
    return images, others


def _files(folder: Path) -> Iterator[Path]:
    """All files, also behind links; a link that leads nowhere is told of when it is read."""
    for top, subfolders, names in os.walk(folder, followlinks=True):
        real = Path(top).resolve()
        # A link to a folder that it lies in has no end.
        subfolders[:] = [
            name for name in subfolders if not real.is_relative_to((real / name).resolve())
        ]
        for path in (Path(top, name) for name in names):
            if path.is_file() or not path.exists():
                yield path


def _tell_skipped(folder: Path, others: Sequence[Path], reporter: Reporter) -> None:
    if others:
        # A photograph of a kind that is not read must not hide behind what a system left.
        first = min(others, key=lambda path: (is_hidden(path.name), path))
        files = "1 file is" if len(others) == 1 else f"{len(others)} files are"
        kinds = Counter(path.suffix.lower() or "without ending" for path in others)
        most = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:KINDS]
        told = ", ".join(f"{count} {kind}" for kind, count in most)
        more = ", ..." if len(kinds) > KINDS else ""
        reporter.note(
            f"{folder}: {files} skipped: hidden, no image that is read, or in no class folder "
            f"({told}{more}; the first is {first.relative_to(folder)})"
        )


def _read_set(name: str, listed: _Listed, reading: Reading, reporter: Reporter) -> ImageSet:
    files = Files(listed.files)
    labels, classes = listed.labels(), listed.classes
    return read_labelled(name, files, reading, labels=labels, classes=classes, reporter=reporter)
