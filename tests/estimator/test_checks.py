"""scikit-learn's own checks of an estimator: some in a moment, all of them in the slow suite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

import nescio
from nescio import NescioClassifier

# On as little data as the checks have, the default calibrates hardly ever; with such a share, and
# refusals that so few images can promise, it does wherever a class has two.
CALIBRATING = NescioClassifier(
    partial(nescio.mlp, hidden=16),
    epochs=40,
    samples=20,
    rule="calibrated",
    calibration=0.3,
    max_refusal=0.3,
)
HASTY = NescioClassifier(partial(nescio.mlp, hidden=8), epochs=2, samples=4)
IN_A_MOMENT = {
    "check_complex_data",
    "check_dict_unchanged",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimators_empty_data_messages",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_estimator_sparse_array",
    "check_fit1d",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_methods_sample_order_invariance",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_requires_y_none",
    "check_supervised_y_2d",
    "check_supervised_y_no_nan",
}


def name_of(check: Callable) -> str:
    return check.func.__name__ if isinstance(check, partial) else check.__name__


def test_some_checks() -> None:
    run = set()
    for estimator, check in estimator_checks_generator(HASTY):
        if name_of(check) in IN_A_MOMENT:
            check(estimator)
            run.add(name_of(check))
    assert run == IN_A_MOMENT


# scikit-learn's own names of these hold the address of a function, which differs by process.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{number}-{name_of(check)}")
        for number, (estimator, check) in enumerate(estimator_checks_generator(CALIBRATING))
    ],
)
def test_all_checks_where_it_calibrates(estimator: NescioClassifier, check: Callable) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_all_checks_as_it_comes() -> None:
    results = check_estimator(NescioClassifier())
    statuses = [result["status"] for result in results]
    assert set(statuses) <= {"passed", "skipped"}
    assert statuses.count("passed") > 40
