"""Folders of image files: one subfolder a class, or just images."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nescio.data.encoded import Encoded, Files, check_failures, read_encoded
from nescio.data.images import Dataset, ImageSet, Preprocessing, fingerprint_prefix
from nescio.data.layout import CALIBRATION, TEST, TRAIN
from nescio.data.looking import choose_shape
from nescio.data.reading import Reading
from nescio.data.sorting import (
    Part,
    SortedOut,
    sort_by_file,
    sort_by_folders,
    sort_without_labels,
)
from nescio.data.streamed import stream_encoded
from nescio.data.walk import SUFFIXES, Tree, describe_kinds, tell_left_out, walk_folder
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

LISTED = 12
"""How many classes a message names."""


def read_folder(folder: Path, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Read a folder with one subfolder a class, perhaps below or above folders of parts.

    Parts are folders of the usual names, see :mod:`nescio.data.layout`. A class of the test
    folder that the training folder lacks comes after those of the training folder, in the test
    part alone.

    Args:
        folder: The folder.
        reading: What to bring images to, and how; where it asks for no labels, any folder with
            images in it will do.
        reporter: Told of progress, and of what is left out.

    Raises:
        DataError: There are no images, fewer than two classes, an empty class, or folders that
            can be read in more than one way; or a folder cannot be opened, and none may be
            skipped.
        UnreadableImage: A file cannot be decoded, and none may be skipped.
    """
    tree = walk_folder(folder)
    tree.require_open(reporter, skip=reading.skip_unreadable)
    if not tree.images:
        kinds = f"; there are other files ({describe_kinds(tree.others)})" if tree.others else ""
        raise DataError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)}){kinds}")
    found = _sort(tree, reading)
    tell_left_out(tree, found.others, reporter)
    for note in found.notes:
        reporter.note(note)
    train, held, test = (found.parts.get(part) for part in (TRAIN, CALIBRATION, TEST))
    assert train is not None  # noqa: S101 - there is no set without it
    if reading.labelled:
        if reading.drop_rare:
            train = _without_empty(folder, train, reporter)
        _check_classes(tree, train, held)
        _tell_classes(folder, train, held, test, reporter)
    if test is not None:
        own = (name for name in test.classes if name not in train.classes)
        test = replace(test, classes=(*train.classes, *own))
    tell_alike(folder.name, (test or train).classes, reporter)
    learnt = train.before(held)
    every = Files([*learnt.files, *(() if test is None else test.files)])
    reading = replace(reading, preprocessing=choose_shape(every, reading, reporter))
    name = folder.resolve().name
    read = _read_set(name, learnt, reading, reporter)
    return Dataset(
        name,
        read,
        None if test is None else _read_set(name, test, reading, reporter),
        root=str(folder),
        validation=None if held is None else _places(read, held),
        part_names=found.names,
    )


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
    result.remarks.tell(shape, reporter)
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


def _sort(tree: Tree, reading: Reading) -> SortedOut:
    if not reading.labelled:
        return sort_without_labels(tree)
    if reading.labels is not None:
        return sort_by_file(tree, reading.labels, skip_missing=reading.skip_unreadable)
    return sort_by_folders(tree)


def _check_classes(tree: Tree, train: Part, held: Part | None) -> None:
    """See that there are classes to learn, and images of each.

    Raises:
        DataError: There are fewer than two, or one has no image to train on.
    """
    folder, classes = tree.root, train.classes
    if len(classes) < 2:
        what = f"only the class {classes[0]!r}" if classes else "no class folders"
        raise DataError(
            f"{folder}: a classifier needs at least two classes, found {what}; "
            f"make one subfolder a class{_deeper(tree)}"
        )
    held_labels = set() if held is None else set(held.labels or ())
    unknown = sorted(held_labels - set(classes))
    if unknown:
        raise DataError(
            f"{folder}: class {unknown[0]!r} has images to validate on, and none to train on; "
            "add some, or remove its folder"
        )
    labels = set(train.labels or ())
    empty = [name for name in classes if name not in labels]
    if len(empty) == 1:
        raise DataError(
            f"{folder}: the class {empty[0]!r} has no images; add some or remove the folder, or "
            "leave such classes out with train --drop-rare"
        )
    if empty:
        raise DataError(
            f"{folder}: {len(empty)} classes have no images ({_some(empty)}); add some, remove the "
            "folders, or leave such classes out with train --drop-rare"
        )


def _without_empty(folder: Path, train: Part, reporter: Reporter) -> Part:
    """Without the classes that have no images."""
    labels = set(train.labels or ())
    empty = [name for name in train.classes if name not in labels]
    if empty:
        reporter.note(f"{folder}: classes without images are left out: {_some(empty)}")
    return replace(train, classes=tuple(name for name in train.classes if name in labels))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + ", ..." * (len(names) > LISTED)


def _deeper(tree: Tree) -> str:
    """Where classes may be instead, if all images are in one folder that holds several."""
    tops = {tree.parts(image)[0] for image in tree.images}
    below = {names[1] for image in tree.images if len(names := tree.parts(image)) > 2}
    only = next(iter(tops))
    return f", or name {tree.root / only}" if len(tops) == 1 and len(below) > 1 else ""


def _tell_classes(
    folder: Path, train: Part, held: Part | None, test: Part | None, reporter: Reporter
) -> None:
    """Note classes that only one of the parts has."""
    own = [] if test is None else [name for name in test.classes if name not in train.classes]
    if own:
        reporter.note(
            f"{folder}: class {own[0]!r} is in the test folder alone; evaluate counts its "
            "images as to be refused with --unknown-classes unfamiliar"
        )
    for part, called, what in (
        (test, "test", "nothing is measured of it"),
        (held, "validation", "no threshold is set by it"),
    ):
        labels = set(() if part is None else part.labels or ())
        missing = [name for name in train.classes if name not in labels]
        if part is not None and missing:
            reporter.note(
                f"{folder}: class {missing[0]!r} has no images in the {called} folder; add some, "
                f"or {what}"
            )


def _read_set(name: str, part: Part, reading: Reading, reporter: Reporter) -> ImageSet:
    number = {name: i for i, name in enumerate(part.classes)}
    labels = None if part.labels is None else [number[label] for label in part.labels]
    files, classes = Files(part.files), part.classes
    return read_labelled(name, files, reading, labels=labels, classes=classes, reporter=reporter)


def _places(read: ImageSet, part: Part) -> Tensor:
    """``(N,)`` bool: which images are of the part."""
    names = set(Files(part.files).names)
    return torch.tensor([name in names for name in read.names], dtype=torch.bool)
