"""The scikit-learn face: an estimator that refuses, and figures of refusal as its scores.

Read in this order: :mod:`inputs`, :mod:`labels`, :mod:`networks`, :mod:`notes`,
:mod:`settings`, :mod:`estimator`, :mod:`scoring`.
"""

from nescio.estimator.estimator import NescioClassifier
from nescio.estimator.scoring import (
    accepted_accuracy,
    coverage,
    decide,
    neg_aurc,
    selective_scores,
)

__all__ = [
    "NescioClassifier",
    "accepted_accuracy",
    "coverage",
    "decide",
    "neg_aurc",
    "selective_scores",
]
