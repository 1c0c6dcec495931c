"""Classes with too few images to be split: told all at once, or left out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from nescio.data.images import Dataset, ImageSet
from nescio.errors import DataError
from nescio.progress import Reporter

LISTED = 12
"""How many classes a message names."""


def images_needed(dataset: Dataset, *, calibration: float, test: float) -> int:
    """How many images, or groups, a class needs so that each part that is chosen gets one."""
    apart = test > 0 and dataset.test is None
    return 1 + apart + (calibration > 0 and dataset.validation is None)


def rare_classes(dataset: Dataset, *, calibration: float, test: float) -> dict[str, int]:
    """The classes that cannot be split, with how many images, or groups, each has to be split.

    Args:
        dataset: Labelled.
        calibration: The share to keep for calibration.
        test: The share to leave out for test.
    """
    needed = images_needed(dataset, calibration=calibration, test=test)
    labels, train = dataset.train.require_labels(), dataset.train
    pairs = torch.stack(
        [labels, torch.arange(len(train)) if train.groups is None else train.groups]
    )
    if dataset.validation is not None:
        pairs = pairs[:, ~dataset.validation]
    counts = pairs.unique(dim=1)[0].bincount(minlength=len(train.classes)).tolist()
    return {n: count for n, count in zip(train.classes, counts, strict=True) if count < needed}


def require_common(dataset: Dataset, *, calibration: float, test: float) -> None:
    """See that every class can be split.

    Raises:
        DataError: Some have too few images; the message names them all, or the first dozen.
    """
    rare = rare_classes(dataset, calibration=calibration, test=test)
    if not rare:
        return
    needed = images_needed(dataset, calibration=calibration, test=test)
    told = [f"{n!r} has {c} {'image' if c == 1 else 'images'}" for n, c in rare.items()]
    more = f" and {len(told) - LISTED} more likewise" * (len(told) > LISTED)
    first = f"class {', '.join(told[:LISTED])}{more}"
    raise DataError(
        f"{dataset.name}: {first}, too few for each of {needed} parts to get one; give every class "
        f"at least {needed}, or leave such classes out with train --drop-rare"
    )


def drop_rare(
    dataset: Dataset, *, calibration: float, test: float, reporter: Reporter
) -> tuple[Dataset, tuple[str, ...]]:
    """Leave out the classes that cannot be split, from all parts.

    Returns:
        The rest, and the names of the classes that are left out.

    Raises:
        DataError: Fewer than two classes are left.
    """
    rare = rare_classes(dataset, calibration=calibration, test=test)
    if not rare:
        return dataset, ()
    left = len(dataset.classes) - len(rare)
    told = ", ".join(f"{name} ({count})" for name, count in [*rare.items()][:LISTED])
    more = ", ..." * (len(rare) > LISTED)
    if left < 2:
        raise DataError(
            f"{dataset.name}: --drop-rare leaves {left} of {len(dataset.classes)} classes, and a "
            f"classifier needs two; add images to {told}{more}"
        )
    reporter.note(
        f"{dataset.name}: {len(rare)} of {len(dataset.classes)} classes have too few images, and "
        f"are left out with them: {told}{more}"
    )
    return drop_classes(dataset, rare), tuple(rare)


def drop_classes(dataset: Dataset, names: Collection[str]) -> Dataset:
    """The data set without the images of some classes, in all its parts."""
    kept = _of_other_classes(dataset.train, names)
    return replace(
        dataset,
        train=_without(dataset.train, names),
        test=None if dataset.test is None else _without(dataset.test, names),
        base=None if dataset.base is None else drop_classes(dataset.base, names),
        validation=None if dataset.validation is None else dataset.validation[kept],
    )


def _of_other_classes(images: ImageSet, names: Collection[str]) -> torch.Tensor:
    known = torch.tensor([name not in names for name in images.classes], dtype=torch.bool)
    return known[images.require_labels()].nonzero().flatten()


def _without(images: ImageSet, names: Collection[str]) -> ImageSet:
    own = images.subset(_of_other_classes(images, names))
    classes = tuple(name for name in images.classes if name not in names)
    place = torch.tensor([classes.index(n) if n in classes else -1 for n in images.classes])
    return replace(own, labels=place[own.require_labels()], classes=classes)
