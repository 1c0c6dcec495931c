"""Stopping early: the count and the mean tests, and that a wrong stop is as rare as stated."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import betabinom, binom
from tests_support import calibrated_rule
from torch import Tensor

from nescio.refusal import (
    Frontier,
    NeverRefuse,
    QuantileRule,
    Rule,
    looks_before,
)
from nescio.refusal.sequential import mean_is_settled, share_is_settled

TOTAL = 100


def test_looks_are_those_that_save_something() -> None:
    assert looks_before(100) == [12, 16, 24, 32, 48, 64]
    assert looks_before(20) == [12, 16]
    assert looks_before(12) == []


def test_counts_by_hand() -> None:
    # After 3 of 5 votes, none or all so far; 2 are to come, with Beta(1/2, 7/2) before them.
    votes = torch.tensor([[False, True]] * 3)
    chance_of_none = betabinom(2, 0.5, 3.5).pmf(0)
    for error, expected in ((1 - chance_of_none + 1e-9, True), (1 - chance_of_none - 1e-9, False)):
        low, high = share_is_settled(votes, 5, 0, error)
        assert low.tolist() == [expected, False]
        assert high.tolist() == [False, True]
    # Three votes are already more than two: nothing can change that.
    assert share_is_settled(votes, 5, 2, 0.0)[1].tolist() == [False, True]
    # And with three of five against, at most two can be for.
    assert share_is_settled(votes, 5, 2, 0.0)[0].tolist() == [True, False]


def test_counts_go_wrong_as_rarely_as_stated() -> None:
    generator = torch.Generator().manual_seed(0)
    images, error, most = 200_000, 0.01, 49
    # Shares are drawn from the prior of the test, for which the statement is exact.
    uniform = torch.rand(images, generator=generator)
    share = torch.sin(uniform * math.pi / 2) ** 2  # Beta(1/2, 1/2), the arcsine law
    votes = torch.rand(TOTAL, images, generator=generator) < share
    low, high = share_is_settled(votes[:16], TOTAL, most, error)
    final = votes.sum(0)
    wrong = int((low & (final > most)).sum() + (high & (final <= most)).sum())
    assert wrong <= binom(images, 2 * error).ppf(0.9999)
    assert float((low | high).float().mean()) > 0.4


def test_means_by_hand() -> None:
    values = torch.zeros(12, 2)
    # All alike: the one unseen value is all the doubt there is.
    low, high = mean_is_settled(values, TOTAL, 0.5, 1e-4, 1.0)
    assert low.tolist() == [True, True]
    assert high.tolist() == [False, False]
    assert mean_is_settled(values, TOTAL, 0.05, 1e-4, 1.0)[0].tolist() == [False, False]
    assert mean_is_settled(values, TOTAL, 0.0, 1e-4, -1.0)[1].tolist() == [False, False]


def sampled_probabilities(images: int, seed: int, spread: float) -> Tensor:
    """Networks whose logits are normal around an image's own: clear, doubtful and strange."""
    generator = torch.Generator().manual_seed(seed)
    centre = 4 * torch.randn(1, images, 5, generator=generator)
    noise = spread * torch.rand(1, images, 1, generator=generator)
    return (centre + noise * torch.randn(TOTAL, images, 5, generator=generator)).softmax(-1)


def evidence(images: int) -> Tensor:
    """Of one stage: some images are strange for all classes, whatever is sampled."""
    return torch.rand(images, 1, 1, generator=torch.Generator().manual_seed(3)).expand(-1, -1, 5)


def outcome(rule: Rule, probabilities: Tensor) -> Tensor:
    verdicts = rule(probabilities, evidence(probabilities.shape[1]))
    refused = verdicts.ambiguous | verdicts.unfamiliar
    # Of a refusal the reason is not waited for.
    return torch.where(refused, -1, verdicts.top)


RULES = [
    QuantileRule(0.5, 0.2),
    QuantileRule(0.1, 0.5),
    NeverRefuse(),
    calibrated_rule(0.3, 0.5),
    calibrated_rule(0.05, 0.1),
    calibrated_rule(math.inf, 0.7, max_risk=0.2),
    replace(calibrated_rule(), doubtful=(0.5, 0.1, -math.inf, 0.2, 0.3), max_risk=0.2),
    replace(
        calibrated_rule(0.9), frontier=Frontier((0.3, 0.6, 0.9), (0.5, 0.2, 0.05), (9, 3, 1), 9)
    ),
]


def stop_early(rule: Rule, spread: float, images: int, error: float) -> tuple[int, float]:
    """How many early decisions are not the final ones, and networks drawn on average."""
    probabilities = sampled_probabilities(images, 7, spread)
    final = outcome(rule, probabilities)
    looks = looks_before(TOTAL)
    left = torch.ones(images, dtype=torch.bool)
    wrong, drawn = 0, 0
    for look in looks:
        so_far = probabilities[:look]
        stop = rule.settled(so_far, evidence(images), TOTAL, error / len(looks)) & left
        wrong += int((outcome(rule, so_far)[stop] != final[stop]).sum())
        drawn += look * int(stop.sum())
        left &= ~stop
    return wrong, (drawn + TOTAL * int(left.sum())) / images


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "spread", [6.0, *(pytest.param(spread, marks=pytest.mark.slow) for spread in (2.0, 10.0))]
)
def test_decisions_go_wrong_more_rarely_than_stated(rule: Rule, spread: float) -> None:
    images, error = 6000, 1e-3
    wrong, _ = stop_early(rule, spread, images, error)
    assert wrong <= binom(images, error).ppf(0.999)


@pytest.mark.parametrize("rule", RULES)
def test_it_is_worth_it_where_networks_mostly_agree(rule: Rule) -> None:
    _, drawn = stop_early(rule, 1.0, 6000, 1e-3)
    assert drawn < 80


def test_several_proposals_are_never_settled() -> None:
    both = torch.tensor([0.5, 0.5, 0.0]).expand(40, 1, 3)
    assert not bool(QuantileRule(0.5, 0.2).settled(both, None, TOTAL, 1e-3)[0])


def test_a_sure_refusal_is_settled() -> None:
    nothing = torch.full((40, 1, 10), 0.1)
    assert bool(QuantileRule(0.5, 0.2).settled(nothing, None, TOTAL, 1e-3)[0])
    familiar, strange = torch.zeros(1, 1, 10), torch.full((1, 1, 10), 2.0)
    assert bool(calibrated_rule().settled(nothing, familiar, TOTAL, 1e-3)[0])
    open_question = torch.tensor([0.5, 0.5]).repeat(40, 1, 5)
    assert bool(calibrated_rule().settled(open_question, strange, TOTAL, 1e-3)[0])
