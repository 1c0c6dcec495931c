"""How the two gates of the calibrated rule are set, from familiar images held out of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.refusal.breakeven import break_even
from nescio.refusal.calibrated import DOUBT, CalibratedOn, CalibratedRule
from nescio.refusal.calibration import conformal_threshold, images_needed
from nescio.refusal.frontier import Frontier, find_frontier
from nescio.refusal.risk import Certificate, certify


@dataclass(frozen=True)
class CalibrationScores:
    """What calibration needs to know of ``N`` familiar images held out of training.

    Their order must not depend on them: the first of them choose candidates for thresholds.

    Attributes:
        unfamiliarity: ``(N, C)``, of each class, see
            :func:`nescio.refusal.scores.class_unfamiliarity`.
        doubt: ``(N,)``, by the rule's score of ambiguity.
        top: ``(N,)`` int64, the answers.
        labels: ``(N,)`` int64, the truth.
    """

    unfamiliarity: Tensor
    doubt: Tensor
    top: Tensor
    labels: Tensor


def calibrate(
    scores: CalibrationScores,
    calibrated_on: CalibratedOn,
    *,
    max_refusal: float,
    max_risk: float | None = None,
    confidence: float = 0.95,
    per_class: bool = False,
    doubt: str = DOUBT,
) -> CalibratedRule:
    """Set both gates.

    The familiarity gate comes first; given its threshold the images that pass are again
    exchangeable, and the second gate is set by those. By the risk to promise, for which the
    first gate has the whole budget of refusals; or else with half of that budget, by both scores
    together (:func:`nescio.refusal.frontier.find_frontier`); or, where there are too few images
    to share, or too many that are hopeless, so that nothing is answered that is more likely wrong
    than right (:func:`nescio.refusal.breakeven.break_even`).

    Args:
        scores: Of the calibration images.
        calibrated_on: What they are.
        max_refusal: The share of familiar images that may be refused.
        max_risk: The error rate to promise among accepted images.
        confidence: With which it is promised.
        per_class: Whether both promises are made for each class: refusals for each true class,
            the risk for each class answered, all with the stated confidence at once.
        doubt: The name of the score of ambiguity.

    Raises:
        RuleError: A share is outside (0, 1).
    """
    most_doubt, beyond = math.inf, math.inf
    wrong = scores.top != scores.labels
    if doubt == "error_probability" and max_risk is None:
        most_doubt, beyond = 0.5, break_even(scores.doubt, wrong)
    strangeness = scores.unfamiliarity.min(-1).values
    shared = None
    hopeless = float((scores.doubt > beyond).double().mean())
    if max_risk is None and not per_class and hopeless <= max_refusal / 2:
        shared = _share(strangeness, scores.doubt, max_refusal, most_doubt)
    if shared is None:
        unfamiliar = _unfamiliar_limits(scores, max_refusal, per_class=per_class)
    else:
        unfamiliar = (shared[0],)
    limits = torch.tensor(unfamiliar, dtype=scores.unfamiliarity.dtype)
    passes = (scores.unfamiliarity <= limits).any(-1)
    certificates: list[Certificate | None] = []
    if max_risk is None:
        doubtful: tuple[float, ...] = (most_doubt if shared is not None else beyond,)
    else:
        classes = range(scores.unfamiliarity.shape[1])
        groups = [passes & (scores.top == c) for c in classes] if per_class else [passes]
        each = 1 - (1 - confidence) / len(groups)  # Bonferroni over the classes
        certificates = [
            certify(scores.doubt[own], wrong[own], max_risk=max_risk, confidence=each)
            for own in groups
        ]
        doubtful = tuple(-math.inf if c is None else c.threshold for c in certificates)
    return CalibratedRule(
        unfamiliar=unfamiliar,
        doubtful=doubtful,
        doubt=doubt,
        frontier=None if shared is None else shared[1],
        max_refusal=max_refusal,
        max_risk=max_risk,
        confidence=confidence,
        accepted=tuple(0 if c is None else c.accepted for c in certificates),
        errors=tuple(0 if c is None else c.errors for c in certificates),
        calibrated_on=calibrated_on,
    )


def _share(
    strangeness: Tensor, doubt: Tensor, max_refusal: float, most_doubt: float
) -> tuple[float, Frontier] | None:
    """Half of the budget for the strange alone; the rest by both scores, of those that pass."""
    if len(doubt) < images_needed(max_refusal / 2):
        return None
    limit = conformal_threshold(strangeness, max_refusal / 2)
    passed = strangeness <= limit
    frontier = find_frontier(strangeness[passed], doubt[passed], max_refusal / 2, most_doubt)
    return None if frontier is None else (limit, frontier)


def _unfamiliar_limits(
    scores: CalibrationScores, max_refusal: float, *, per_class: bool
) -> tuple[float, ...]:
    if not per_class:
        return (conformal_threshold(scores.unfamiliarity.min(-1).values, max_refusal),)
    # An image of class c is refused only if it is strange for every class, so for c.
    return tuple(
        conformal_threshold(own[scores.labels == c], max_refusal)
        for c, own in enumerate(scores.unfamiliarity.unbind(1))
    )
