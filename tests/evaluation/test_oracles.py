"""Figures against other libraries, and against brute force by their definitions.

scikit-learn gives AUROC, average precision, log loss and FPR; torchmetrics the calibration
errors. torch-uncertainty cannot be installed without Lightning; its AURC and AUGRC are
trapezoids over coverages 1/n to 1, divided by 1 - 1/n, which is computed here from that
definition and agrees as n grows. AUGRC is also held to the identity of Traub et al. 2024, and
all of selective classification to random orders of the images.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from nescio.evaluation import (
    area_under_generalised_risk_coverage,
    area_under_risk_coverage,
    aupr,
    auroc,
    brier_score,
    classwise_calibration_error,
    coverage_at_risk,
    excess_area_under_risk_coverage,
    expected_calibration_error,
    fpr_at_95_tpr,
    negative_log_likelihood,
    reliability,
    risk_at_coverage,
)


def predictions(n: int, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probability = (3 * torch.randn(n, classes, generator=generator)).softmax(-1)
    return torch.randint(classes, (n,), generator=generator), probability


def ranking(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    doubt = rng.integers(0, 2 * n, n).astype(np.float32)
    return rng.random(n) > doubt / (3 * n), doubt


@pytest.mark.parametrize("n", [1, 7, 400])
def test_proper_scores_by_scikit_learn(n: int) -> None:
    labels, probability = predictions(n)
    classes = list(range(4))
    exact = probability.double().numpy()
    exact /= exact.sum(1, keepdims=True)
    assert negative_log_likelihood(labels, probability) == pytest.approx(
        sk.log_loss(labels, exact, labels=classes), rel=1e-5
    )
    if n > 1:
        assert brier_score(labels, probability) == pytest.approx(
            sk.brier_score_loss(labels, exact, labels=classes, scale_by_half=False), rel=1e-5
        )
    one_hot = torch.nn.functional.one_hot(labels, 4)
    by_hand = ((probability - one_hot) ** 2).sum(1).mean()
    assert brier_score(labels, probability) == pytest.approx(float(by_hand), rel=1e-5)


@pytest.mark.parametrize(("n", "bins"), [(1, 15), (7, 15), (500, 15), (500, 4)])
def test_calibration_errors_by_torchmetrics(n: int, bins: int) -> None:
    labels, probability = predictions(n, seed=n)
    assert expected_calibration_error(labels, probability, bins=bins) == pytest.approx(
        float(multiclass_calibration_error(probability, labels, 4, n_bins=bins)), abs=1e-6
    )
    # For each class alone torchmetrics takes the class's probability as the confidence.
    each = [
        float(binary_calibration_error(own.contiguous(), (labels == c).long(), n_bins=bins))
        for c, own in enumerate(probability.T)
    ]
    assert classwise_calibration_error(labels, probability, bins=bins) == pytest.approx(
        np.mean(each), abs=1e-6
    )


@pytest.mark.parametrize("n", [1, 3, 15, 16, 299])
def test_equal_mass_bins_by_cutting_the_order(n: int) -> None:
    labels, probability = predictions(n, seed=n)
    confidence, top = probability.double().max(1)
    order = confidence.argsort()
    gaps = ((top == labels).double() - confidence)[order].numpy()
    edges = [k * n // 15 for k in range(16)]
    by_hand = sum(abs(gaps[a:b].sum()) for a, b in pairwise(edges)) / n
    assert expected_calibration_error(labels, probability, equal_mass=True) == pytest.approx(
        by_hand, abs=1e-6
    )


def test_equal_mass_bins_share_ties() -> None:
    # Six images of one confidence, two bins: each has the mean of all, whatever their order.
    probability = torch.tensor([[0.7, 0.3]] * 6)
    for labels in ([0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0]):
        error = expected_calibration_error(
            torch.tensor(labels), probability, bins=2, equal_mass=True
        )
        assert error == pytest.approx(abs(4 / 6 - 0.7), abs=1e-6)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_sure_predictions(n: int, right: bool) -> None:
    """p = 0 and 1: all errors are 0 where all is right, and as large as can be where it is not."""
    probability = torch.zeros(n, 2)
    probability[:, 0] = 1.0
    labels = torch.full((n,), 0 if right else 1)
    expected = 0.0 if right else 1.0
    assert expected_calibration_error(labels, probability) == expected
    assert expected_calibration_error(labels, probability, equal_mass=True) == expected
    assert classwise_calibration_error(labels, probability) == expected
    assert brier_score(labels, probability) == 2 * expected
    assert negative_log_likelihood(labels, probability) == pytest.approx(
        0.0 if right else 126 * np.log(2)
    )


def test_reliability_bins_add_up_to_the_error() -> None:
    labels, probability = predictions(300)
    confidence = probability.max(1).values.numpy()
    correct = (probability.argmax(1) == labels).numpy()
    bins = reliability(confidence, correct)
    assert sum(each.images for each in bins) == 300
    gap = sum(each.images * abs(each.accuracy.value - each.confidence) for each in bins) / 300
    assert gap == pytest.approx(expected_calibration_error(labels, probability), abs=1e-6)
    assert all(each.low < each.confidence <= each.high for each in bins)


def test_reliability_at_the_edges() -> None:
    first, last = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert (first.low, last.high, last.accuracy.value) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("n", [2, 30, 900])
def test_augrc_by_its_identity(n: int) -> None:
    """Traub et al. 2024: (1 - AUROC_f) acc (1 - acc) + (1 - acc)^2 / 2, ties included."""
    correct, doubt = ranking(n, seed=n)
    correct[0], correct[1] = True, False
    accuracy = correct.mean()
    ranks = sk.roc_auc_score(~correct, doubt)
    identity = (1 - ranks) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert area_under_generalised_risk_coverage(correct, doubt) == pytest.approx(identity)


@pytest.mark.parametrize("n", [20, 200, 2000])
def test_areas_by_trapezoids(n: int) -> None:
    """As torch-uncertainty has them; the first 1/n of the coverage makes the difference."""
    rng = np.random.default_rng(n)
    doubt = rng.permutation(n).astype(float)
    correct = rng.random(n) > doubt / (2 * n)
    rates = np.cumsum(~correct[doubt.argsort()]) / np.arange(1, n + 1)
    coverage = np.arange(1, n + 1) / n
    area = np.trapezoid(rates, coverage) / (1 - 1 / n)
    assert area_under_risk_coverage(correct, doubt) == pytest.approx(area, abs=2 / n)
    generalised = np.trapezoid(rates * coverage, coverage) / (1 - 1 / n)
    found = area_under_generalised_risk_coverage(correct, doubt)
    assert found == pytest.approx(generalised, abs=1 / n)


@pytest.mark.parametrize("n", [1, 10, 500])
def test_excess_aurc_is_above_the_best_order(n: int) -> None:
    correct, doubt = ranking(n, seed=n + 5)
    best = area_under_risk_coverage(correct, (~correct).astype(float) + 1e-6 * np.arange(n) / n)
    excess = excess_area_under_risk_coverage(correct, doubt)
    assert excess == pytest.approx(area_under_risk_coverage(correct, doubt) - best)
    ideal = np.where(correct, 0.0, 1.0)
    assert excess_area_under_risk_coverage(correct, ideal) == pytest.approx(
        area_under_risk_coverage(correct, ideal) - best
    )


tied = st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=30)
@given(tied, st.sampled_from([0.1, 0.5, 0.8, 1.0]))
def test_ties_are_the_mean_over_orders(images: list[tuple[bool, int]], coverage: float) -> None:
    correct = np.array([right for right, _ in images])
    doubt = np.array([float(d) for _, d in images])
    rng, n = np.random.default_rng(0), len(images)
    orders = [np.lexsort((rng.random(n), doubt)) for _ in range(600)]
    curves = np.array([np.cumsum(~correct[order]) / np.arange(1, n + 1) for order in orders])
    count = int(np.ceil(coverage * n - 1e-9))
    assert risk_at_coverage(correct, doubt, coverage) == pytest.approx(
        curves[:, count - 1].mean(), abs=0.11
    )
    assert area_under_risk_coverage(correct, doubt) == pytest.approx(curves.mean(), abs=0.08)


@given(tied, st.sampled_from([0.0, 0.1, 0.29, 0.5, 1.0]))
def test_coverage_at_risk_by_trying_every_threshold(
    images: list[tuple[bool, int]], risk: float
) -> None:
    correct = np.array([right for right, _ in images])
    doubt = np.array([float(d) for _, d in images])
    shares = [
        (doubt <= t).mean() for t in set(doubt.tolist()) if (~correct[doubt <= t]).mean() <= risk
    ]
    assert coverage_at_risk(correct, doubt, risk) == pytest.approx(max(shares, default=0.0))


def test_29_of_100_are_not_more_than_29_per_cent() -> None:
    correct = np.arange(100) >= 29
    assert coverage_at_risk(correct, np.zeros(100), 0.29) == 1.0
    assert coverage_at_risk(correct, np.zeros(100), 0.28) == 0.0


@pytest.mark.parametrize("right", [True, False])
def test_selective_figures_where_all_is_alike(right: bool) -> None:
    correct, doubt = np.full(6, right), np.arange(6.0)
    assert area_under_generalised_risk_coverage(correct, doubt) == (0.0 if right else 0.5)
    assert excess_area_under_risk_coverage(correct, doubt) == pytest.approx(0.0)
    assert risk_at_coverage(correct, doubt, 0.5) == (0.0 if right else 1.0)
    assert coverage_at_risk(correct, doubt, 0.01) == (1.0 if right else 0.0)


scores = st.lists(
    st.one_of(st.integers(0, 4).map(float), st.just(float("inf"))), min_size=1, max_size=12
).map(np.array)


@given(scores, scores)
def test_detection_by_scikit_learn(familiar: np.ndarray, shifted: np.ndarray) -> None:
    truth = np.repeat([0, 1], [len(familiar), len(shifted)])
    # scikit-learn refuses infinite scores; the order is all that counts.
    together = np.minimum(np.concatenate([familiar, shifted]), 9.0)
    assert auroc(familiar, shifted) == pytest.approx(sk.roc_auc_score(truth, together))
    assert aupr(familiar, shifted) == pytest.approx(sk.average_precision_score(truth, together))
    fpr, tpr, _ = sk.roc_curve(1 - truth, -together, drop_intermediate=False)
    assert fpr_at_95_tpr(familiar, shifted) == pytest.approx(fpr[np.argmax(tpr >= 0.95)])
