"""Figures of refusal as scikit-learn's scorers: functions of ``(estimator, X, y)``.

All go through pipelines and searches to the estimator that decides. Larger is better, so the
area under the risk-coverage curve has its sign turned, as scikit-learn's losses have::

    cross_validate(pipeline, X, y, scoring=selective_scores)
    GridSearchCV(estimator, grid, scoring=neg_aurc)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nescio.errors import UsageError
from nescio.evaluation import area_under_risk_coverage
from nescio.refusal import Decisions


def decide(estimator: Any, X: Any) -> Decisions:
    """The decisions of a fitted estimator, pipeline or search.

    Args:
        estimator: A :class:`nescio.NescioClassifier`; a pipeline that ends with one, whose other
            steps then transform ``X``; or a fitted search with either as its best estimator.
        X: What its ``predict`` takes.

    Raises:
        UsageError: What it ends with does not decide.
    """
    last, X = _last_step(estimator, X)
    return last.decide(X)  # type: ignore[no-any-return]


def selective_scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """All of these figures from one sampling, for ``scoring`` of several.

    Args:
        estimator: See :func:`decide`.
        X: Images that it was not fitted to.
        y: ``(N,)`` their classes. One that was not in the fit is answered wrongly or refused.

    Returns:
        ``coverage``, ``accepted_accuracy`` and ``neg_aurc``, see the functions of these names.
    """
    last, X = _last_step(estimator, X)
    verdicts = last.decide(X)
    correct = last.classes_[verdicts.verdicts.top.numpy()] == np.asarray(y)
    accepted = verdicts.accepted.numpy()
    doubt = verdicts.verdicts.ambiguity.numpy()
    return {
        "coverage": float(accepted.mean()),
        "accepted_accuracy": float(correct[accepted].mean()) if accepted.any() else float("nan"),
        "neg_aurc": -area_under_risk_coverage(correct, doubt),
    }


def coverage(estimator: Any, X: Any, y: Any = None) -> float:  # noqa: ARG001 - a scorer's signature
    """The share of images that are answered.

    Args:
        estimator: See :func:`decide`.
        X: Images that it was not fitted to.
        y: Not used.
    """
    return float(decide(estimator, X).accepted.numpy().mean())


def accepted_accuracy(estimator: Any, X: Any, y: Any) -> float:
    """The share of the answered images that are answered rightly; NaN where none is answered.

    Args:
        estimator: See :func:`decide`.
        X: Images that it was not fitted to.
        y: ``(N,)`` their classes.
    """
    return selective_scores(estimator, X, y)["accepted_accuracy"]


def neg_aurc(estimator: Any, X: Any, y: Any) -> float:
    """Minus the area under the risk-coverage curve (:func:`area_under_risk_coverage`).

    It judges the order of doubt alone, whatever the thresholds.

    Args:
        estimator: See :func:`decide`.
        X: Images that it was not fitted to.
        y: ``(N,)`` their classes.
    """
    return selective_scores(estimator, X, y)["neg_aurc"]


def _last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """What decides, and what it takes."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if hasattr(estimator, "steps"):
        before = estimator[:-1]
        return _last_step(estimator[-1], before.transform(X) if len(before) else X)
    if not hasattr(estimator, "decide"):
        raise UsageError(
            f"{type(estimator).__name__} does not decide; give a NescioClassifier, a pipeline that "
            "ends with one, or a fitted search"
        )
    return estimator, X
