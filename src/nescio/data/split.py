"""Split once, by seed, into disjoint parts: train, calibration, test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nescio.data.images import Dataset, ImageSet
from nescio.errors import DataError
from nescio.randomness import Stream, numpy_generator


@dataclass(frozen=True)
class Splits:
    """Three disjoint parts of a data set.

    Attributes:
        train: What the posterior is fitted to.
        calibration: Held out of training, for thresholds; may be empty.
        test: For ``evaluate`` alone.
        train_indices: Which of the set's training images ``train`` holds, ``(n,)``.
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

    Args:
        dataset: Labelled; its own test split is used as it is.
        seed: Of the choice. The same data, seed and shares give the same parts.
        calibration: The share of the training images to keep for calibration, 0 for none.
        test: The share of all images to leave out for test.

    Raises:
        DataError: A class has too few images for each part to get one.
    """
    labels = dataset.train.require_labels().numpy()
    generator = numpy_generator(seed, Stream.SPLIT)
    test = 0.0 if dataset.test is not None else test
    parts: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int64]]]]
    parts = {"train": [], "calibration": [], "test": []}
    for number, name in enumerate(dataset.classes):
        members = generator.permutation(np.flatnonzero(labels == number))
        left_out = _count(len(members), test)
        calibrating = _count(len(members) - left_out, calibration)
        needed = 1 + (test > 0) + (calibration > 0)
        if len(members) < needed:
            raise DataError(
                f"{dataset.name}: class {name!r} has {len(members)} images, too few for each "
                f"of its {needed} splits; give it at least {needed}"
            )
        parts["test"].append(members[:left_out])
        parts["calibration"].append(members[left_out : left_out + calibrating])
        parts["train"].append(members[left_out + calibrating :])
    if dataset.test is not None:
        _check_own_test(dataset, dataset.test)
    index = {name: torch.from_numpy(np.sort(np.concatenate(p))) for name, p in parts.items()}
    return Splits(
        train=dataset.train.subset(index["train"]),
        calibration=dataset.train.subset(index["calibration"]),
        test=dataset.train.subset(index["test"]) if dataset.test is None else dataset.test,
        train_indices=index["train"],
        calibration_indices=index["calibration"],
        test_indices=index["test"] if dataset.test is None else None,
    )


def _count(members: int, share: float) -> int:
    """How many of a class's images go into a part: at least one, if there is a part."""
    return 0 if share == 0 else max(1, round(members * share))


def _check_own_test(dataset: Dataset, test: ImageSet) -> None:
    present = torch.bincount(test.require_labels(), minlength=len(dataset.classes))
    missing = (present == 0).nonzero().flatten().tolist()
    if missing:
        raise DataError(
            f"{dataset.name}: class {dataset.classes[missing[0]]!r} has no images in the test "
            "split; add some"
        )
