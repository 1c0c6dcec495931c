import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nescio.evaluation import (
    Interval,
    area_under_risk_coverage,
    auroc,
    exact_share,
    expected_calibration_error,
    fpr_at_95_tpr,
    negative_log_likelihood,
)


@pytest.mark.parametrize(("count", "total"), [(0, 10), (10, 10), (3, 17), (8750, 10_000)])
def test_clopper_pearson_by_its_beta_quantiles(count: int, total: int) -> None:
    interval = exact_share(count, total)
    assert interval is not None
    low = stats.beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.value == count / total


def test_none_in_a_hundred() -> None:
    interval = exact_share(0, 100)
    assert interval is not None
    assert interval.high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert exact_share(0, 0) is None


def test_an_interval_covers_the_truth_often_enough() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for count in rng.binomial(40, 0.1, 2000):
        interval = exact_share(int(count), 40)
        assert interval is not None
        covered += interval.low <= 0.1 <= interval.high
    assert covered / 2000 >= 0.95


def test_percent_rounds_outwards() -> None:
    assert Interval(0.9612, 0.95678, 0.96514).percent() == "96.1 % [95.6, 96.6]"
    assert Interval(1.0, 0.9963, 1.0).percent(2) == "100.00 % [99.63, 100.00]"


def test_nll_by_hand() -> None:
    probability = torch.tensor([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]])
    assert negative_log_likelihood(torch.tensor([0, 1, 0]), probability) == pytest.approx(
        -(math.log(0.5) + math.log(0.9)) / 3
    )
    assert negative_log_likelihood(torch.tensor([1]), probability[2:]) == pytest.approx(
        126 * math.log(2)
    )


def test_ece_by_hand() -> None:
    # Two bins in use: confidence 0.95 with accuracy 3/4, confidence 0.55 with accuracy 1.
    probability = torch.tensor([[0.95, 0.05]] * 4 + [[0.55, 0.45]])
    labels = torch.tensor([0, 0, 0, 1, 0])
    by_hand = 4 / 5 * abs(0.95 - 0.75) + 1 / 5 * abs(0.55 - 1.0)
    assert expected_calibration_error(labels, probability) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("right", [True, False])
def test_ece_at_the_edges(right: bool) -> None:
    probability = torch.tensor([[1.0, 0.0]] * 3)
    labels = torch.full((3,), 0 if right else 1)
    assert expected_calibration_error(labels, probability) == pytest.approx(0.0 if right else 1.0)


def test_aurc_by_hand() -> None:
    # In order of doubt: right, wrong, right: risks 0, 1/2, 1/3.
    correct = torch.tensor([True, True, False])
    doubt = torch.tensor([0.1, 0.9, 0.5])
    assert area_under_risk_coverage(correct, doubt) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=8))
def test_aurc_with_ties_is_the_mean_over_orders(images: list[tuple[bool, int]]) -> None:
    correct = torch.tensor([right for right, _ in images])
    doubt = torch.tensor([float(d) for _, d in images])
    rng = np.random.default_rng(0)
    total = 0.0
    for _ in range(400):
        order = np.lexsort((rng.random(len(images)), doubt.numpy()))
        errors = np.cumsum(~correct.numpy()[order]) / np.arange(1, len(images) + 1)
        total += errors.mean()
    assert area_under_risk_coverage(correct, doubt) == pytest.approx(total / 400, abs=0.09)


@pytest.mark.parametrize(("right", "area"), [(True, 0.0), (False, 1.0)])
def test_aurc_at_the_edges(right: bool, area: float) -> None:
    assert area_under_risk_coverage(torch.tensor([right] * 5), torch.rand(5)) == area


scores = st.lists(st.integers(0, 5), min_size=1, max_size=12).map(lambda s: torch.tensor(s).float())


@given(scores, scores)
def test_auroc_counts_pairs(familiar: torch.Tensor, strange: torch.Tensor) -> None:
    pairs = [(s > f) + 0.5 * (s == f) for f, s in product(familiar.tolist(), strange.tolist())]
    assert auroc(familiar, strange) == pytest.approx(sum(pairs) / len(pairs))


@given(scores, scores)
def test_fpr95_by_trying_every_threshold(familiar: torch.Tensor, strange: torch.Tensor) -> None:
    thresholds = sorted(set(familiar.tolist()) | set(strange.tolist()))
    let_through = [
        float((strange <= t).float().mean())
        for t in thresholds
        if float((familiar <= t).double().mean()) >= 0.95
    ]
    assert fpr_at_95_tpr(familiar, strange) == pytest.approx(min(let_through))
