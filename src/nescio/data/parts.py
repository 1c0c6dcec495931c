"""The parts that a data set comes in: what they are called, and how they make one set.

A validation part comes behind the images to train on, and all of it is calibrated on, as of folders
(:mod:`nescio.data.layout`). The test part stays apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from nescio.data.class_numbers import WHOLE, keep_occurring
from nescio.data.images import Dataset, ImageSet
from nescio.data.layout import CALIBRATION, CALLED, TEST, TRAIN, USUAL, part_of
from nescio.data.preprocess import adapt
from nescio.data.reading import Reading
from nescio.data.rows import Stack, join
from nescio.data.telling import tell_differing, tell_unlabelled
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

KEYWORDS = MappingProxyType({word: part for part, words in USUAL.items() for word in words})
"""The part that each of the usual words stands for."""

BETWEEN = re.compile(r"[-._\s0-9]+")
"""What stands between the words of a file's name."""


def part_of_file(path: Path) -> str | None:
    """The part that a file belongs to: by a word of its name, else by its folder's name.

    ``train-00000-of-00002.parquet`` and ``set_test.tar`` tell, ``train-test.tar`` does not.
    """
    found = {KEYWORDS[word] for word in BETWEEN.split(path.stem.casefold()) if word in KEYWORDS}
    if not found:
        return part_of(path.parent.name)
    return found.pop() if len(found) == 1 else None


def parts_of_files(source: str, files: Sequence[Path]) -> tuple[str, ...] | None:
    """The part of each file; ``None`` where they are all of one.

    Args:
        source: What names them, for errors.
        files: The files.

    Raises:
        DataError: Some belong to a part, and others do not say to which.
    """
    parts = [part_of_file(file) for file in files]
    if len(set(parts)) == 1:
        return None
    if None in parts:
        named = next(file for file, part in zip(files, parts, strict=True) if part is not None)
        raise DataError(
            f"{source}: {named.name} is named as a part, {files[parts.index(None)].name} is not; "
            "name train, validation and test files so, or give those of one part alone"
        )
    return tuple(part for part in parts if part is not None)


def learning_parts(source: str, found: Iterable[str]) -> None:
    """See that there is something to learn from.

    Raises:
        DataError: There is no training part among several.
    """
    parts = [*found]
    if len(parts) > 1 and TRAIN not in parts:
        raise DataError(
            f"{source}: it has no part 'train', but {', '.join(CALLED[part] for part in parts)}; "
            "name one of them alone"
        )


def held_for_calibration(name: str, classes: Sequence[str], labels: Tensor, train: int) -> Tensor:
    """Which images are of the validation part, that comes behind the training part.

    Args:
        name: Of the set, for errors.
        classes: The class names.
        labels: ``(N,)`` int64, of both parts.
        train: How many images the training part has.

    Returns:
        ``(N,)`` bool.

    Raises:
        DataError: A class has no image in the training part.
    """
    counts = torch.bincount(labels[:train], minlength=len(classes))
    for number in (counts == 0).nonzero().flatten().tolist():
        raise DataError(
            f"{name}: class {classes[number]!r} has no images in its training part, only in its "
            "validation part; move some there"
        )
    return torch.arange(len(labels)) >= train


@dataclass(frozen=True)
class PartLabels:
    """The labels of training and test parts.

    Attributes:
        train: ``(N,)`` int64.
        classes: The names of those that occur in the training part.
        test: ``(M,)`` int64; ``None`` without a test part.
        test_classes: The same, and behind them those that the test part alone has.
    """

    train: Tensor
    classes: tuple[str, ...]
    test: Tensor | None
    test_classes: tuple[str, ...]

    @staticmethod
    def of(
        name: str,
        train: Tensor,
        test: Tensor | None,
        names: Sequence[str],
        reporter: Reporter = SILENT,
    ) -> PartLabels:
        """From indices ``(N,)`` and ``(M,)`` into the same names, of which some may not occur."""
        own, classes = keep_occurring(train, names)
        if test is None:
            return PartLabels(own, classes, None, classes)
        theirs, test_names = keep_occurring(test, names)
        tell_differing(name, classes, test_names, reporter)
        every = (*classes, *(each for each in test_names if each not in classes))
        place = torch.tensor([every.index(each) for each in test_names], dtype=torch.int64)
        return PartLabels(own, classes, place[theirs], every)


@dataclass(frozen=True)
class PixelPart:
    """Images of one part, in one array.

    Attributes:
        images: ``(N, K, H, W)`` uint8.
        labels: ``(N,)`` int64, indices into ``classes``; ``None`` where they are not known.
        classes: The class names.
    """

    images: Stack
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()


