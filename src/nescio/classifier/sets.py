"""Which images a classifier may be judged on, may be calibrated on, and should refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from nescio.classifier.classifier import Classifier
from nescio.data import Dataset, ImageSet, adapt, all_images, load, split
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

Source: TypeAlias = Dataset | ImageSet | str | Path


def familiar_set(
    classifier: Classifier, data: Source, reporter: Reporter = SILENT, *, seed: int | None = None
) -> ImageSet:
    """The part of ``data`` that the classifier may be judged on.

    Its own test split, less extra images that were trained on; or, of the very data that the
    model was trained on, the part that training left out; or, of any other data, all images
    that were not trained on. Of a shifted set the same images count, shifted. An
    :class:`ImageSet` counts as it is. Labels are brought to the order of the classifier's classes.

    Args:
        classifier: The one to judge.
        data: The set, its name or path.
        reporter: Told of progress.
        seed: Of a shift; ``None`` for the seed that the classifier was fitted with.

    Raises:
        DataError: It has classes that the model does not know, or no image is left.
    """
    if isinstance(data, ImageSet):
        return _match_classes(classifier, data)
    dataset = _as_dataset(classifier, data, reporter, seed)
    if dataset.test is not None:
        test = dataset.test
        if classifier.record.extra_images:
            # They may come from anywhere, even from another set's test split.
            original = test if dataset.base is None else all_images(dataset.base)
            test = test.subset(_unseen(classifier, original, reporter))
        return _match_classes(classifier, test)
    # What an image was before a shift tells whether it was trained on.
    indices = _left_out(classifier, dataset.base or dataset, reporter)
    return _match_classes(classifier, dataset.train.subset(indices))


def common_familiar_sets(
    classifiers: Sequence[Classifier],
    data: Source,
    reporter: Reporter = SILENT,
    *,
    seed: int | None = None,
) -> list[ImageSet]:
    """The images of ``data`` that all the classifiers may be judged on, as each sees them.

    Args:
        classifiers: One or more.
        data: The set, its name or path.
        reporter: Told of progress, and of images that only some may be judged on.
        seed: Of a shift; ``None`` for the seed that each was fitted with.

    Raises:
        DataError: Every image was seen by one of them, or see :func:`familiar_set`.
    """
    sets = [familiar_set(each, data, reporter, seed=seed) for each in classifiers]
    names = [[each.image_name(i) for i in range(len(each))] for each in sets]
    shared = set(names[0]).intersection(*names[1:])
    if not shared:
        raise DataError(
            f"{sets[0].name}: each of its images was used to train or calibrate one of the models; "
            "compare them on images new to all, or train them with one --seed"
        )
    if any(len(each) > len(shared) for each in sets):
        reporter.note(
            f"{sets[0].name}: compared on the {len(shared)} images that were held out of every "
            "model; models trained with one --seed share all that were"
        )
    return [
        images.subset(torch.tensor([i for i, name in enumerate(own) if name in shared]))
        for images, own in zip(sets, names, strict=True)
    ]


def calibration_set(classifier: Classifier, data: Source, reporter: Reporter = SILENT) -> ImageSet:
    """The part of ``data`` that thresholds may be set from, again.

    Of the very data that the model was trained on, the part that was kept for calibration; of
    any other data, all images but those of its test split. An :class:`ImageSet` counts as it is.

    Raises:
        DataError: The model was trained on some of them, they have classes that the model does
            not know, or no image is left.
        UsageError: It is a shifted set.
    """
    if not isinstance(data, ImageSet):
        dataset = _as_dataset(classifier, data, reporter)
        dataset.require_unshifted()
        record = classifier.record
        if dataset.train.fingerprint() == record.fingerprint:
            parts = split(
                dataset,
                seed=record.seed,
                calibration=classifier.recipe.calibration,
                test=record.test_fraction,
            )
            return _match_classes(classifier, parts.calibration)
        data = dataset.train
    adapted = replace(data, images=adapt(data.images, classifier.preprocessing))
    seen = torch.isin(adapted.hashes(), classifier.record.seen)
    if bool(seen.any()):
        first = int(seen.nonzero()[0])
        raise DataError(
            f"{data.name}: {int(seen.sum())} of {len(data)} images were used to train the model "
            f"(the first is {data.image_name(first)}); thresholds set from them would promise "
            "what does not hold. Leave them out"
        )
    return _match_classes(classifier, data)


def shifted_sets(
    classifier: Classifier,
    sources: Sequence[Source],
    reporter: Reporter = SILENT,
    *,
    seed: int | None = None,
) -> dict[str, ImageSet]:
    """Out-of-distribution sets by name; a name that comes twice is numbered.

    Args:
        classifier: The one to judge.
        sources: The sets, their names or paths.
        reporter: Told of progress.
        seed: Of sets that are made at run time, and of shifts; ``None`` for the seed that the
            classifier was fitted with.
    """
    sets: dict[str, ImageSet] = {}
    for source in sources:
        images = _shifted_set(classifier, source, reporter, seed)
        name, count = images.name, 2
        while name in sets:
            name, count = f"{images.name}-{count}", count + 1
        sets[name] = images
    return sets


def _as_dataset(
    classifier: Classifier,
    data: Dataset | str | Path,
    reporter: Reporter,
    seed: int | None = None,
) -> Dataset:
    if isinstance(data, Dataset):
        return data
    return load(
        data,
        preprocessing=classifier.preprocessing,
        seed=classifier.record.seed if seed is None else seed,
        reporter=reporter,
    )


def _shifted_set(
    classifier: Classifier, source: Source, reporter: Reporter, seed: int | None
) -> ImageSet:
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, Dataset):
        return all_images(source)
    return all_images(
        load(
            source,
            labelled=False,
            preprocessing=classifier.preprocessing,
            seed=classifier.record.seed if seed is None else seed,
            reporter=reporter,
        )
    )


def _left_out(classifier: Classifier, dataset: Dataset, reporter: Reporter) -> Tensor:
    """Which images of a set without a test split were not trained on, ``(n,)`` int64."""
    record = classifier.record
    if dataset.train.fingerprint() == record.fingerprint:
        parts = split(
            dataset,
            seed=record.seed,
            calibration=classifier.recipe.calibration,
            test=record.test_fraction,
        )
        assert parts.test_indices is not None  # noqa: S101 - it has no test split of its own
        return parts.test_indices
    return _unseen(classifier, dataset.train, reporter)


def _unseen(classifier: Classifier, images: ImageSet, reporter: Reporter) -> Tensor:
    adapted = replace(images, images=adapt(images.images, classifier.preprocessing))
    seen = torch.isin(adapted.hashes(), classifier.record.seen)
    count = int(seen.sum())
    if count == len(images):
        raise DataError(
            f"{images.name}: the model was trained on every one of these {count} images; "
            "evaluate on others"
        )
    if count:
        reporter.note(
            f"{images.name}: {count} of {len(images)} images were trained on and are left out"
        )
    return (~seen).nonzero().flatten()


def _match_classes(classifier: Classifier, images: ImageSet) -> ImageSet:
    labels = images.require_labels()
    classes = classifier.classes
    if images.classes == classes:
        return images
    unknown = [name for name in images.classes if name not in classes]
    if unknown:
        more = ", ..." if len(classes) > 12 else ""
        raise DataError(
            f"{images.name}: class {unknown[0]!r} is not one of the model's {len(classes)} "
            f"classes ({', '.join(classes[:12])}{more})"
        )
    order = torch.tensor([classes.index(name) for name in images.classes])
    return replace(images, labels=order[labels], classes=classes)
