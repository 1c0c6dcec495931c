"""Figures of merit, one by one: functions of labels, probabilities and scores.

Axes: ``N`` images, ``M`` shifted images, ``C`` classes. A study computes all of them at once,
with intervals (:mod:`nescio.evaluation.figures`); these are for use alone. Arrays may be PyTorch
tensors or NumPy arrays. NaN, shapes that do not fit, and labels that are no classes raise
:class:`nescio.DataError`: no figure comes of them.
"""

from __future__ import annotations

import numpy as np

from nescio.evaluation.bootstrap import Array, observed
from nescio.evaluation.calibration import BINS, Classwise, EqualMass, EqualWidth, brier, log_loss
from nescio.evaluation.checks import (
    Values,
    bins_of,
    labelled,
    same_length,
    scores,
    share,
    truths,
)
from nescio.evaluation.detection import Detection
from nescio.evaluation.selective import Selective


def negative_log_likelihood(labels: Values, probability: Values) -> float:
    """Mean of -log p(label), in nats.

    Args:
        labels: ``(N,)`` integers.
        probability: ``(N, C)`` predictive probabilities.
    """
    truth, values = labelled(labels, probability)
    return float(log_loss(values[np.arange(len(truth)), truth]).mean())


def brier_score(labels: Values, probability: Values) -> float:
    """Mean Brier score, 0 to 2: see :func:`nescio.evaluation.calibration.brier`.

    Args:
        labels: ``(N,)`` integers.
        probability: ``(N, C)`` predictive probabilities.
    """
    return float(brier(*labelled(labels, probability)).mean())


def expected_calibration_error(
    labels: Values, probability: Values, *, bins: int = BINS, equal_mass: bool = False
) -> float:
    """ECE: mean gap between confidence and accuracy over bins.

    Args:
        labels: ``(N,)`` integers.
        probability: ``(N, C)`` predictive probabilities.
        bins: How many.
        equal_mass: Whether bins have equally many images
            (:class:`nescio.evaluation.calibration.EqualMass`) or equal width
            (:class:`nescio.evaluation.calibration.EqualWidth`).
    """
    truth, values = labelled(labels, probability)
    right = values.argmax(1) == truth
    kind = EqualMass if equal_mass else EqualWidth
    return float(kind.of(values.max(1), right, bins_of(bins))(_ones(values))[0])


def classwise_calibration_error(labels: Values, probability: Values, *, bins: int = BINS) -> float:
    """Mean over classes of their own ECE: :class:`nescio.evaluation.calibration.Classwise`.

    Args:
        labels: ``(N,)`` integers.
        probability: ``(N, C)`` predictive probabilities.
        bins: How many, of equal width.
    """
    truth, values = labelled(labels, probability)
    return float(Classwise.of(truth, values, bins_of(bins))(_ones(values))[0])


def area_under_risk_coverage(correct: Values, doubt: Values) -> float:
    """AURC: the mean, over n = 1..N, of the error rate on the n least doubtful images.

    Geifman, Uziel & El-Yaniv 2019; ties are the expectation over random orders.

    Args:
        correct: ``(N,)`` bool.
        doubt: ``(N,)``, larger for images to be refused earlier.
    """
    return _selective(correct, doubt, "aurc")


def area_under_generalised_risk_coverage(correct: Values, doubt: Values) -> float:
    """AUGRC: the mean over thresholds of the share of all images that are answered wrongly.

    Traub et al. 2024. Arguments as of :func:`area_under_risk_coverage`.
    """
    return _selective(correct, doubt, "augrc")


def excess_area_under_risk_coverage(correct: Values, doubt: Values) -> float:
    """E-AURC: the AURC less that of the best ranking of as many errors.

    Geifman et al. 2019. Arguments as of :func:`area_under_risk_coverage`.
    """
    return _selective(correct, doubt, "excess_aurc")


def risk_at_coverage(correct: Values, doubt: Values, coverage: float) -> float:
    """Error rate on a share of the images, the least doubtful; their number is rounded up.

    Args:
        correct: ``(N,)`` bool.
        doubt: ``(N,)``, larger for images to be refused earlier.
        coverage: In (0, 1].
    """
    ranking = _ranking(correct, doubt, coverages=(share("coverage", coverage, positive=True),))
    return float(observed(ranking, len(correct))["risk_at_coverage"][0])


def coverage_at_risk(correct: Values, doubt: Values, risk: float) -> float:
    """The largest share that a threshold of doubt can answer with at most that error rate.

    Args:
        correct: ``(N,)`` bool.
        doubt: ``(N,)``, larger for images to be refused earlier.
        risk: In [0, 1].
    """
    ranking = _ranking(correct, doubt, risks=(share("risk", risk),))
    return float(observed(ranking, len(correct))["coverage_at_risk"][0])


def auroc(familiar: Values, unfamiliar: Values) -> float:
    """The chance that an unfamiliar image scores above a familiar one; ties count half.

    Args:
        familiar: ``(N,)`` scores, larger is stranger.
        unfamiliar: ``(M,)`` scores of out-of-distribution images.
    """
    return _detection(familiar, unfamiliar, "auroc")


def aupr(familiar: Values, unfamiliar: Values) -> float:
    """Average precision with the unfamiliar images as positives. Arguments as of :func:`auroc`."""
    return _detection(familiar, unfamiliar, "aupr")


def fpr_at_95_tpr(familiar: Values, unfamiliar: Values) -> float:
    """FPR95: the share of unfamiliar images let through when 95 % of familiar ones are.

    Familiar images are the positives, as in OpenOOD (Yang et al. 2022); the strictest
    threshold that lets at least 95 % of them through counts. Arguments as of :func:`auroc`.
    """
    return _detection(familiar, unfamiliar, "fpr95")


def _selective(correct: Values, doubt: Values, name: str) -> float:
    return float(observed(_ranking(correct, doubt), len(correct))[name])


def _ranking(
    correct: Values,
    doubt: Values,
    coverages: tuple[float, ...] = (),
    risks: tuple[float, ...] = (),
) -> Selective:
    right, order = truths("correct", correct), scores("doubt", doubt)
    same_length(correct=right, doubt=order)
    return Selective.of(right, order, coverages, risks)


def _detection(familiar: Values, unfamiliar: Values, name: str) -> float:
    both = Detection.of(scores("familiar", familiar), scores("unfamiliar", unfamiliar))
    return float(observed(both, len(familiar), len(unfamiliar))[name])


def _ones(values: Array) -> Array:
    return np.ones((1, len(values)))
