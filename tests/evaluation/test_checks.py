"""Figures alone: what would become a silent number is an error instead."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nescio import DataError, UsageError
from nescio import evaluation as figures

LABELS = np.array([0, 1, 1, 0])
PROBABILITY = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
CORRECT = np.array([True, True, False, True])
DOUBT = np.array([0.1, 0.2, 0.4, 0.5])

OF_PROBABILITY: list[Callable[..., Any]] = [
    figures.negative_log_likelihood,
    figures.brier_score,
    figures.expected_calibration_error,
    figures.classwise_calibration_error,
]
OF_DOUBT: list[Callable[..., Any]] = [
    figures.area_under_risk_coverage,
    figures.area_under_generalised_risk_coverage,
    figures.excess_area_under_risk_coverage,
    lambda correct, doubt: figures.risk_at_coverage(correct, doubt, 0.5),
    lambda correct, doubt: figures.coverage_at_risk(correct, doubt, 0.1),
]
OF_SCORES: list[Callable[..., Any]] = [figures.auroc, figures.aupr, figures.fpr_at_95_tpr]


def with_entry(values: np.ndarray, value: float) -> np.ndarray:
    changed = values.astype(float)
    changed.flat[-1] = value
    return changed


@pytest.mark.parametrize("figure", OF_PROBABILITY)
def test_of_labels_and_probabilities(figure: Callable[..., Any]) -> None:
    value = figure(LABELS, PROBABILITY)
    for labels in (LABELS.astype(float), torch.from_numpy(LABELS).int(), LABELS.tolist()):
        assert figure(labels, PROBABILITY) == value
    rounded = torch.from_numpy(PROBABILITY).bfloat16()
    assert figure(LABELS, rounded) == pytest.approx(value, abs=0.02)
    for labels, probability, told in [
        (LABELS, with_entry(PROBABILITY, np.nan), "probability of image 3 is no probability"),
        (LABELS, with_entry(PROBABILITY, 3.5), "logits want a softmax first"),
        (LABELS, PROBABILITY[:, 0], r"must have shape \(N, C\)"),
        (LABELS[:3], PROBABILITY, "3 of labels and 4 of probability"),
        (LABELS + 1, PROBABILITY, "labels of image 1 is no class number from 0 to 1: 2"),
        (LABELS - 1, PROBABILITY, "labels of image 0 is no class number"),
        (LABELS + 0.5, PROBABILITY, "labels of image 0 is no class number"),
        (with_entry(LABELS, np.nan), PROBABILITY, "labels of image 3 is not a number"),
        (np.array(list("abba")), PROBABILITY, "labels must be numbers"),
        (LABELS[:0], PROBABILITY[:0], r"must have shape \(N, C\)"),
    ]:
        with pytest.raises(DataError, match=told):
            figure(labels, probability)


@pytest.mark.parametrize("figure", OF_DOUBT)
def test_of_correct_answers_and_doubt(figure: Callable[..., Any]) -> None:
    value = figure(CORRECT, DOUBT)
    assert figure(torch.from_numpy(CORRECT).int(), torch.from_numpy(DOUBT)) == value
    assert figure(CORRECT, with_entry(DOUBT, np.inf)) == value
    for correct, doubt, told in [
        (CORRECT, with_entry(DOUBT, np.nan), "doubt of image 3 is not a number"),
        (CORRECT * 2, DOUBT, "correct of image 0 is neither true nor false"),
        (CORRECT, DOUBT[:2], "4 of correct and 2 of doubt"),
        (CORRECT[:0], DOUBT[:0], "N at least 1"),
    ]:
        with pytest.raises(DataError, match=told):
            figure(correct, doubt)


@pytest.mark.parametrize("figure", OF_SCORES)
def test_of_scores(figure: Callable[..., Any]) -> None:
    assert figure(DOUBT, DOUBT + 1) == figure(DOUBT, np.full(2, np.inf))
    with pytest.raises(DataError, match="unfamiliar of image 3 is not a number"):
        figure(DOUBT, with_entry(DOUBT, np.nan))
    with pytest.raises(DataError, match="familiar must have shape"):
        figure(DOUBT[None], DOUBT)


def test_of_shares_and_bins() -> None:
    assert len(figures.reliability(DOUBT, CORRECT)) == 4
    with pytest.raises(DataError, match=r"confidence of image 3 is outside \[0, 1\]"):
        figures.reliability(with_entry(DOUBT, 7), CORRECT)
    with pytest.raises(DataError, match="not a number"):
        figures.reliability(with_entry(DOUBT, np.nan), CORRECT)
    for wrong in (0.0, 1.5, np.nan):
        with pytest.raises(UsageError, match=r"coverage must lie in \(0, 1\]"):
            figures.risk_at_coverage(CORRECT, DOUBT, wrong)
    with pytest.raises(UsageError, match=r"risk must lie in \[0, 1\]"):
        figures.coverage_at_risk(CORRECT, DOUBT, -0.1)
    with pytest.raises(UsageError, match="bins must be a whole number"):
        figures.expected_calibration_error(LABELS, PROBABILITY, bins=0)