def join_pixels(
    name: str,
    source: str,
    parts: Mapping[str, PixelPart],
    reading: Reading,
    *,
    names: Sequence[str] = (),
    reporter: Reporter = SILENT,
) -> Dataset:
    """Make a data set of parts that are arrays.

    Args:
        name: What to call it.
        source: Where they come from, for errors.
        parts: By :data:`TRAIN`, :data:`CALIBRATION` and :data:`TEST`; or one alone.
        reading: What to bring images to, if two sizes must become one; whether labels are needed.
        names: The order of class names; their own, sorted, where empty.
        reporter: Told of what joins, and of what is left out.

    Raises:
        DataError: There is no training part among several.
    """
    if reading.labelled:
        parts = _labelled_alone(name, parts, reporter)
    if len(parts) == 1:
        (only,) = parts.values()
        return Dataset(name, ImageSet(name, only.images, only.labels, only.classes))
    learning_parts(source, parts)
    order = [*names] or _sorted_names(name for part in parts.values() for name in part.classes)
    train, validation, test = (parts.get(each) for each in (TRAIN, CALIBRATION, TEST))
    assert train is not None  # noqa: S101 - it was looked for
    count = len(train.images)
    if validation is not None:
        train = _behind(train, validation, order, reading)
    labels, held = _among(train, order), None if test is None else _among(test, order)
    image_names = () if validation is None else _names(name, count, len(train.images))
    if labels is None:
        first = ImageSet(name, train.images, None, (), image_names)
        return Dataset(name, first, None if test is None else ImageSet(name, test.images, None, ()))
    own = PartLabels.of(name, labels, held, order, reporter)
    learnt = ImageSet(name, train.images, own.train, own.classes, image_names)
    apart = None if test is None else ImageSet(name, test.images, own.test, own.test_classes)
    if validation is None:
        return Dataset(name, learnt, apart)
    return Dataset(
        name,
        learnt,
        apart,
        validation=held_for_calibration(name, own.classes, own.train, count),
        part_names={part: CALLED[part] for part in parts},
    )


def _labelled_alone(
    name: str, parts: Mapping[str, PixelPart], reporter: Reporter
) -> Mapping[str, PixelPart]:
    """The parts with labels, and all of them where none has any."""
    labelled = {part: each for part, each in parts.items() if each.labels is not None}
    if not labelled:
        return parts
    for part in parts.keys() - labelled.keys():
        tell_unlabelled(name, CALLED[part], len(parts[part].images), reporter)
    return labelled


def _behind(
    train: PixelPart, validation: PixelPart, names: Sequence[str], reading: Reading
) -> PixelPart:
    """The images to train on, and then those for validation, labelled by the same names."""
    images = join(*_of_one_shape(train.images, validation.images, reading))
    first, second = _among(train, names), _among(validation, names)
    if first is None or second is None:
        return PixelPart(images)
    return PixelPart(images, torch.cat([first, second]), tuple(names))


def _names(name: str, train: int, count: int) -> tuple[str, ...]:
    """What images are called, of which the first ``train`` are to train on."""
    learnt = [f"{name}/{CALLED[TRAIN]}[{i}]" for i in range(train)]
    return (*learnt, *(f"{name}/{CALLED[CALIBRATION]}[{i}]" for i in range(count - train)))


def _sorted_names(names: Iterable[str]) -> list[str]:
    """Each once: as numbers where all are whole ones, else as NumPy sorts texts."""
    found = {*names}
    whole = all(WHOLE.fullmatch(each) for each in found)
    return sorted(found, key=int) if whole else sorted(found)


def _among(part: PixelPart, names: Sequence[str]) -> Tensor | None:
    """The labels ``(N,)`` of a part, as indices into the names of all classes."""
    if part.labels is None:
        return None
    place = torch.tensor([names.index(each) for each in part.classes], dtype=torch.int64)
    return place[part.labels]


def _of_one_shape(first: Stack, second: Stack, reading: Reading) -> tuple[Stack, Stack]:
    """Both, brought to one shape unless they have it."""
    if first.shape[1:] == second.shape[1:]:
        return first, second
    shapes = [each.shape[1:] for each in (first, second)]
    sizes = [(height, width) for _, height, width in shapes]
    chosen = reading.choose(sizes, colour=any(channels == 3 for channels, _, _ in shapes))
    return adapt(first, chosen), adapt(second, chosen)
