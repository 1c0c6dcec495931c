"""Figures of each class: how often it is right, answered and refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nescio.evaluation.figures import count_reasons
from nescio.evaluation.intervals import Interval, exact_share
from nescio.evaluation.study import Study


@dataclass(frozen=True)
class ClassFigures:
    """What became of the images of one class; intervals are exact, each for itself.

    Attributes:
        name: The class.
        n: Its images in the test set.
        forced_accuracy: Share right when an answer is compulsory; ``None`` without images.
        coverage: Share answered; likewise.
        accepted_accuracy: Share right among those answered; ``None`` where there are none.
        reasons: Refused images by reason.
    """

    name: str
    n: int
    forced_accuracy: Interval | None
    coverage: Interval | None
    accepted_accuracy: Interval | None
    reasons: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As in ``evaluate --json``."""
        shares = {
            "forced_accuracy": self.forced_accuracy,
            "coverage": self.coverage,
            "accepted_accuracy": self.accepted_accuracy,
        }
        told = {name: None if each is None else each.to_json() for name, each in shares.items()}
        return {"n": self.n, **told, "reasons": dict(self.reasons)}


def class_figures(study: Study, rule: int = 0) -> tuple[ClassFigures, ...]:
    """The figures of every class of a study, in the order of the classes.

    Args:
        study: The study.
        rule: The place of the rule in :attr:`Study.rules`.
    """
    test, answers = study.test, study.test.answers[rule]
    assert test.labels is not None  # noqa: S101 - a test set has labels
    accepted, right = answers.accepted, answers.top == test.labels
    found = []
    for number, name in enumerate(study.classes):
        own = test.labels == number
        answered = own & accepted
        n = int(own.sum())
        found.append(
            ClassFigures(
                name,
                n,
                exact_share(int((test.forced == test.labels)[own].sum()), n),
                exact_share(int(answered.sum()), n),
                exact_share(int((answered & right).sum()), int(answered.sum())),
                count_reasons(answers.fate[own]),
            )
        )
    return tuple(found)
