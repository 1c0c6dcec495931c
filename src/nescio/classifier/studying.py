"""A whole study of a classifier: a judgement, images to show, and corruptions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nescio.classifier.classifier import SAMPLES, Classifier
from nescio.classifier.judging import Judgement, RuleLike, decide_each, judge, known_labels
from nescio.classifier.specimens import choose_specimens
from nescio.data import CORRUPTIONS, SEVERITIES, ImageSet, parse_shift, shift_set
from nescio.errors import UsageError
from nescio.evaluation import RESAMPLES, CorruptionCurve, Grade, JudgedSet, Study, exact_share
from nescio.evaluation.figures import count_reasons, judged_set, share
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, numpy_generator
from nescio.refusal import Decisions, Rule

CORRUPTED_IMAGES = 1000
"""Test images that are shown to a model at each severity, unless told otherwise."""


def make_study(
    classifier: Classifier,
    test: ImageSet,
    shifted: Mapping[str, ImageSet],
    *,
    rules: Sequence[RuleLike] = (None,),
    samples: int = SAMPLES,
    seed: int | None = None,
    resamples: int = RESAMPLES,
    corruptions: Sequence[str] = (),
    corrupted_images: int = CORRUPTED_IMAGES,
    name: str = "",
    command: str = "",
    reporter: Reporter = SILENT,
) -> Study:
    """Judge a classifier, and keep all that tables and a report are drawn from.

    Args:
        classifier: The one to judge.
        test: Labelled familiar images, see :func:`nescio.classifier.familiar_set`.
        shifted: Out-of-distribution sets by name, see :func:`nescio.classifier.shifted_sets`.
        rules: Rules or their names, the first in force; ``None`` for the classifier's own.
        samples: How many networks are drawn.
        seed: Of the networks and of the bootstrap; ``None`` for the classifier's.
        resamples: Of the bootstrap behind each interval that is not exact.
        corruptions: Names of corruptions to judge in all severities, see
            :func:`choose_corruptions`.
        corrupted_images: How many test images each severity is judged on.
        name: What to call the model beside others.
        command: What makes this study again.
        reporter: Told of progress.

    Raises:
        DataError: A set is empty, or the test set has no labels.
        UsageError: A corruption is unknown, or a number is too small.
    """
    judgement = judge(
        classifier,
        test,
        shifted,
        rule=rules[0],
        also=rules[1:],
        samples=samples,
        seed=seed,
        resamples=resamples,
        reporter=reporter,
    )
    return complete_study(
        classifier,
        judgement,
        rule=rules[0],
        corruptions=corruptions,
        corrupted_images=corrupted_images,
        name=name,
        command=command,
        reporter=reporter,
    )


def complete_study(
    classifier: Classifier,
    judgement: Judgement,
    *,
    rule: RuleLike = None,
    corruptions: Sequence[str] = (),
    corrupted_images: int = CORRUPTED_IMAGES,
    name: str = "",
    command: str = "",
    reporter: Reporter = SILENT,
) -> Study:
    """The study of a judgement, with images to show and with corruptions.

    Arguments as of :func:`make_study`; ``rule`` is the first that was judged.
    """
    study, start = judgement.study, time.perf_counter()
    specimens = choose_specimens(classifier, judgement)
    seconds = {**study.seconds, "galleries": round(time.perf_counter() - start, 3)}
    start = time.perf_counter()
    curves = corruption_curves(
        classifier,
        judgement,
        classifier.choose_rule(rule),
        corruptions,
        images=corrupted_images,
        reporter=reporter,
    )
    if curves:
        seconds["corruptions"] = round(time.perf_counter() - start, 3)
    return replace(
        study,
        model=replace(study.model, name=name or study.model.name),
        specimens=specimens,
        curves=curves,
        command=command,
        seconds=seconds,
    )


def choose_corruptions(text: str | None) -> tuple[str, ...]:
    """The corruptions that ``all``, or names with commas, such as ``blur,jpeg``, stand for.

    Raises:
        UsageError: There is none of that name.
    """
    if text is None:
        return ()
    names = tuple(CORRUPTIONS) if text == "all" else tuple(text.split(","))
    for name in names:
        if name not in CORRUPTIONS:
            raise UsageError(
                f"--corruptions {text}: no corruption is called {name!r}; expected all, or some "
                f"of {', '.join(CORRUPTIONS)}, with commas"
            )
    return names


def corruption_curves(
    classifier: Classifier,
    judgement: Judgement,
    rule: Rule,
    corruptions: Sequence[str],
    *,
    images: int = CORRUPTED_IMAGES,
    reporter: Reporter = SILENT,
) -> dict[str, CorruptionCurve]:
    """What the classifier makes of test images that go bad by degrees.

    Args:
        classifier: The one to ask.
        judgement: Its judgement on the test images; severity 0 is read from it.
        rule: The rule that it was judged by.
        corruptions: Their names.
        images: How many test images each severity is judged on: a seeded sample, one for all.
        reporter: Told of progress.

    Raises:
        UsageError: A corruption is unknown, or ``images`` is below 1.
    """
    if not corruptions:
        return {}
    if images < 1:
        raise UsageError(f"--corruption-images must be at least 1, got {images}")
    study = judgement.study
    places = _sample(len(judgement.test), images, study.seed)
    few = judgement.test.subset(places)
    clean = _grade(0, _labelled(classifier, few, judgement.decisions.take(places)))
    curves = {}
    with reporter.task(
        "corruptions", len(corruptions) * len(SEVERITIES) * len(few), "images"
    ) as task:
        for name in corruptions:
            grades = [clean]
            for severity in SEVERITIES:
                shift = parse_shift(f"{name}:{severity}")
                changed = shift_set(few, shift, study.seed)
                (decisions,) = decide_each(
                    classifier, changed, [rule], samples=study.samples, seed=study.seed
                )
                grades.append(_grade(severity, _labelled(classifier, changed, decisions)))
                task.advance(len(few))
            description = CORRUPTIONS[name].description
            curves[name] = CorruptionCurve(name, description, len(few), tuple(grades))
    return curves


def _sample(total: int, count: int, seed: int) -> Tensor:
    """Places of ``count`` images, in rising order; all of them where there are not more."""
    chosen = numpy_generator(seed, Stream.SUBSET).permutation(total)[:count]
    return torch.from_numpy(np.sort(chosen))


def _labelled(classifier: Classifier, images: ImageSet, decisions: Decisions) -> JudgedSet:
    return judged_set(images.name, [decisions], labels=known_labels(classifier, images))


def _grade(severity: int, judged: JudgedSet) -> Grade:
    answers, accepted = judged.answers[0], judged.answers[0].accepted
    right = answers.top == judged.labels
    return Grade(
        severity=severity,
        answered=share(accepted.sum(), len(judged)),
        accepted_accuracy=exact_share(int((right & accepted).sum()), int(accepted.sum())),
        forced_accuracy=share((judged.forced == judged.labels).sum(), len(judged)),
        reasons=count_reasons(answers.fate),
    )
