"""Where an answer becomes more likely wrong than right: on a known truth, and at the ends."""

import math

import pytest
import torch
from promises import NOWHERE

from nescio.refusal import CalibrationScores, calibrate
from nescio.refusal.breakeven import LINES, REACH, break_even


def drawn(count: int, a: float, b: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Doubts, and errors with ``logit P(wrong) = a + b logit d``."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, generator=generator, dtype=torch.float64) * 3 - 3
    wrong = torch.rand(count, generator=generator, dtype=torch.float64) < (a + b * x).sigmoid()
    return x.sigmoid(), wrong


def test_without_images_the_networks_word_counts() -> None:
    nothing = torch.zeros(0)
    assert break_even(nothing, nothing.bool()) == 0.5


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.5), (2.0, 1.0), (0.5, 0.3)])
def test_many_images_of_a_known_truth(a: float, b: float) -> None:
    found = break_even(*drawn(20_000, a, b))
    assert math.log(found / (1 - found)) == pytest.approx(-a / b, abs=0.3)


@pytest.mark.parametrize(("a", "b"), [(-1.0, 1.0), (-2.0, 0.5)])
def test_a_network_that_is_too_modest_is_not_stretched(a: float, b: float) -> None:
    assert break_even(*drawn(5_000, a, b)) == 0.5


def test_an_honest_network_keeps_about_a_half() -> None:
    found = torch.tensor([break_even(*drawn(60, 0.0, 1.0, seed)) for seed in range(40)])
    assert float(found.median()) > 0.3
    assert float(found.min()) > 0.02


def test_few_images_that_are_sure_and_wrong_are_believed() -> None:
    doubt = torch.full((16,), 1e-4)
    assert break_even(doubt, torch.ones(16).bool()) < 1e-4
    assert break_even(doubt, torch.zeros(16).bool()) == 0.5
    # Two of sixteen wrong, and very sure: still more likely right.
    assert break_even(doubt, torch.arange(16) < 2) > 1e-4


def test_always_wrong_is_never_answered() -> None:
    assert break_even(torch.zeros(200), torch.ones(200).bool()) == 0.0


def test_the_grid_against_a_finer_and_wider_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(25, 0.5, 0.4, 7)
    found = break_even(*given)
    monkeypatch.setattr("nescio.refusal.breakeven.LINES", 4 * LINES)
    monkeypatch.setattr("nescio.refusal.breakeven.REACH", 1.5 * REACH)
    assert found == pytest.approx(break_even(*given), rel=0.02)


def test_the_order_of_images_does_not_matter() -> None:
    doubt, wrong = drawn(700, 0.5, 0.4)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(1))
    assert break_even(doubt[order], wrong[order]) == pytest.approx(break_even(doubt, wrong))


@pytest.mark.parametrize("images", [50, 1000])
def test_a_network_that_is_sure_and_wrong_is_not_answered(images: int) -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.zeros(images, dtype=torch.int64)
    top = (torch.rand(images, generator=generator) < 0.7).long()
    sure = torch.rand(images, generator=generator) * 1e-3
    strange = torch.rand(images, 2, generator=generator)
    rule = calibrate(CalibrationScores(strange, sure, top, labels), NOWHERE, max_refusal=0.05)
    assert rule.frontier is None
    assert rule.doubtful[0] < float(sure.median())
    # The same doubts where they are meant: the budget is shared, if there are enough images.
    rule = calibrate(CalibrationScores(strange, sure, labels, labels), NOWHERE, max_refusal=0.05)
    assert (rule.frontier is not None, rule.doubtful) == (images > 38, (0.5,))
