"""Which images a classifier may be judged on, may be calibrated on, and should refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nescio.classifier.classifier import Classifier
from nescio.classifier.grouped import check_calibration, tell_judged_groups, with_groups
from nescio.data import (
    DataLike,
    Dataset,
    Grouping,
    ImageSet,
    ImagesLike,
    Reading,
    Splits,
    adapt,
    all_images,
    drop_classes,
    parts_of,
    read_data_like,
    sources_of,
    split,
    split_by,
)
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

UNKNOWN = "unknown classes"
"""What the images of classes that a model lacks are called."""


def familiar_set(
    classifier: Classifier,
    data: DataLike,
    reporter: Reporter = SILENT,
    *,
    seed: int | None = None,
    reading: Reading | None = None,
    grouping: Grouping | None = None,
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
        reading: What is asked of files, see :class:`nescio.data.Reading`.
        grouping: Which images belong together; ``None`` for what the classifier knows of that.

    Raises:
        DataError: It has classes that the model does not know, or no image is left.
    """
    return _match_classes(
        classifier,
        _judged(classifier, data, reporter, seed=seed, reading=reading, grouping=grouping),
    )


def familiar_and_unknown(
    classifier: Classifier,
    data: DataLike,
    reporter: Reporter = SILENT,
    *,
    seed: int | None = None,
    reading: Reading | None = None,
    grouping: Grouping | None = None,
) -> tuple[ImageSet, ImageSet | None]:
    """As :func:`familiar_set`; and apart from it the images of classes that the model lacks.

    Returns:
        The images of known classes; and those that it should refuse, as a set called
        :data:`UNKNOWN`, or ``None`` where there are none.

    Raises:
        DataError: No image is of a class that the model knows.
    """
    images = _judged(classifier, data, reporter, seed=seed, reading=reading, grouping=grouping)
    known = torch.tensor([name in classifier.classes for name in images.classes], dtype=torch.bool)
    familiar = known[images.require_labels()]
    if not bool(familiar.any()):
        raise DataError(f"{images.name}: none of its images is of a class that the model knows")
    if bool(familiar.all()):
        return _match_classes(classifier, _only(images, familiar)), None
    unknown = images.subset((~familiar).nonzero().flatten())
    return _match_classes(classifier, _only(images, familiar)), replace(unknown, name=UNKNOWN)


def _only(images: ImageSet, chosen: Tensor) -> ImageSet:
    """The images of a mask ``(N,)``, and only the classes that they have."""
    own = images.subset(chosen.nonzero().flatten())
    present = own.require_labels().unique()
    place = torch.searchsorted(present, own.require_labels())
    return replace(own, labels=place, classes=tuple(own.classes[i] for i in present.tolist()))


def _judged(
    classifier: Classifier,
    data: DataLike,
    reporter: Reporter,
    *,
    seed: int | None,
    reading: Reading | None,
    grouping: Grouping | None,
) -> ImageSet:
    """The images that the classifier may be judged on, with the classes of their set."""
    if isinstance(data, ImageSet):
        return data
    dataset = _as_dataset(classifier, data, reporter, seed, reading)
    dataset = with_groups(classifier, dataset, grouping, reporter)
    judged = _judged_of(classifier, dataset, reporter)
    tell_judged_groups(classifier, judged, reporter)
    return judged


def _judged_of(classifier: Classifier, dataset: Dataset, reporter: Reporter) -> ImageSet:
    if dataset.test is not None:
        test = dataset.test
        original = test if dataset.base is None else all_images(dataset.base)
        if classifier.record.extra_images:
            # They may come from anywhere, even from another set's test split.
            test = test.subset(_unseen(classifier, original, reporter))
        else:
            _tell_seen(classifier, original, reporter)
        return test
    # What an image was before a shift tells whether it was trained on.
    indices = _left_out(classifier, dataset.base or dataset, reporter)
    return dataset.train.subset(indices)


