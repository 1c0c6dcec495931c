"""Evaluation: exact intervals, metrics, and the figures of one evaluation.

Read in this order: :mod:`intervals`, :mod:`metrics`, :mod:`evaluation`.
"""

from nescio.evaluation.evaluation import Evaluation, OutOfDistribution, count_reasons, summarise
from nescio.evaluation.intervals import Interval, exact_share
from nescio.evaluation.metrics import (
    area_under_risk_coverage,
    auroc,
    expected_calibration_error,
    fpr_at_95_tpr,
    negative_log_likelihood,
)

__all__ = [
    "Evaluation",
    "Interval",
    "OutOfDistribution",
    "area_under_risk_coverage",
    "auroc",
    "count_reasons",
    "exact_share",
    "expected_calibration_error",
    "fpr_at_95_tpr",
    "negative_log_likelihood",
    "summarise",
]
