"""Groups of a classifier's images: those that it was trained by, and those of other data."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nescio.classifier.classifier import Classifier
from nescio.data import Dataset, Grouping, ImageSet, Splits, count_groups, group_images, of_groups
from nescio.data.split import PARTS
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter


def with_groups(
    classifier: Classifier,
    dataset: Dataset,
    grouping: Grouping | None,
    reporter: Reporter = SILENT,
) -> Dataset:
    """The data set with the groups that are asked for; else with those that the classifier knows.

    Args:
        classifier: Which may have been trained by groups: then these are its own images' again,
            and those of other data are found as its own were, where a pattern found them.
        dataset: Any; groups that it brings are kept.
        grouping: What is asked for.
        reporter: Told where groups of other data are not known.

    Raises:
        DataError: An image has no group, of those that are asked for.
    """
    record = classifier.record
    if grouping is not None:
        return group_images(dataset, grouping, reporter)
    if record.grouped is None or dataset.train.groups is not None:
        return dataset
    own = Grouping(record.grouped.pattern) if record.grouped.pattern is not None else None
    try:
        found = group_images(dataset, own)
    except DataError:
        found = dataset
    if record.groups is not None and dataset.train.fingerprint() == record.fingerprint:
        return replace(found, train=replace(found.train, groups=record.groups))
    if found.train.groups is None:
        reporter.note(
            f"{dataset.name}: the model was trained by groups of images, and which of these belong "
            "together is not known, so each counts by itself; evaluate and calibrate are told by "
            "--group-by or --groups"
        )
    return found


def check_calibration(classifier: Classifier, images: ImageSet, splits: Splits | None) -> None:
    """See that thresholds are not set from groups that were trained on.

    Args:
        classifier: The one to calibrate.
        images: To calibrate it by.
        splits: The parts of the data that it was trained on, where ``images`` are of these.

    Raises:
        DataError: Some are of such a group.
    """
    if images.groups is None:
        return
    if splits is not None:
        shared = of_groups(images, [splits.train])
    else:
        shared = torch.isin(images.groups, _seen(classifier))
    if bool(shared.any()):
        raise DataError(
            f"{images.name}: {int(shared.sum()):,} of {len(images):,} images (the first is "
            f"{images.image_name(int(shared.nonzero()[0]))}) are of groups that the model was "
            "trained on, so thresholds set from them would guarantee nothing about new groups; "
            + (
                "train it with --group-by or --groups"
                if classifier.record.groups is None
                else "leave them out"
            )
        )


def tell_judged_groups(classifier: Classifier, images: ImageSet, reporter: Reporter) -> None:
    """Note what groups mean for figures: images of groups that were seen, and few groups."""
    if images.groups is None:
        return
    groups = count_groups(images)
    if groups < len(images):
        reporter.note(
            f"{images.name}: {len(images):,} images of {groups:,} groups; intervals count images, "
            "so they are too narrow where images of a group are alike"
        )
    seen = torch.isin(images.groups, _seen(classifier))
    if bool(seen.any()):
        reporter.note(
            f"{images.name}: {int(seen.sum()):,} of {len(images):,} images (the first is "
            f"{images.image_name(int(seen.nonzero()[0]))}) are of groups that were trained or "
            "calibrated on, too: figures on them say nothing about new groups"
        )


def _seen(classifier: Classifier) -> Tensor:
    """The groups that the classifier was trained or calibrated on."""
    record = classifier.record
    if record.groups is None or record.parts is None:
        return torch.zeros(0, dtype=torch.int64)
    return record.groups[record.parts != PARTS.index("test")]