def common_familiar_sets(
    classifiers: Sequence[Classifier],
    data: DataLike,
    reporter: Reporter = SILENT,
    *,
    seed: int | None = None,
    reading: Reading | None = None,
) -> list[ImageSet]:
    """The images of ``data`` that all the classifiers may be judged on, as each sees them.

    Args:
        classifiers: One or more.
        data: The set, its name or path.
        reporter: Told of progress, and of images that only some may be judged on.
        seed: Of a shift; ``None`` for the seed that each was fitted with.
        reading: What is asked of files, see :class:`nescio.data.Reading`.

    Raises:
        DataError: Every image was seen by one of them, or see :func:`familiar_set`.
    """
    sets = [familiar_set(c, data, reporter, seed=seed, reading=reading) for c in classifiers]
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


def calibration_set(
    classifier: Classifier,
    data: DataLike,
    reporter: Reporter = SILENT,
    *,
    reading: Reading | None = None,
    grouping: Grouping | None = None,
) -> ImageSet:
    """The part of ``data`` that thresholds may be set from, again.

    Of the very data that the model was trained on, the part that was kept for calibration; of
    any other data, its validation part, or else all images but those of its test split. An
    :class:`ImageSet` counts as it is.

    Args:
        classifier: The one to calibrate.
        data: The set, its name or path.
        reporter: Told of progress.
        reading: What is asked of files, see :class:`nescio.data.Reading`.
        grouping: Which images belong together; ``None`` for what the classifier knows of that.

    Raises:
        DataError: The model was trained on some of them, or on others of their groups, they have
            classes that the model does not know, or no image is left.
        UsageError: It is a shifted set.
    """
    if not isinstance(data, ImageSet):
        dataset = _as_dataset(classifier, data, reporter, reading=reading)
        dataset.require_unshifted()
        dataset = with_groups(classifier, dataset, grouping, reporter)
        if dataset.train.fingerprint() == classifier.record.fingerprint:
            splits = _parts(classifier, dataset)
            check_calibration(classifier, splits.calibration, splits)
            return _match_classes(classifier, splits.calibration)
        data = dataset.train
        if dataset.validation is not None:  # what the set itself holds out for this
            data = data.subset(dataset.validation.nonzero().flatten())
    adapted = replace(data, images=adapt(data.images, classifier.preprocessing))
    seen = torch.isin(adapted.hashes(), classifier.record.seen)
    if bool(seen.any()):
        first = int(seen.nonzero()[0])
        raise DataError(
            f"{data.name}: {int(seen.sum())} of {len(data)} images were used to train the model "
            f"(the first is {data.image_name(first)}); thresholds set from them would promise "
            "what does not hold. Leave them out"
        )
    check_calibration(classifier, data, None)
    return _match_classes(classifier, data)


def shifted_sets(
    classifier: Classifier,
    sources: Sequence[DataLike] | Mapping[str, ImagesLike] | DataLike,
    reporter: Reporter = SILENT,
    *,
    seed: int | None = None,
    reading: Reading | None = None,
) -> dict[str, ImageSet]:
    """Out-of-distribution sets by name; a name that comes twice is numbered.

    Args:
        classifier: The one to judge.
        sources: The sets, their names or paths.
        reporter: Told of progress.
        seed: Of sets that are made at run time, and of shifts; ``None`` for the seed that the
            classifier was fitted with.
        reading: What is asked of files.
    """
    sets: dict[str, ImageSet] = {}
    for source in sources_of(sources):
        images = _shifted_set(classifier, source, reporter, seed, reading)
        name, count = images.name, 2
        while name in sets:
            name, count = f"{images.name}-{count}", count + 1
        sets[name] = images
    return sets


def _as_dataset(
    classifier: Classifier,
    data: DataLike,
    reporter: Reporter,
    seed: int | None = None,
    reading: Reading | None = None,
) -> Dataset:
    # A class folder without images is nothing to stop at, where nothing is learnt.
    reading = replace(reading or Reading(), drop_rare=True)
    dataset = _read(classifier, data, reporter, seed, reading)
    return _without_dropped(classifier, dataset, reporter)


