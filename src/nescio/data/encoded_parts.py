"""Encoded images in one row, each with its label and part, as one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nescio.data.class_numbers import number_texts
from nescio.data.encoded import Chosen, Encoded
from nescio.data.folders import read_labelled, tell_alike
from nescio.data.images import Dataset, ImageSet
from nescio.data.layout import CALIBRATION, CALLED, TEST, TRAIN
from nescio.data.looking import choose_shape
from nescio.data.parts import PartLabels, held_for_calibration, learning_parts
from nescio.data.reading import Reading
from nescio.data.telling import tell_absent, tell_unlabelled
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter


@dataclass(frozen=True)
class Table:
    """Encoded images, and what is said of each.

    Attributes:
        source: What names them, for errors.
        encoded: The images.
        texts: Of each the name of its class, ``None`` where it has none; ``None`` where nobody
            has any.
        parts: Of each the part that it belongs to; ``None`` where there are no parts.
        order: All class names in their order; empty for the natural order of those that occur.
        mend: What to do where no image has a label.
    """

    source: str
    encoded: Encoded
    texts: Sequence[str | None] | None
    parts: Sequence[str] | None
    order: tuple[str, ...]
    mend: str


def read_table(name: str, table: Table, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Decode the images of a table, part by part.

    Where labels are needed, images without one are left out, and a note says so. Where they
    are not, all images are one set.

    Args:
        name: What to call the set.
        table: The images.
        reading: What to bring images to, and how.
        reporter: Told of progress, and of what is left out.

    Raises:
        DataError: Labels are needed and there are none, or they are no classes; or there is no
            training part.
        UnreadableImage: An image cannot be decoded, and none may be skipped.
    """
    encoded = table.encoded
    if not reading.labelled:
        shaped = replace(reading, preprocessing=choose_shape(encoded, reading, reporter))
        numbers, classes = _labels_if_any(table)
        return Dataset(
            name,
            read_labelled(
                name, encoded, shaped, labels=numbers, classes=classes, reporter=reporter
            ),
        )
    labels, classes = _number(table)
    if not classes:
        raise DataError(f"{table.source}: no image has a label; {table.mend}")
    tell_absent(name, table.order, classes, reporter)
    tell_alike(name, classes, reporter)
    places = _places(name, table, labels, reporter)
    test, validation = places.get(TEST), places.get(CALIBRATION, [])
    train = [*places[TRAIN], *validation]
    held = None if test is None else labels[test]
    own = PartLabels.of(name, labels[train], held, classes, reporter)
    used = Chosen.of(encoded, [*train, *(test or [])])
    shaped = replace(reading, preprocessing=choose_shape(used, reading, reporter))

    def read(places: list[int], labels: Tensor, classes: tuple[str, ...]) -> ImageSet:
        some, numbers = Chosen.of(encoded, places), labels.tolist()
        return read_labelled(name, some, shaped, labels=numbers, classes=classes, reporter=reporter)

    calibrating = held_for_calibration(name, own.classes, own.train, len(places[TRAIN]))
    learnt = read(train, own.train, own.classes)
    kept = _kept([encoded.names[place] for place in train], learnt.names)
    return Dataset(
        name,
        learnt,
        None if own.test is None else read(test or [], own.test, own.test_classes),
        validation=calibrating[kept] if validation else None,
        part_names={p: CALLED[p] for p in CALLED if p in places} if validation else {},
    )


def _kept(names: Sequence[str], kept: Sequence[str]) -> list[int]:
    """The places of those names that could be read, which come in the same order."""
    places, found = iter(range(len(names))), list[int]()
    for name in kept:
        found.append(next(place for place in places if names[place] == name))
    return found


def _number(table: Table) -> tuple[Tensor, tuple[str, ...]]:
    """The labels ``(N,)`` with -1 where there is none, and the names of classes that occur."""
    if table.texts is None:
        return torch.full((len(table.encoded.names),), -1), ()
    if not table.order:
        return number_texts(table.texts, table.source)
    place = {each: number for number, each in enumerate(table.order)}
    return number_texts(table.texts, table.source, key=lambda each: place.get(each, len(place)))


def _labels_if_any(table: Table) -> tuple[list[int] | None, tuple[str, ...]]:
    """Where no labels are needed: those there are, if all images have one."""
    try:
        labels, classes = _number(table)
    except DataError:
        return None, ()
    return (labels.tolist(), classes) if classes and bool((labels >= 0).all()) else (None, ())


def _places(name: str, table: Table, labels: Tensor, reporter: Reporter) -> dict[str, list[int]]:
    """The places of the images with a label, by part; a part that is alone is to train on."""
    parts = table.parts or (TRAIN,) * len(labels)
    places: dict[str, list[int]] = {part: [] for part in parts}
    without: list[int] = []
    labelled = (labels >= 0).tolist()
    for place, (part, known) in enumerate(zip(parts, labelled, strict=True)):
        (places[part] if known else without).append(place)
    empty = [part for part, own in places.items() if not own]
    for part in empty:
        tell_unlabelled(name, CALLED[part], parts.count(part), reporter)
        del places[part]
    without = [place for place in without if parts[place] not in empty]
    if without:
        reporter.note(
            f"{name}: {len(without)} of {len(labels)} images have no label and are left out (the "
            f"first is {table.encoded.names[without[0]]})"
        )
    learning_parts(table.source, places)
    return places if TRAIN in places else {TRAIN: next(iter(places.values()))}
