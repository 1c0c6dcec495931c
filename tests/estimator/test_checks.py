"""scikit-learn's own checks of an estimator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import nescio
from nescio import NescioClassifier

# The default on little data does not calibrate; with a share of a half, and refusals allowed that
# so few images can promise, it does.
CALIBRATING = NescioClassifier(
    partial(nescio.mlp, hidden=16), epochs=40, samples=20, calibration=0.4, max_refusal=0.3
)


@pytest.mark.slow
@parametrize_with_checks([CALIBRATING])
def test_all_checks_where_it_calibrates(estimator: NescioClassifier, check: Callable) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_all_checks_as_it_comes() -> None:
    results = check_estimator(NescioClassifier())
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    assert sum(r["status"] == "passed" for r in results) > 40
