"""One evaluation: forced and selective figures on a test split, refusal elsewhere.

It is what ``evaluate --json`` prints of a study, under one of its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from nescio.evaluation.bootstrap import RESAMPLES
from nescio.evaluation.classes import class_figures
from nescio.evaluation.figures import forced_figures, judged_set, studied_rule
from nescio.evaluation.intervals import Interval
from nescio.evaluation.study import (
    CorruptionCurve,
    ForcedFigures,
    ShiftedFigures,
    StudiedRule,
    Study,
)
from nescio.refusal import Decisions, Rule


@dataclass(frozen=True)
class OutOfDistribution:
    """How a set that is not like the training images fared.

    Attributes:
        n: Its images.
        refused: Those without an answer.
        refusal_rate: Their share.
        auroc: Against the test split, by the rule's unfamiliarity score.
        aupr: Average precision, its images as positives.
        fpr95: Share let through when 95 % of the test split is.
        reasons: Refused images by reason.
        accepted_accuracy: Share right among those answered; ``None`` where there is none, or
            the set has no labels that the model knows.
        intervals: Of the plain numbers, by name.
    """

    n: int
    refused: int
    refusal_rate: Interval
    auroc: float
    aupr: float
    fpr95: float
    reasons: Mapping[str, int]
    accepted_accuracy: Interval | None
    intervals: Mapping[str, Interval]

    @staticmethod
    def of(figures: ShiftedFigures) -> OutOfDistribution:
        """From the figures of a study."""
        plain = {name: getattr(figures, name) for name in ("auroc", "aupr", "fpr95")}
        return OutOfDistribution(
            figures.n,
            figures.refused,
            figures.refusal_rate,
            **{name: interval.value for name, interval in plain.items()},
            reasons=figures.reasons,
            accepted_accuracy=figures.accepted_accuracy,
            intervals=plain,
        )

    def to_json(self) -> dict[str, Any]:
        """As in ``evaluate --json``."""
        return {
            "n": self.n,
            "refused": self.refused,
            "refusal_rate": self.refusal_rate.to_json(),
            "auroc": self.auroc,
            "aupr": self.aupr,
            "fpr95": self.fpr95,
            "accepted_accuracy": _optional(self.accepted_accuracy),
            "reasons": dict(self.reasons),
            "intervals": {name: each.to_json() for name, each in self.intervals.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """What a model does on a test split and on out-of-distribution sets.

    Attributes:
        data: The name of the test set.
        n: Its images.
        forced_accuracy: Share right when an answer is compulsory.
        coverage: Share answered.
        refused: How many were not.
        accepted_accuracy: Share right among those answered; ``None`` if there are none.
        aurc: Area under the risk-coverage curve, by the rule's ambiguity score.
        augrc: Area under the generalised risk-coverage curve.
        excess_aurc: AURC above that of the best ranking of as many errors.
        nll: Mean negative log-likelihood, in nats.
        brier: Mean Brier score, 0 to 2.
        ece: Expected calibration error, bins of equal width.
        ece_equal_mass: With bins of equally many images.
        classwise_ece: Mean over the classes of their own.
        risk_at_coverage: Error rate on that share of the least doubtful images.
        coverage_at_risk: Largest share that can be answered with at most that error rate.
        rule: The rule in force, as JSON.
        rule_text: The rule in plain words.
        reasons: Refused images by reason.
        ood: One entry for each out-of-distribution set.
        samples: How many networks were sampled.
        seed: Of those networks.
        intervals: Of the plain numbers, by name.
        resamples: Of the bootstrap behind those that are not exact.
        seconds: How long each part took.
    """

    data: str
    n: int
    forced_accuracy: Interval
    coverage: Interval
    refused: int
    accepted_accuracy: Interval | None
    aurc: float
    augrc: float
    excess_aurc: float
    nll: float
    brier: float
    ece: float
    ece_equal_mass: float
    classwise_ece: float
    risk_at_coverage: Mapping[float, Interval]
    coverage_at_risk: Mapping[float, Interval]
    rule: Mapping[str, Any]
    rule_text: str
    reasons: Mapping[str, int]
    ood: Mapping[str, OutOfDistribution]
    samples: int
    seed: int
    intervals: Mapping[str, Interval]
    resamples: int
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that ``evaluate --json`` prints."""
        written = {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "forced_accuracy": self.forced_accuracy.to_json(),
            "coverage": self.coverage.to_json(),
            "accepted_accuracy": _optional(self.accepted_accuracy),
            "risk_at_coverage": _by_level(self.risk_at_coverage),
            "coverage_at_risk": _by_level(self.coverage_at_risk),
            "rule": dict(self.rule),
            "reasons": dict(self.reasons),
            "ood": {name: result.to_json() for name, result in self.ood.items()},
            "intervals": {name: each.to_json() for name, each in self.intervals.items()},
            "seconds": dict(self.seconds),
        }
        del written["rule_text"]
        return written


