"""Figures of merit: pure functions of labels, probabilities and scores.

Axes: ``N`` images, ``C`` classes. The libraries that compute them are imported when
they are first used: prediction needs none, and they take a second to import.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ECE_BINS = 15
"""Bins of equal width, as in Guo et al. 2017."""

SMALLEST_PROBABILITY = float(torch.finfo(torch.float32).tiny)
"""A probability that rounded to 0 counts as this one, so that one image costs at most
87.3 nats and never infinitely many."""


def negative_log_likelihood(labels: Tensor, probability: Tensor) -> float:
    """Mean of -log p(label), in nats.

    Args:
        labels: ``(N,)`` int64.
        probability: ``(N, C)`` predictive probabilities.
    """
    of_label = probability.gather(1, labels[:, None]).double()
    return float(-of_label.clamp_min(SMALLEST_PROBABILITY).log().mean())


def expected_calibration_error(labels: Tensor, probability: Tensor) -> float:
    """ECE: mean gap between confidence and accuracy over 15 bins of equal width.

    Args:
        labels: ``(N,)`` int64.
        probability: ``(N, C)`` predictive probabilities.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    # Rounding may leave a sum of probabilities a hair above 1, which torchmetrics
    # would take for logits.
    return float(
        multiclass_calibration_error(
            probability.clamp(0.0, 1.0), labels, probability.shape[1], n_bins=ECE_BINS, norm="l1"
        )
    )


def area_under_risk_coverage(correct: Tensor, doubt: Tensor) -> float:
    """AURC: the mean, over n = 1..N, of the error rate on the n least doubtful images.

    Geifman, Uziel & El-Yaniv 2019, *Bias-reduced uncertainty estimation for deep
    neural classifiers*. Images of equal doubt are in no order: each counts with the
    mean error of its group, which is the expectation over random orders.

    Args:
        correct: ``(N,)`` bool.
        doubt: ``(N,)``, larger for images to be refused earlier.
    """
    errors = (~correct).double().cpu().numpy()
    _, group = np.unique(doubt.double().cpu().numpy(), return_inverse=True)
    group_error = np.bincount(group, weights=errors) / np.bincount(group)
    ordered = group_error[np.sort(group)]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())


def auroc(familiar: Tensor, unfamiliar: Tensor) -> float:
    """The chance that an unfamiliar image scores above a familiar one; ties count half.

    Args:
        familiar: ``(N,)`` scores, larger is stranger.
        unfamiliar: ``(M,)`` scores of out-of-distribution images.
    """
    from sklearn.metrics import roc_auc_score

    truth, scores = _stack(familiar, unfamiliar)
    return float(roc_auc_score(truth, scores))


def fpr_at_95_tpr(familiar: Tensor, unfamiliar: Tensor) -> float:
    """FPR95: the share of unfamiliar images let through when 95 % of familiar ones are.

    Familiar images are the positives, as in OpenOOD (Yang et al. 2022); the strictest
    threshold that lets at least 95 % of them through counts.

    Args:
        familiar: ``(N,)`` scores, larger is stranger.
        unfamiliar: ``(M,)`` scores of out-of-distribution images.
    """
    from sklearn.metrics import roc_curve

    truth, scores = _stack(familiar, unfamiliar)
    fpr, tpr, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)
    return float(fpr[np.argmax(tpr >= 0.95)])


def _stack(
    familiar: Tensor, unfamiliar: Tensor
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.float64]]
]:
    truth = np.repeat(np.array([0, 1]), [len(familiar), len(unfamiliar)])
    return truth, torch.cat([familiar, unfamiliar]).double().cpu().numpy()
