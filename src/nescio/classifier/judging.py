"""Judge a classifier: on images that it may be judged on, and on strange ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from nescio.classifier.classifier import SAMPLES, Classifier
from nescio.data import Dataset, ImageSet, adapt, all_images, load, split
from nescio.errors import DataError
from nescio.evaluation import Evaluation, summarise
from nescio.progress import SILENT, Reporter
from nescio.refusal import Decisions, Rule

Source: TypeAlias = Dataset | ImageSet | str | Path


@dataclass(frozen=True)
class Judgement:
    """An evaluation with the decisions that it counts.

    Attributes:
        evaluation: The figures.
        test: The test images.
        decisions: The decisions on them.
        shifted: The out-of-distribution sets with the decisions on them, by name.
    """

    evaluation: Evaluation
    test: ImageSet
    decisions: Decisions
    shifted: Mapping[str, tuple[ImageSet, Decisions]]


def familiar_set(classifier: Classifier, data: Source, reporter: Reporter = SILENT) -> ImageSet:
    """The part of ``data`` that the classifier may be judged on.

    Its own test split, less extra images that were trained on; or, of the very data that the
    model was trained on, the part that training left out; or, of any other data, all images
    that were not trained on. Of a shifted set the same images count, shifted. An
    :class:`ImageSet` counts as it is. Labels are brought to the order of the classifier's classes.

    Raises:
        DataError: It has classes that the model does not know, or no image is left.
    """
    if isinstance(data, ImageSet):
        return _match_classes(classifier, data)
    dataset = _as_dataset(classifier, data, reporter)
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
    classifier: Classifier, sources: Sequence[Source], reporter: Reporter = SILENT
) -> dict[str, ImageSet]:
    """Out-of-distribution sets by name; a name that comes twice is numbered."""
    sets: dict[str, ImageSet] = {}
    for source in sources:
        images = _shifted_set(classifier, source, reporter)
        name, count = images.name, 2
        while name in sets:
            name, count = f"{images.name}-{count}", count + 1
        sets[name] = images
    return sets


def judge(
    classifier: Classifier,
    test: ImageSet,
    shifted: Mapping[str, ImageSet],
    *,
    rule: Rule | str | None = None,
    samples: int = SAMPLES,
    seed: int | None = None,
    reporter: Reporter = SILENT,
) -> Judgement:
    """Decide on every set, and count what the decisions were worth.

    Args:
        classifier: The one to judge.
        test: Labelled familiar images, see :func:`familiar_set`.
        shifted: Out-of-distribution sets by name, see :func:`shifted_sets`.
        rule: A rule or its name; ``None`` for the one in force.
        samples: How many networks are drawn.
        seed: Of the networks; ``None`` for the seed that the classifier was fitted with.
        reporter: Told of progress.
    """
    chosen = classifier.choose_rule(rule)
    seed = classifier.record.seed if seed is None else seed
    labels = test.require_labels()
    seconds: dict[str, float] = {}

    def decide(images: ImageSet, name: str) -> Decisions:
        start = time.perf_counter()
        decisions = classifier.decide(
            images, rule=chosen, samples=samples, seed=seed, reporter=reporter, description=name
        )
        seconds[name] = round(time.perf_counter() - start, 3)
        return decisions

    decisions = decide(test, test.name)
    others = {name: decide(images, name) for name, images in shifted.items()}
    evaluation = summarise(test.name, labels, decisions, chosen, others, seed=seed, seconds=seconds)
    return Judgement(
        evaluation, test, decisions, {name: (shifted[name], d) for name, d in others.items()}
    )


def _as_dataset(classifier: Classifier, data: Dataset | str | Path, reporter: Reporter) -> Dataset:
    if isinstance(data, Dataset):
        return data
    return load(
        data,
        preprocessing=classifier.preprocessing,
        seed=classifier.record.seed,
        reporter=reporter,
    )


def _shifted_set(classifier: Classifier, source: Source, reporter: Reporter) -> ImageSet:
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, Dataset):
        return all_images(source)
    return all_images(
        load(
            source,
            labelled=False,
            preprocessing=classifier.preprocessing,
            seed=classifier.record.seed,
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
