"""Which risks could be promised: what calibration saw, kept, and a table of thresholds.

Thresholds that hold for all classes together need three numbers of each calibration image. A model
that keeps these can set them for another promise without the images.

Each row of the table is a promise by itself. Whoever looks at several and takes the one that
pleases has chosen by the very images that should show that it holds. With each of ``m`` rows at a
confidence of ``1 - (1 - P) / m`` all of them hold at once with ``P`` (Bonferroni), so any may be
chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nescio.refusal.calibrated import DOUBT, CalibratedOn, CalibratedRule
from nescio.refusal.gates import CalibrationScores, calibrate

RISKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The error rates of the table."""


@dataclass(frozen=True)
class KeptScores:
    """What promises for all classes together need to know of ``N`` calibration images.

    Their order is that of calibration: the first of them choose candidates for thresholds.

    Attributes:
        unfamiliarity: ``(N,)`` of the nearest class, in nats.
        doubt: ``(N,)``, by the rule's score of ambiguity.
        wrong: ``(N,)`` bool, whether each was answered wrongly.

    Raises:
        ValueError: They are not such numbers, or not of the same images.
    """

    unfamiliarity: Tensor
    doubt: Tensor
    wrong: Tensor

    def __post_init__(self) -> None:
        scores = (self.unfamiliarity, self.doubt)
        if self.wrong.ndim != 1 or any(s.shape != self.wrong.shape for s in scores):
            raise ValueError("the scores of calibration are not one of each kind for each image")
        if self.wrong.dtype != torch.bool or not all(s.is_floating_point() for s in scores):
            raise ValueError("the scores of calibration are of another type")

    def __len__(self) -> int:
        return len(self.wrong)

    @staticmethod
    def of(scores: CalibrationScores) -> KeptScores:
        """Those of ``scores``, in the same order."""
        nearest = scores.unfamiliarity.min(-1).values
        return KeptScores(nearest, scores.doubt.clone(), scores.top != scores.labels)

    def tensors(self) -> dict[str, Tensor]:
        """By the names of the model file."""
        return {"unfamiliarity": self.unfamiliarity, "doubt": self.doubt, "wrong": self.wrong}

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> KeptScores:
        """What :meth:`tensors` gave.

        Raises:
            KeyError: One is missing.
            ValueError: They are not such numbers.
        """
        return KeptScores(tensors["unfamiliarity"], tensors["doubt"], tensors["wrong"])

    def scores(self) -> CalibrationScores:
        """As calibration takes them, with one class for all: 0 is answered, and 1 where wrong."""
        right = torch.zeros(len(self), dtype=torch.int64)
        return CalibrationScores(self.unfamiliarity[:, None], self.doubt, self.wrong.long(), right)


@dataclass(frozen=True)
class PromiseRow:
    """A promise, and what it costs.

    Attributes:
        rule: Which makes it; it answers nothing where no threshold keeps it.
        coverage: The share of all calibration images that the rule answers.
    """

    rule: CalibratedRule
    coverage: float

    @property
    def max_risk(self) -> float:
        """The promised error rate."""
        assert self.rule.max_risk is not None  # noqa: S101 - every row promises one
        return self.rule.max_risk

    @property
    def kept(self) -> bool:
        """Whether there is a threshold that keeps the promise."""
        return self.rule.keeps_promise

    def to_json(self) -> dict[str, Any]:
        """The row as JSON; a threshold that lets all pass is "all", one that lets none "none"."""
        rule = self.rule.to_json()
        return {
            "max_risk": rule["max_risk"],
            "confidence": rule["confidence"],
            "max_refusal": rule["max_refusal"],
            "unfamiliar": rule["unfamiliar"][0],
            "doubtful": rule["doubtful"][0],
            "accepted": rule["accepted"][0],
            "errors": rule["errors"][0],
            "coverage": self.coverage,
            "images": self.rule.calibrated_on.images,
        }


def promise_table(
    kept: KeptScores,
    calibrated_on: CalibratedOn,
    *,
    max_refusal: float,
    confidence: float = 0.95,
    risks: Sequence[float] = RISKS,
    doubt: str = DOUBT,
) -> tuple[PromiseRow, ...]:
    """The thresholds that :func:`nescio.refusal.calibrate` sets for each of several risks.

    Args:
        kept: What calibration saw.
        calibrated_on: What that belongs to.
        max_refusal: The share of familiar images that the familiarity gate may refuse.
        confidence: Of each row by itself.
        risks: The error rates to promise.
        doubt: The name of the score of ambiguity.

    Raises:
        RuleError: A share is outside (0, 1).
    """
    scores = kept.scores()
    return tuple(
        _row(
            kept,
            calibrate(
                scores,
                calibrated_on,
                max_refusal=max_refusal,
                max_risk=risk,
                confidence=confidence,
                doubt=doubt,
            ),
        )
        for risk in risks
    )


def _row(kept: KeptScores, rule: CalibratedRule) -> PromiseRow:
    answered = ~(kept.unfamiliarity > _as(kept.unfamiliarity, rule.unfamiliar[0]))
    answered &= ~(kept.doubt > _as(kept.doubt, rule.doubtful[0]))
    return PromiseRow(rule, int(answered.sum()) / max(1, len(kept)))


def _as(scores: Tensor, limit: float) -> Tensor:
    """A threshold in the precision in which the rule compares it."""
    return torch.tensor(limit, dtype=scores.dtype)
