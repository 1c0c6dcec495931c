import math
from itertools import combinations_with_replacement

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from nescio.errors import RuleError
from nescio.refusal import calibration_needed, certify
from nescio.refusal.risk import (
    Candidates,
    accepted_needed,
    choose_candidates,
    last_passed,
    p_values,
    pilot_size,
    risk_bound,
)


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


RISKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9)


def thresholds(doubt: Tensor, wrong: Tensor, confidence: float) -> list[float]:
    found = [certify(doubt, wrong, max_risk=risk, confidence=confidence) for risk in RISKS]
    return [-math.inf if one is None else one.threshold for one in found]


@pytest.mark.parametrize("wrong_at", [(0,), (1, 2), (0, 5, 17), (3, 4, 20, 40)])
def test_errors_among_the_surest_do_not_cost_the_laxer_promises(wrong_at: tuple[int, ...]) -> None:
    """What shows 5 % shows 10 and 20 %, for which few of the surest would be enough."""
    doubt = torch.linspace(0, 1, 1200)[torch.randperm(1200, generator=torch.manual_seed(2))]
    surest = doubt[pilot_size(1200) :].argsort() + pilot_size(1200)
    wrong = torch.zeros(1200, dtype=torch.bool)
    wrong[surest[list(wrong_at)]] = True
    limits = thresholds(doubt, wrong, 0.95)
    assert limits == sorted(limits)
    assert limits[RISKS.index(0.05) :] == [math.inf] * 5


@st.composite
def calibrations(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Doubts, some of them equal, and errors that come with them or among the surest."""
    images, seed = draw(st.integers(1, 700)), draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    doubt = torch.rand(images, generator=generator).mul(50).round() / 50
    chance = draw(st.floats(0, 0.6)) * doubt ** draw(st.floats(0, 4))
    chance = torch.where(doubt < 0.05, draw(st.floats(0, 1)), chance)
    return doubt, torch.rand(images, generator=generator) < chance


@settings(deadline=None, max_examples=60)
@given(calibrations(), st.sampled_from((0.5, 0.8, 0.95, 0.99)))
def test_a_threshold_for_a_risk_serves_every_larger_one_and_every_smaller_confidence(
    calibration: tuple[Tensor, Tensor], confidence: float
) -> None:
    limits = thresholds(*calibration, confidence)
    assert limits == sorted(limits)
    surer = thresholds(*calibration, (1 + confidence) / 2)
    assert all(one <= other for one, other in zip(surer, limits, strict=True))


@given(
    st.lists(st.floats(0, 1), max_size=200), st.integers(1, 5000), st.floats(1e-4, 0.9999),
    st.floats(0.01, 0.99),
)  # fmt: skip
def test_the_tests_share_the_chance_to_err(
    pilot: list[float], tested: int, risk: float, confidence: float
) -> None:
    candidates = choose_candidates(torch.tensor(pilot, dtype=torch.float64), tested)
    rising = candidates.thresholds
    assert bool((rising[:-1] <= rising[1:]).all())
    shares = candidates.shares(risk, confidence)
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(1 - confidence)
    given_to = [place for place, share in enumerate(shares) if share > 0]
    assert set(given_to) <= set(candidates.starts)


def outcomes(categories: int, images: int) -> Tensor:
    """How many images of each category there may be, ``(outcomes, categories)``."""
    drawn = combinations_with_replacement(range(categories), images)
    return torch.stack([torch.bincount(torch.tensor(d), minlength=categories) for d in drawn])


@pytest.mark.parametrize(
    ("risk", "confidence"), [(0.25, 0.4), (0.35, 0.6), (0.5, 0.8), (0.6, 0.95), (0.7, 0.9)]
)
def test_the_promise_holds_in_closed_form(risk: float, confidence: float) -> None:
    """Every outcome of nine images of three doubts, right or wrong, in 2,000 worlds."""
    # The middle threshold is no start; each start accepts more than the one before.
    candidates = Candidates(torch.tensor([0.2, 0.5, math.inf]), (0, 2), (4.0, 9.0))
    counts = outcomes(6, 9)
    accepted = (counts[:, :3] + counts[:, 3:]).cumsum(1)
    errors = counts[:, 3:].cumsum(1)
    shares = candidates.shares(risk, confidence)
    passed = [
        last_passed(p_values(n, k, risk), shares) for n, k in zip(accepted, errors, strict=True)
    ]
    chosen = torch.tensor([3 if place is None else place for place in passed])
    assert len(chosen.unique()) == 4

    generator = torch.Generator().manual_seed(0)
    share = torch.rand(2000, 3, generator=generator, dtype=torch.float64).pow(2)
    share /= share.sum(1, keepdim=True)
    # Worlds where a promise is hard to keep: error rates about the risk.
    wrong = (risk * (0.3 + 1.4 * torch.rand(2000, 3, generator=generator))).clamp(0, 0.999).double()
    chance = torch.cat([share * (1 - wrong), share * wrong], 1)
    ways = torch.lgamma(torch.tensor(10.0)) - torch.lgamma(counts + 1.0).sum(1)
    likelihood = (counts.double() @ chance.log().T + ways[:, None].double()).exp()
    assert likelihood.sum(0).tolist() == pytest.approx([1.0] * 2000)
    true = (share * wrong).cumsum(1) / share.cumsum(1)
    # Of each threshold in each world whether it breaks the promise; none chosen breaks none.
    broken = torch.cat([true > risk, torch.zeros(2000, 1, dtype=torch.bool)], 1).T[chosen]
    violation = (likelihood * broken).sum(0)
    assert float(violation.max()) <= 1 - confidence + 1e-9
    # Not by a wide margin: the bound is one that worlds come near to.
    assert float(violation.max()) > 0.2 * (1 - confidence)


def test_images_without_an_error_are_all_answered() -> None:
    for images in (400, 700, 1000, 3000):
        doubt = torch.rand(images, generator=torch.Generator().manual_seed(images))
        found = certify(doubt, torch.zeros(images).bool(), max_risk=0.01, confidence=0.95)
        assert found is not None
        assert found.threshold == math.inf
