"""One evaluation: forced and selective figures on a test split, refusal elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nescio.errors import DataError
from nescio.evaluation.intervals import Interval, exact_share
from nescio.evaluation.metrics import (
    area_under_risk_coverage,
    auroc,
    expected_calibration_error,
    fpr_at_95_tpr,
    negative_log_likelihood,
)
from nescio.refusal import Decisions, Reason, Rule


@dataclass(frozen=True)
class OutOfDistribution:
    """How a set that is not like the training images fared.

    Attributes:
        n: Its images.
        refused: Those without an answer.
        refusal_rate: Their share.
        auroc: Against the test split, by the rule's unfamiliarity score.
        fpr95: Share let through when 95 % of the test split is.
        reasons: Refused images by reason.
    """

    n: int
    refused: int
    refusal_rate: Interval
    auroc: float
    fpr95: float
    reasons: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As in ``evaluate --json``."""
        return {
            "n": self.n,
            "refused": self.refused,
            "refusal_rate": self.refusal_rate.to_json(),
            "auroc": self.auroc,
            "fpr95": self.fpr95,
            "reasons": dict(self.reasons),
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
        nll: Mean negative log-likelihood, in nats.
        ece: Expected calibration error.
        rule: The rule in force, as JSON.
        rule_text: The rule in plain words.
        reasons: Refused images by reason.
        ood: One entry for each out-of-distribution set.
        samples: How many networks were sampled.
        seed: Of those networks.
        seconds: How long each part took.
    """

    data: str
    n: int
    forced_accuracy: Interval
    coverage: Interval
    refused: int
    accepted_accuracy: Interval | None
    aurc: float
    nll: float
    ece: float
    rule: Mapping[str, Any]
    rule_text: str
    reasons: Mapping[str, int]
    ood: Mapping[str, OutOfDistribution]
    samples: int
    seed: int
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that ``evaluate --json`` prints."""
        accepted = self.accepted_accuracy
        return {
            "data": self.data,
            "n": self.n,
            "forced_accuracy": self.forced_accuracy.to_json(),
            "coverage": self.coverage.to_json(),
            "refused": self.refused,
            "accepted_accuracy": None if accepted is None else accepted.to_json(),
            "aurc": self.aurc,
            "nll": self.nll,
            "ece": self.ece,
            "rule": dict(self.rule),
            "reasons": dict(self.reasons),
            "ood": {name: result.to_json() for name, result in self.ood.items()},
            "samples": self.samples,
            "seed": self.seed,
            "seconds": dict(self.seconds),
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

    Raises:
        DataError: The test set or an out-of-distribution set is empty.
    """
    accepted = decisions.accepted
    right = decisions.verdicts.top == labels
    forced = exact_share(int((decisions.forced == labels).sum()), len(labels))
    coverage = exact_share(int(accepted.sum()), len(labels))
    if forced is None or coverage is None:
        raise DataError(f"{data}: no image to evaluate on")
    return Evaluation(
        data=data,
        n=len(labels),
        forced_accuracy=forced,
        coverage=coverage,
        refused=decisions.refused,
        accepted_accuracy=exact_share(int((right & accepted).sum()), int(accepted.sum())),
        aurc=area_under_risk_coverage(right, decisions.verdicts.ambiguity),
        nll=negative_log_likelihood(labels, decisions.probability),
        ece=expected_calibration_error(labels, decisions.probability),
        rule=rule.to_json(),
        rule_text=rule.describe(),
        reasons=count_reasons(decisions),
        ood={name: _shifted(name, decisions, other) for name, other in ood.items()},
        samples=int(decisions.samples.max()),
        seed=seed,
        seconds=seconds,
    )


def count_reasons(decisions: Decisions) -> dict[str, int]:
    """How many images were refused for each reason."""
    return {
        Reason.AMBIGUOUS.value: int(decisions.verdicts.ambiguous.sum()),
        Reason.UNFAMILIAR.value: int(decisions.verdicts.unfamiliar.sum()),
    }


def _shifted(name: str, familiar: Decisions, shifted: Decisions) -> OutOfDistribution:
    rate = exact_share(shifted.refused, len(shifted))
    if rate is None:
        raise DataError(f"{name}: no image to evaluate on")
    scores = familiar.verdicts.unfamiliarity, shifted.verdicts.unfamiliarity
    return OutOfDistribution(
        n=len(shifted),
        refused=shifted.refused,
        refusal_rate=rate,
        auroc=auroc(*scores),
        fpr95=fpr_at_95_tpr(*scores),
        reasons=count_reasons(shifted),
    )
