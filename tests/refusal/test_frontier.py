"""One budget for two scores: against the definition, over repeats, and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nescio.refusal import Frontier, find_frontier
from nescio.refusal.frontier import EVERY


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Unfamiliarity and doubt, which rise together a little."""
    generator = torch.Generator().manual_seed(seed)
    common, strange, doubt = torch.randn(3, count, generator=generator, dtype=torch.float64)
    return (strange + common / 2).exp(), torch.sigmoid(doubt + common / 2 - 3)


def refused(frontier: Frontier, unfamiliarity: Tensor, doubt: Tensor) -> Tensor:
    return doubt > frontier.allowed(unfamiliarity)


def by_definition(known: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], share: float) -> Tensor:
    """Exact conformal prediction: every rank among the calibration images and the new one."""
    answers = []
    for image in zip(*new, strict=True):
        ranks = []
        for scores, own in zip(known, image, strict=True):
            together = torch.cat([scores, own[None]])
            ranks.append((together[None] >= together[:, None]).sum(1))
        product = ranks[0] * ranks[1]
        as_strange = (product <= product[-1]).sum()
        answers.append(as_strange <= share * len(product) + 1e-9)
    return torch.stack(answers)


def test_by_hand() -> None:
    # Products of ranks: 1*4, 2*3, 3*2, 4*1: one of five may be refused, below the least, 4.
    strange = torch.tensor([4.0, 3.0, 2.0, 1.0])
    doubt = torch.tensor([0.1, 0.2, 0.3, 0.4])
    frontier = find_frontier(strange, doubt, 0.2, 0.5)
    assert frontier is not None
    assert frontier.product == 4
    # A new image is refused if (1 + as strange) (1 + as doubtful) < 4.
    rows = [[5.0, 0.05], [5.0, 0.15], [5.0, 0.25], [3.5, 0.35], [3.5, 0.45], [2.5, 0.49]]
    # 1*5, 1*4, 1*3, 2*2, 2*1, 3*1
    new = torch.tensor(rows)
    answered = [True, True, False, True, False, False]
    assert (~refused(frontier, new[:, 0], new[:, 1])).tolist() == answered
    # What is more doubtful than any answer may be is refused wherever it lies.
    assert refused(frontier, torch.tensor([0.5]), torch.tensor([0.6])).tolist() == [True]
    # Rarer as strange than as doubtful: 1 against 3, and not 3 against 1.
    assert frontier.stranger(new[[2, 5], 0], new[[2, 5], 1]).tolist() == [True, False]


@pytest.mark.parametrize("count", [30, 200, 700])
def test_it_refuses_nothing_that_the_definition_would_not(count: int) -> None:
    known, new = drawn(count, 0), drawn(300, 1)
    frontier = find_frontier(*known, 0.1, math.inf)
    assert frontier is not None
    own, exact = refused(frontier, *new), by_definition(known, new, 0.1)
    assert not (own & ~exact).any()
    # And hardly less, from ranks and steps.
    assert int((exact & ~own).sum()) <= 3 + 0.01 * 300


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60),
    st.floats(0.02, 0.6),
)
def test_ties_and_few_images_only_make_it_safer(pairs: list[tuple[int, int]], share: float) -> None:
    strange, doubt = torch.tensor(pairs, dtype=torch.float64).T
    frontier = find_frontier(strange, doubt, share, math.inf)
    grid = torch.cartesian_prod(torch.arange(-1.0, 8), torch.arange(-1.0, 8)).double()
    if frontier is None:
        assert math.ceil((len(pairs) + 1) * (1 - share) - 1e-9) > len(pairs)
        return
    own = refused(frontier, grid[:, 0], grid[:, 1])
    assert not (own & ~by_definition((strange, doubt), (grid[:, 0], grid[:, 1]), share)).any()
    # Stranger or more doubtful is never answered where less is refused.
    table = own.view(9, 9).int()
    assert (table.diff(dim=0) >= 0).all()
    assert (table.diff(dim=1) >= 0).all()


def test_the_budget_is_kept_for_new_images() -> None:
    shares = []
    for seed in range(300):
        known, new = drawn(500, 2 * seed), drawn(2000, 2 * seed + 1)
        frontier = find_frontier(*known, 0.1, 0.5)
        assert frontier is not None
        shares.append(float(refused(frontier, *new).double().mean()))
    mean = sum(shares) / len(shares)
    # On average over calibrations at most the budget, and hardly less: the mean of 300 is
    # known to about 0.0008.
    assert 0.09 < mean <= 0.1 + 0.002


def test_the_hopeless_count_for_the_budget() -> None:
    strange, doubt = drawn(1000, 0)
    doubt[:60] = 0.9
    with_hopeless = find_frontier(strange, doubt, 0.1, 0.5)
    assert with_hopeless is not None
    assert float(refused(with_hopeless, strange, doubt).double().mean()) <= 0.1
    assert refused(with_hopeless, strange[:60], doubt[:60]).all()
    assert find_frontier(strange, doubt, 0.05, 0.5) is None


def test_it_is_small_however_many_images_there_are() -> None:
    frontier = find_frontier(*drawn(50_000, 0), 0.01, 0.5)
    assert frontier is not None
    assert EVERY < len(frontier.edges) < 400
    assert list(frontier.edges) == sorted(frontier.edges)
    assert list(frontier.limits) == sorted(frontier.limits, reverse=True)
