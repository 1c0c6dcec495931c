"""Which images belong together: by a pattern in their names, or by a CSV file, ``image,group``.

An image is its path relative to the data set's folder, with slashes, or ``SET[NUMBER]`` where it
has no file of its own, as in a split file (:mod:`nescio.data.splitfile`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from nescio.data.groups import count_groups, of_groups
from nescio.data.images import Dataset, ImageSet
from nescio.data.split import Splits
from nescio.data.splitfile import image_key
from nescio.data.table import read_records
from nescio.errors import DataError, UsageError
from nescio.names import name_of, path_of
from nescio.progress import SILENT, Reporter

HEADER = ("image", "group")

GroupOf: TypeAlias = Callable[[str], str | None]
"""The name of an image's group, by the image's; ``None`` where it has none."""


@dataclass(frozen=True)
class Grouping:
    """How it is told which images belong together; one of the two.

    Attributes:
        pattern: A regular expression, searched for in the name of each image. The group is what
            its capturing groups found, joined by slashes; or, where it has none, all it found.
        file: A CSV file, ``image,group``.

    Raises:
        UsageError: Both are given, or neither, or the expression is none.
    """

    pattern: str | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        if (self.pattern is None) == (self.file is None):
            raise UsageError(
                "--group-by and --groups both say which images belong together: give one of them"
            )
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise UsageError(
                    f"--group-by must be a regular expression, got {self.pattern!r} ({error})"
                ) from error

    @staticmethod
    def of(group_by: str | None, groups: str | Path | None) -> Grouping | None:
        """What two options say; ``None`` where neither is given."""
        if group_by is None and groups is None:
            return None
        return Grouping(group_by, None if groups is None else Path(groups))

    def __str__(self) -> str:
        """For a person: the option that it was asked for by."""
        return f"--group-by {self.pattern}" if self.file is None else f"--groups {self.file}"

    def fingerprint(self) -> str:
        """SHA-256 of the file, in hexadecimal; empty where there is none."""
        return "" if self.file is None else hashlib.sha256(self.file.read_bytes()).hexdigest()

    def reader(self) -> GroupOf:
        """What finds the group of an image.

        Raises:
            DataError: The file is missing or no such table; the message has the line's number.
        """
        if self.file is not None:
            return _read_groups(self.file).get
        assert self.pattern is not None  # noqa: S101 - one of the two is given
        return lambda name, compiled=re.compile(self.pattern): _found(compiled, name)  # type: ignore[misc]


def group_images(
    dataset: Dataset, grouping: Grouping | None, reporter: Reporter = SILENT
) -> Dataset:
    """The data set with the group of each image.

    Args:
        dataset: With or without a test split of its own, whose images may have no group.
        grouping: Which images belong together; ``None`` leaves the data set as it is.
        reporter: Told where images of the test split have no group.

    Raises:
        DataError: A training image has no group; or see :meth:`Grouping.reader`.
    """
    if grouping is None:
        return dataset
    find = grouping.reader()
    groups, without = _groups(dataset.train, dataset.root, find)
    if without:
        raise DataError(
            f"{grouping}: {_without(dataset.train, without)} (the first is "
            f"{image_key(dataset.train, without[0], dataset.root)!r}); widen the pattern, or name "
            "the group of every image by --groups FILE.csv"
            if grouping.file is None
            else f"{grouping.file}: {_without(dataset.train, without)} (the first is "
            f"{image_key(dataset.train, without[0], dataset.root)!r}); give each a line, "
            f"{','.join(HEADER)}"
        )
    dataset = replace(dataset, train=replace(dataset.train, groups=groups))
    if dataset.test is None:
        return dataset
    groups, without = _groups(dataset.test, dataset.root, find)
    if without:
        reporter.note(
            f"{grouping}: {_without(dataset.test, without)} in the test folder, so whether these "
            "share any with the training images is not known"
        )
        return dataset
    return replace(dataset, test=replace(dataset.test, groups=groups))


def group_extra(images: ImageSet, root: str, grouping: Grouping, reporter: Reporter) -> ImageSet:
    """Images from beside a data set with their groups; each is its own where none is found.

    Args:
        images: Of any folder.
        root: The data set's folder.
        grouping: As for the data set.
        reporter: Told how many have no group.
    """
    groups, without = _groups(images, root, grouping.reader())
    if without:
        reporter.note(
            f"{grouping}: {_without(images, without)} (the first is "
            f"{images.image_name(without[0])}); each of these counts as a group of its own"
        )
        alone = [_number(f"\0{images.name}\0{images.image_name(i)}") for i in without]
        groups[without] = torch.tensor(alone)
    return replace(images, groups=groups)


def describe_groups(splits: Splits) -> str | None:
    """How groups are shared out among the parts, for a person; ``None`` where there are none."""
    parts = {"to train on": splits.train, "to calibrate by": splits.calibration}
    if splits.test_indices is not None:
        parts["to evaluate on"] = splits.test
    if splits.train.groups is None:
        return None
    counts = {use: count_groups(images) for use, images in parts.items()}
    told = ", ".join(f"{count:,} {use}" for use, count in counts.items())
    images = sum(len(part) for part in parts.values())
    return f"{sum(counts.values()):,} groups of {images:,} images, each in one part: {told}"


def tell_groups(name: str, splits: Splits, reporter: Reporter) -> None:
    """See that no group is in two parts, and tell how many there are.

    Args:
        name: Of the data set.
        splits: Its parts.
        reporter: Told how groups are shared out, and of groups that are also in a test folder.

    Raises:
        DataError: Images to calibrate by are of a group that is trained on, or to be tested on,
            as a file has it.
    """
    described = describe_groups(splits)
    if described is None:
        return
    train, calibration, test = splits.train, splits.calibration, splits.test
    own_test = splits.test_indices is None
    _check_apart(name, "calibration", calibration, [train] if own_test else [train, test])
    if not own_test:
        _check_apart(name, "test", test, [train])
    reporter.note(f"{name}: {described}")
    if count_groups(train) + count_groups(calibration) == len(train) + len(calibration):
        reporter.note(f"{name}: every image is a group of its own, so none are kept together")
    shared = of_groups(test, [train, calibration])
    if bool(shared.any()):
        reporter.note(
            f"{name}: {int(shared.sum()):,} of its {len(test):,} test images (the first is "
            f"{_first(test, shared)}) are of groups that are trained or calibrated on, too: "
            "figures on them say nothing about new groups"
        )


def _check_apart(name: str, part: str, images: ImageSet, others: list[ImageSet]) -> None:
    shared = of_groups(images, others)
    if bool(shared.any()):
        raise DataError(
            f"{name}: the split has {int(shared.sum()):,} images for {part} (the first is "
            f"{_first(images, shared)}) of groups that are in another part, too; put all images "
            "of a group into one part"
        )


def _first(images: ImageSet, chosen: Tensor) -> str:
    return images.image_name(int(chosen.nonzero()[0]))


def _read_groups(path: Path) -> dict[str, str]:
    lines: dict[str, int] = {}
    groups: dict[str, str] = {}
    for line, fields in read_records(path, HEADER):
        where = f"{path}, line {line}"
        if len(fields) != len(HEADER):
            raise DataError(f"{where}: expected an image and a group, got {len(fields)} fields")
        image, group = name_of(path_of(fields[0].removeprefix("./"))), fields[1]
        if not image or not group:
            raise DataError(f"{where}: the {'group' if image else 'image'} is not named")
        if image in lines:
            raise DataError(f"{where}: {image} is there already, on line {lines[image]}")
        lines[image], groups[image] = line, group
    return groups


def _found(pattern: re.Pattern[str], name: str) -> str | None:
    found = pattern.search(name)
    if found is None:
        return None
    captured = [group for group in found.groups() if group is not None]
    # Nothing found is the same for all images: no name of a group.
    return ("/".join(captured) if captured else found[0]) or None


def _groups(images: ImageSet, root: str, find: GroupOf) -> tuple[Tensor, list[int]]:
    """The number of each image's group, ``(N,)`` int64, and the images that have none."""
    names = [find(image_key(images, i, root)) for i in range(len(images))]
    known = {name: _number(name) for name in {*names} if name is not None}
    groups = torch.tensor([0 if name is None else known[name] for name in names])
    return groups, [i for i, name in enumerate(names) if name is None]


def _number(name: str) -> int:
    """What stands for a group: the same in every data set (BLAKE2b)."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _without(images: ImageSet, without: list[int]) -> str:
    return f"{len(without):,} of {len(images):,} images of {images.name} have no group"
