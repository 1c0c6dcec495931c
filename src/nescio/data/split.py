"""Split once, by seed, into disjoint parts: train, calibration, test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nescio.data.groups import deal_groups, of_groups
from nescio.data.images import Dataset, ImageSet
from nescio.data.rare import require_common
from nescio.data.rows import join
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, numpy_generator

PARTS = ("train", "calibration", "test")
"""The parts of a data set, by name."""


@dataclass(frozen=True)
class Splits:
    """Three disjoint parts of a data set.

    Attributes:
        train: What the posterior is fitted to; extra images (:func:`join_extra`) come last.
        calibration: Held out of training, for thresholds; may be empty.
        test: For ``evaluate`` alone.
        train_indices: Which of the set's training images ``train`` holds, ``(n,)``; extra ones
            have none.
        calibration_indices: Likewise.
        test_indices: Likewise; ``None`` when the set has a test split of its own.
    """

    train: ImageSet
    calibration: ImageSet
    test: ImageSet
    train_indices: Tensor
    calibration_indices: Tensor
    test_indices: Tensor | None


def split(dataset: Dataset, *, seed: int = 0, calibration: float, test: float) -> Splits:
    """Leave out a share of every class for calibration, and for test where none is given.

    Where it is known which images belong together, these are shares of each class's groups.

    Args:
        dataset: Labelled; its own test split is used as it is, and so are the images that it
            holds out for validation: for calibration.
        seed: Of the choice. The same data, seed and shares give the same parts.
        calibration: The share of the training images to keep for calibration, 0 for none.
        test: The share of all images to leave out for test.

    Raises:
        DataError: A class has too few images, or groups, for each part to get one.
    """
    labels = dataset.train.require_labels().numpy()
    generator = numpy_generator(seed, Stream.SPLIT)
    test = 0.0 if dataset.test is not None else test
    if dataset.train.groups is not None:
        return split_by(dataset, _dealt(dataset, calibration, test, generator))
    require_common(dataset, calibration=calibration, test=test)
    parts: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int64]]]]
    parts = {"train": [], "calibration": [], "test": []}
    held = np.zeros(len(labels), bool)
    if dataset.validation is not None:
        held, calibration = dataset.validation.numpy(), 0.0
        parts["calibration"].append(np.flatnonzero(held))
    for number in range(len(dataset.classes)):
        members = generator.permutation(np.flatnonzero((labels == number) & ~held))
        left_out = _count(len(members), test)
        calibrating = _count(len(members) - left_out, calibration)
        parts["test"].append(members[:left_out])
        parts["calibration"].append(members[left_out : left_out + calibrating])
        parts["train"].append(members[left_out + calibrating :])
    index = {name: torch.from_numpy(np.sort(np.concatenate(p))) for name, p in parts.items()}
    return _splits(dataset, index)


def split_by(dataset: Dataset, parts: Tensor) -> Splits:
    """The parts that someone has chosen.

    Args:
        dataset: Labelled; its own test split is used as it is.
        parts: ``(N,)`` integers, for each training image its place in :data:`PARTS`.

    Raises:
        DataError: They do not fit the images, or a class has no image to train on.
    """
    if parts.shape != (len(dataset.train),) or not bool((parts < len(PARTS)).all()):
        raise DataError(
            f"{dataset.name}: the split is not one of these {len(dataset.train)} images"
        )
    index = {name: (parts == i).nonzero().flatten() for i, name in enumerate(PARTS)}
    labels = dataset.train.require_labels()
    present = torch.bincount(labels[index["train"]], minlength=len(dataset.classes))
    missing = (present == 0).nonzero().flatten().tolist()
    if missing:
        raise DataError(
            f"{dataset.name}: class {dataset.classes[missing[0]]!r} has no images in the training "
            "part of the split; move some there"
        )
    return _splits(dataset, index)


def _dealt(
    dataset: Dataset, calibration: float, test: float, generator: np.random.Generator
) -> Tensor:
    """The part of each image, ``(N,)`` uint8, where whole groups are dealt."""
    parts = torch.full((len(dataset.train),), PARTS.index("calibration"), dtype=torch.uint8)
    free = torch.ones(len(parts), dtype=torch.bool)
    if dataset.validation is not None:
        free, calibration = ~dataset.validation, 0.0
    rest = dataset.train.subset(free.nonzero().flatten())
    parts[free] = deal_groups(dataset.name, rest, (calibration, test), generator)
    return parts


def parts_of(splits: Splits) -> Tensor:
    """What :func:`split_by` makes the same splits from: ``(N,)`` uint8."""
    index = (splits.train_indices, splits.calibration_indices, splits.test_indices)
    parts = torch.empty(sum(len(own) for own in index if own is not None), dtype=torch.uint8)
    for number, own in enumerate(index):
        if own is not None:
            parts[own] = number
    return parts


def _splits(dataset: Dataset, index: Mapping[str, Tensor]) -> Splits:
    return Splits(
        train=dataset.train.subset(index["train"]),
        calibration=dataset.train.subset(index["calibration"]),
        test=dataset.train.subset(index["test"]) if dataset.test is None else dataset.test,
        train_indices=index["train"],
        calibration_indices=index["calibration"],
        test_indices=index["test"] if dataset.test is None else None,
    )


def join_extra(
    splits: Splits, extra: ImageSet, reporter: Reporter = SILENT
) -> tuple[Splits, ImageSet]:
    """Let extra images join the training part, and no other.

    The calibration part stays a sample of the data set: what is promised from it holds for images
    like those, whatever else was trained on. So an image that is there, or in the test part,
    is left out of training, and so is one of a group of such images.

    Args:
        splits: Of the data set.
        extra: Labelled, of the same shape and classes, each image once.
        reporter: Told of images that are left out.

    Returns:
        The splits, and those of the extra images that joined.

    Raises:
        DataError: The classes or shapes differ, a training image is labelled otherwise, or no
            image is left.
    """
    train = splits.train
    if extra.classes != train.classes or extra.preprocessing.shape != train.preprocessing.shape:
        raise DataError(
            f"{extra.name}: extra images must have the shape and classes of {train.name}, in order"
        )
    theirs = extra.hashes()
    known = torch.isin(theirs, train.hashes())
    held_out = torch.cat([splits.calibration.hashes(), splits.test.hashes()])
    held = torch.isin(theirs, held_out)
    grouped = of_groups(extra, [splits.calibration, splits.test])
    _check_labels(train, extra, known)
    reasons = {
        f"held out of training in {train.name}, for calibration or test,": held,
        f"of groups that are held out of training in {train.name}": grouped & ~held,
        f"trained on in {train.name} anyway,": known & ~held & ~grouped,
    }
    for why, left_out in reasons.items():
        if bool(left_out.any()):
            first = extra.image_name(int(left_out.nonzero()[0]))
            reporter.note(
                f"{extra.name}: {int(left_out.sum())} of {len(extra)} images are {why} and are "
                f"left out (the first is {first})"
            )
    new = extra.subset((~(known | held | grouped)).nonzero().flatten())
    if not len(new):
        raise DataError(
            f"{extra.name}: all its {len(extra)} images are among those of {train.name}"
        )
    joined = replace(
        train,
        images=join(train.images, new.images),
        labels=torch.cat([train.require_labels(), new.require_labels()]),
        names=tuple(images.image_name(i) for images in (train, new) for i in range(len(images))),
        groups=_join_groups(train, new),
    )
    return replace(splits, train=joined), new


def _join_groups(train: ImageSet, new: ImageSet) -> Tensor | None:
    """Those of both; extra images of which none are known are each a group of their own."""
    if train.groups is None:
        return None
    return torch.cat([train.groups, new.hashes() if new.groups is None else new.groups])


def _check_labels(train: ImageSet, extra: ImageSet, known: Tensor) -> None:
    """No image may have two labels; ``known`` ``(N,)`` tells which extra images are in both."""
    number = {content: i for i, content in enumerate(train.hashes().tolist())}
    labels, theirs = train.require_labels(), extra.hashes().tolist()
    for place in known.nonzero().flatten().tolist():
        own = int(labels[number[theirs[place]]])
        given = int(extra.require_labels()[place])
        if own != given:
            raise DataError(
                f"{extra.image_name(place)} is labelled {extra.classes[given]!r} in {extra.name}, "
                f"and {train.classes[own]!r} as a training image of {train.name}; correct one of "
                "them"
            )


def _count(members: int, share: float) -> int:
    """How many of a class's images go into a part: at least one, if there is a part."""
    return 0 if share == 0 else max(1, round(members * share))
