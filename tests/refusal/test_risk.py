import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nescio.errors import RuleError
from nescio.refusal import calibration_needed, certify
from nescio.refusal.risk import accepted_needed, pilot_size, risk_bound


@pytest.mark.parametrize(
    ("risk", "confidence", "needed"), [(0.001, 0.95, 2995), (0.01, 0.95, 299), (0.05, 0.95, 59)]
)
def test_how_many_must_be_right(risk: float, confidence: float, needed: int) -> None:
    assert accepted_needed(risk, confidence) == needed
    # One fewer is not enough, by the binomial distribution itself.
    assert stats.binom.cdf(0, needed, risk) <= 1 - confidence
    assert stats.binom.cdf(0, needed - 1, risk) > 1 - confidence


@pytest.mark.parametrize(("risk", "confidence"), [(0.001, 0.95), (0.02, 0.9), (0.3, 0.5)])
def test_how_many_calibration_images_that_takes(risk: float, confidence: float) -> None:
    n = calibration_needed(risk, confidence)
    doubt = torch.rand(n, generator=torch.Generator().manual_seed(0))
    right = torch.zeros(n, dtype=torch.bool)
    promise = {"max_risk": risk, "confidence": confidence}
    found = certify(doubt, right, **promise)
    assert found is not None
    assert (found.threshold, found.errors) == (math.inf, 0)
    assert found.accepted == n - pilot_size(n)
    assert found.bound <= risk
    assert certify(doubt[1:], right[1:], **promise) is None


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 20), st.integers(1, 500), st.floats(0.5, 0.99))
def test_the_bound_is_clopper_and_pearsons(errors: int, accepted: int, confidence: float) -> None:
    interval = stats.binomtest(min(errors, accepted), accepted).proportion_ci
    exact = interval(confidence_level=2 * confidence - 1) if confidence > 0.5 else None
    if exact is not None:
        bound = risk_bound(min(errors, accepted), accepted, confidence)
        assert bound == pytest.approx(float(exact.high), abs=1e-6)


def test_the_loosest_threshold_that_passes() -> None:
    # 2,000 images, errors only among the most doubtful tenth, where all are wrong.
    doubt = torch.linspace(0, 1, 2000)[torch.randperm(2000, generator=torch.manual_seed(1))]
    found = certify(doubt, doubt > 0.9, max_risk=0.02, confidence=0.95)
    assert found is not None
    accepted = 0.9 * 1800 + found.errors
    assert found.accepted == pytest.approx(accepted, abs=60)
    assert stats.binom.cdf(found.errors, found.accepted, 0.02) <= 0.05
    # At most so many errors could pass, and the candidates are near enough to come close.
    most = stats.binom.ppf(0.05, found.accepted, 0.02)
    assert most - 15 <= found.errors <= most


def test_no_valid_threshold_is_an_answer() -> None:
    doubt = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    wrong = torch.rand(1000, generator=torch.Generator().manual_seed(1)) < 0.3
    assert certify(doubt, wrong, max_risk=0.05, confidence=0.95) is None
    assert certify(doubt[:0], wrong[:0], max_risk=0.05, confidence=0.95) is None


def test_all_images_alike() -> None:
    same = torch.zeros(500)
    found = certify(same, torch.zeros(500, dtype=torch.bool), max_risk=0.05, confidence=0.9)
    assert found is not None
    assert found.accepted == 450
    assert certify(same, torch.ones(500, dtype=torch.bool), max_risk=0.05, confidence=0.9) is None


@pytest.mark.parametrize(
    ("risk", "confidence"), [(0.0, 0.9), (1.0, 0.9), (math.nan, 0.9), (0.1, 0.0), (0.1, 1.0)]
)
def test_promises_that_cannot_be(risk: float, confidence: float) -> None:
    with pytest.raises(RuleError, match="must be between 0 and 1"):
        certify(torch.zeros(9), torch.zeros(9).bool(), max_risk=risk, confidence=confidence)


def test_the_threshold_is_one_that_doubts_can_be_compared_with() -> None:
    """Between two doubts of float32 a threshold could round up, and accept what was not tested."""
    generator = torch.Generator().manual_seed(0)
    doubt = torch.rand(4000, generator=generator)
    wrong = torch.rand(4000, generator=generator) < doubt / 3
    found = certify(doubt, wrong, max_risk=0.1, confidence=0.95)
    assert found is not None
    assert 0.3 < found.threshold < 1.0
    assert float(torch.tensor(found.threshold)) == found.threshold
