import math

import numpy as np
import pytest
import torch
from scipy import stats

from nescio.errors import RuleError
from nescio.refusal import conformal_threshold, images_needed


def test_by_hand() -> None:
    scores = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 9.0, 8.0, 7.0])
    # k = ceil(10 * 0.9) = 9: the largest; k = ceil(10 * 0.5) = 5: the median.
    assert conformal_threshold(scores, 0.1) == 9.0
    assert conformal_threshold(scores, 0.5) == 5.0
    assert conformal_threshold(scores, 0.09) == math.inf


@pytest.mark.parametrize(("share", "needed"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.3, 3)])
def test_images_needed(share: float, needed: int) -> None:
    assert images_needed(share) == needed
    assert conformal_threshold(torch.arange(needed).float(), share) < math.inf
    assert conformal_threshold(torch.arange(needed - 1).float(), share) == math.inf


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_shares_that_cannot_be(share: float) -> None:
    with pytest.raises(RuleError, match="--max-refusal"):
        conformal_threshold(torch.zeros(5), share)


@pytest.mark.parametrize(("n", "share"), [(199, 0.05), (99, 0.01), (57, 0.1)])
def test_the_promise_holds_over_repeated_calibration(n: int, share: float) -> None:
    repeats = 5000
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(repeats):
        scores = torch.from_numpy(rng.exponential(size=n + 1))
        refused += float(scores[-1]) > conformal_threshold(scores[:-1], share)
    # The exact chance is (n + 1 - k) / (n + 1) for continuous scores.
    chance = (n + 1 - math.ceil((n + 1) * (1 - share) - 1e-9)) / (n + 1)
    assert chance <= share + 1e-12
    assert stats.binomtest(refused, repeats, chance).pvalue > 1e-3


def test_ties_only_make_it_safer() -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(2000):
        scores = torch.from_numpy(rng.integers(0, 4, 40).astype(float))
        refused += float(scores[-1]) > conformal_threshold(scores[:-1], 0.1)
    assert stats.binomtest(refused, 2000, 0.1, alternative="greater").pvalue > 1e-3