def _read(
    classifier: Classifier,
    data: DataLike,
    reporter: Reporter,
    seed: int | None,
    reading: Reading,
) -> Dataset:
    return read_data_like(
        data,
        replace(reading, preprocessing=classifier.preprocessing),
        seed=classifier.record.seed if seed is None else seed,
        classes=classifier.classes,
        reporter=reporter,
    )


def _without_dropped(classifier: Classifier, dataset: Dataset, reporter: Reporter) -> Dataset:
    """Of the very data that it was trained on, those without the classes that it left out."""
    dropped = set(classifier.record.dropped) & set(dataset.classes)
    if not dropped:
        return dataset
    rest = drop_classes(dataset, dropped)
    if (rest.base or rest).train.fingerprint() != classifier.record.fingerprint:
        return dataset
    reporter.note(
        f"{dataset.name}: {len(dropped)} classes that training left out with too few images are "
        f"left out here, too: {', '.join(sorted(dropped))}"
    )
    return rest


def _shifted_set(
    classifier: Classifier,
    source: DataLike,
    reporter: Reporter,
    seed: int | None,
    reading: Reading | None,
) -> ImageSet:
    reading = replace(reading or Reading(), labelled=False)
    return all_images(_read(classifier, source, reporter, seed, reading), reporter)


def _left_out(classifier: Classifier, dataset: Dataset, reporter: Reporter) -> Tensor:
    """Which images of a set without a test split were not trained on, ``(n,)`` int64."""
    record = classifier.record
    if dataset.train.fingerprint() == record.fingerprint:
        left_out = _parts(classifier, dataset).test_indices
        assert left_out is not None  # noqa: S101 - it has no test split of its own
        return left_out
    return _unseen(classifier, dataset.train, reporter)


def _parts(classifier: Classifier, dataset: Dataset) -> Splits:
    """The split that the classifier was trained by, of the same data set."""
    record = classifier.record
    if record.parts is not None:
        return split_by(dataset, record.parts)
    # It did not know of groups, whatever is known of them by now.
    splits = split(
        replace(dataset, train=replace(dataset.train, groups=None)),
        seed=record.seed,
        calibration=classifier.recipe.calibration,
        test=record.test_fraction,
    )
    return split_by(dataset, parts_of(splits))


def _unseen(classifier: Classifier, images: ImageSet, reporter: Reporter) -> Tensor:
    adapted = replace(images, images=adapt(images.images, classifier.preprocessing))
    seen = torch.isin(adapted.hashes(), classifier.record.seen)
    count = int(seen.sum())
    if count == len(images):
        raise DataError(
            f"{images.name}: the model was trained or calibrated on every one of "
            f"these {count} images; evaluate on others"
        )
    if count:
        reporter.note(
            f"{images.name}: {count} of {len(images)} images were trained or calibrated on, "
            "and are left out"
        )
    return (~seen).nonzero().flatten()


def _tell_seen(classifier: Classifier, test: ImageSet, reporter: Reporter) -> None:
    """Note images of a test split that training has seen too."""
    seen = torch.isin(test.hashes(), classifier.record.seen)
    if bool(seen.any()):
        first = test.image_name(int(seen.nonzero()[0]))
        reporter.note(
            f"{test.name}: {int(seen.sum())} of its {len(test)} test images were trained or "
            f"calibrated on, too (the first is {first}); figures look better than they are"
        )


def _match_classes(classifier: Classifier, images: ImageSet) -> ImageSet:
    images.require_labels()
    classes = classifier.classes
    unknown = [name for name in images.classes if name not in classes]
    if unknown:
        more = ", ..." if len(classes) > 12 else ""
        raise DataError(
            f"{images.name}: class {unknown[0]!r} is not one of the model's {len(classes)} "
            f"classes ({', '.join(classes[:12])}{more}); evaluate counts images of other classes "
            "as to be refused with --unknown-classes unfamiliar"
        )
    return images.among(classes)
