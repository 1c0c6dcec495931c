"""What a report shows of classes: their figures, their refusals, what is taken for what."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nescio.evaluation import ClassFigures, Interval, class_figures, exact_share
from nescio.evaluation.study import AMBIGUOUS, UNFAMILIAR, Column, Study
from nescio.report.sections import Bar, share
from nescio.report.words import listed

MATRIX_CLASSES = 30
"""With more classes the confusion matrix is a list of its largest errors instead."""

LONGEST_LIST = 20
"""Lines of such a list."""

OPEN_CLASSES = 20
"""With more classes the table of their figures begins folded."""

NOTHING = "\u2013"
"""A share of nothing."""


def class_bars(study: Study) -> list[Bar]:
    """Refusals by true class: all classes, or of many those with the largest share."""
    labels, fate = study.test.labels, study.test.answers[0].fate
    assert labels is not None  # noqa: S101 - a test set has labels
    size = len(study.classes)
    totals, ambiguous, unfamiliar = (
        np.bincount(labels[mask], minlength=size)
        for mask in (slice(None), fate == AMBIGUOUS, fate == UNFAMILIAR)
    )
    refused = ambiguous + unfamiliar
    order = list(range(size))
    if size > MATRIX_CLASSES:
        shares = refused / np.maximum(totals, 1)
        order = [int(c) for c in np.argsort(-shares, kind="stable")[:LONGEST_LIST] if refused[c]]
    return [
        Bar(
            study.classes[c],
            int(totals[c]),
            int(ambiguous[c]),
            int(unfamiliar[c]),
            exact_share(int(refused[c]), int(totals[c])),
        )
        for c in order
    ]


@dataclass(frozen=True)
class ClassRow:
    """Figures of one class in words, each with its exact interval.

    Attributes:
        name: The class.
        n: Its images.
        forced: The share right if it always had to answer.
        refused: The share refused.
        wrong: The share wrong among those answered.
    """

    name: str
    n: int
    forced: str
    refused: str
    wrong: str


def class_rows(study: Study) -> list[ClassRow]:
    """Every class under the rule in force: those that it answers worst if forced come first."""

    def place(each: ClassFigures) -> float:
        # A class without images, of which nothing is known, comes last.
        return math.inf if each.forced_accuracy is None else each.forced_accuracy.value

    return [
        ClassRow(
            each.name,
            each.n,
            _share(each.forced_accuracy, each.n),
            _share(each.coverage and each.coverage.complement, each.n),
            _share(each.accepted_accuracy and each.accepted_accuracy.complement, each.n),
        )
        for each in sorted(class_figures(study), key=place)
    ]


def _share(interval: Interval | None, n: int) -> str:
    return NOTHING if interval is None else share(interval, n)


@dataclass(frozen=True)
class Confusion:
    """What was taken for what.

    Attributes:
        rows: ``C`` rows of counts, the last of each "I don't know"; empty where there are too
            many classes for a table.
        largest: The commonest errors: how often, what it is, what was answered.
        errors: How many answers were wrong.
        never: Sentences on classes that were never answered, or have no image.
    """

    rows: tuple[tuple[int, ...], ...]
    largest: tuple[tuple[int, str, str], ...]
    errors: int
    never: tuple[str, ...]


def confusion(study: Study) -> Confusion:
    """Count answers by true class."""
    counts = study.confusion()
    names = study.classes
    wrong = counts[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:LONGEST_LIST].tolist()
    pairs = [divmod(cell, len(names)) for cell in order]
    largest = [(int(wrong[a, b]), names[a], names[b]) for a, b in pairs if wrong[a, b]]
    small = len(names) <= MATRIX_CLASSES
    return Confusion(
        rows=tuple(map(tuple, counts.tolist())) if small else (),
        largest=tuple(largest),
        errors=int(wrong.sum()),
        never=tuple(_never(study, counts.sum(1) > 0, counts[:, :-1].sum(0) > 0)),
    )


def _never(study: Study, present: Column, answered: Column) -> list[str]:
    absent = [name for name, here in zip(study.classes, present, strict=True) if not here]
    silent = [
        name
        for name, here, said in zip(study.classes, present, answered, strict=True)
        if here and not said
    ]
    sentences = []
    if absent:
        sentences.append(f"There was no image of {listed(absent)}.")
    if silent and len(silent) < len(study.classes):
        sentences.append(f"It never answered {listed(silent)}.")
    return sentences