def evaluation_of(study: Study, rule: int = 0) -> Evaluation:
    """What a study says of one of its rules.

    Args:
        study: The study.
        rule: The place of the rule in :attr:`Study.rules`.
    """
    return _evaluation(
        (study.test.name, len(study.test)),
        study.forced,
        study.rules[rule],
        samples=study.samples,
        seed=study.seed,
        resamples=study.resamples,
        seconds=study.seconds,
    )


def results_json(study: Study) -> dict[str, Any]:
    """The object that ``evaluate --json`` prints.

    That of the first rule (:meth:`Evaluation.to_json`); where there are several, ``rules`` has
    all of them by name, and where there are corruptions, ``corruptions`` has their grades.
    ``classes`` has the figures of each class (:func:`nescio.evaluation.class_figures`).
    """
    first, *others = (
        evaluation_of(study, place).to_json() | {"classes": _classes_json(study, place)}
        for place in range(len(study.rules))
    )
    more: dict[str, Any] = {}
    if others:
        names = [rule.name for rule in study.rules]
        more["rules"] = dict(
            zip(
                names, ({key: each[key] for key in RULED} for each in (first, *others)), strict=True
            )
        )
    if study.curves:
        more["corruptions"] = {name: _curve_json(curve) for name, curve in study.curves.items()}
    return {**first, **more}


RULED = (
    "rule",
    "classes",
    "coverage",
    "refused",
    "accepted_accuracy",
    "aurc",
    "augrc",
    "excess_aurc",
    "risk_at_coverage",
    "coverage_at_risk",
    "reasons",
    "ood",
    "intervals",
)
"""What of an evaluation hangs on the rule."""


def _classes_json(study: Study, rule: int) -> dict[str, Any]:
    return {each.name: each.to_json() for each in class_figures(study, rule)}


def _curve_json(curve: CorruptionCurve) -> dict[str, Any]:
    return {
        "images": curve.images,
        "grades": [
            {
                "severity": grade.severity,
                "coverage": grade.answered.to_json(),
                "accepted_accuracy": _optional(grade.accepted_accuracy),
                "forced_accuracy": grade.forced_accuracy.to_json(),
                "reasons": dict(grade.reasons),
            }
            for grade in curve.grades
        ],
    }


def summarise(
    data: str,
    labels: Tensor,
    decisions: Decisions,
    rule: Rule,
    ood: Mapping[str, Decisions],
    *,
    seed: int,
    seconds: Mapping[str, float],
    ood_labels: Mapping[str, Tensor | None] | None = None,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Count what the decisions were worth.

    Args:
        data: The name of the test set.
        labels: ``(N,)`` int64, its true labels.
        decisions: The decisions on it.
        rule: The rule that made them.
        ood: Decisions on each out-of-distribution set, by name.
        seed: Of the sampled networks.
        seconds: How long each part took.
        ood_labels: The labels of those sets that have some of these classes, by name.
        resamples: Of the bootstrap.

    Raises:
        DataError: The test set or an out-of-distribution set is empty.
    """
    test = judged_set(data, [decisions], labels=labels)
    known = ood_labels or {}
    shifted = {name: judged_set(name, [each], labels=known.get(name)) for name, each in ood.items()}
    return _evaluation(
        (data, len(test)),
        forced_figures(test, resamples=resamples, seed=seed),
        studied_rule(rule, 0, test, shifted, resamples=resamples, seed=seed),
        samples=int(test.samples.max()),
        seed=seed,
        resamples=resamples,
        seconds=seconds,
    )


def _evaluation(
    data: tuple[str, int],
    forced: ForcedFigures,
    rule: StudiedRule,
    *,
    samples: int,
    seed: int,
    resamples: int,
    seconds: Mapping[str, float],
) -> Evaluation:
    figures = rule.figures
    plain = {
        **{name: getattr(figures, name) for name in ("aurc", "augrc", "excess_aurc")},
        **{f.name: getattr(forced, f.name) for f in fields(forced) if f.name != "accuracy"},
    }
    return Evaluation(
        *data,
        forced_accuracy=forced.accuracy,
        coverage=figures.coverage,
        refused=figures.refused,
        accepted_accuracy=figures.accepted_accuracy,
        **{name: interval.value for name, interval in plain.items()},
        risk_at_coverage=figures.risk_at_coverage,
        coverage_at_risk=figures.coverage_at_risk,
        rule=rule.record,
        rule_text=rule.text,
        reasons=figures.reasons,
        ood={name: OutOfDistribution.of(other) for name, other in rule.shifted.items()},
        samples=samples,
        seed=seed,
        intervals=plain,
        resamples=resamples,
        seconds=seconds,
    )


def _by_level(figures: Mapping[float, Interval]) -> dict[str, dict[str, float]]:
    return {f"{level:g}": interval.to_json() for level, interval in figures.items()}


def _optional(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.to_json()
