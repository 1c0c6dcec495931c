import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from nescio.familiarity.tail import PRIOR_IMAGES, Tail, fit_tail


def one_class(distances: Tensor) -> Tail:
    return fit_tail(distances, torch.zeros(len(distances), dtype=torch.int64), 1)


def test_the_tail_counts_and_goes_on() -> None:
    generator = torch.Generator().manual_seed(0)
    sample = -torch.rand(100_000, generator=generator).log()  # exponential
    tail = one_class(sample)
    x = torch.tensor([0.5, 1, 2, 4])[:, None]
    # Of an exponential the evidence is the distance itself.
    assert torch.allclose(tail(x), x, rtol=0.1, atol=0.01)
    # Far out all that is asked is that it goes on, at least as fast as the logarithm.
    rising = tail(torch.linspace(0, 1e4, 10_000)[:, None])[:, 0]
    assert bool((rising.diff() >= 0).all())
    assert float(rising[-1]) > 10
    assert math.isfinite(float(tail(torch.tensor([[1e30]]))))


def test_a_heavy_tail_weighs_less() -> None:
    heavy = torch.from_numpy(stats.pareto(3).rvs(50_000, random_state=0)).float()
    tail = one_class(heavy)
    # -log P(X >= 100) = 3 log 100; a light tail fitted to the same would say hundreds.
    assert float(tail(torch.tensor([[100.0]]))) == pytest.approx(3 * math.log(100), rel=0.35)


def test_each_class_is_told_by_its_own_distances() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20_000) % 2
    spread = torch.tensor([1.0, 100.0])[labels]
    sample = -torch.rand(20_000, generator=generator).log() * spread
    tail = fit_tail(sample, labels, 2)
    evidence = tail(torch.tensor([[3.0, 300.0]]))[0]
    assert evidence.tolist() == pytest.approx([3, 3], rel=0.1)


def test_classes_with_few_images_lean_on_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(1001, generator=generator).exp()
    sample[-1] = math.exp(10)
    labels = torch.cat([torch.zeros(1000, dtype=torch.int64), torch.ones(1, dtype=torch.int64)])
    tail = fit_tail(sample, labels, 3)
    pooled = float(sample.log().mean())
    assert float(tail.centres[1]) == pytest.approx(
        (10 + PRIOR_IMAGES * pooled) / (1 + PRIOR_IMAGES), rel=0.01
    )
    # A class of which nothing was kept is taken for one like the others.
    assert float(tail.centres[2]) == pytest.approx(pooled, abs=0.01)


@pytest.mark.parametrize("distances", [[1.0], [0.0, 0.0], [5.0] * 30, [0.0] * 30])
def test_tails_of_next_to_nothing(distances: list[float]) -> None:
    tail = one_class(torch.tensor(distances))
    values = tail(torch.tensor([[0.0], [5.0], [50.0]]))[:, 0]
    assert bool(torch.isfinite(values).all())
    assert bool((values.diff() >= 0).all())
    assert float(values[2]) > 1


def test_packing_is_exact() -> None:
    tail = one_class(torch.rand(100))
    x = torch.rand(10, 1)
    assert torch.equal(Tail.unpack(tail.tensors())(x), tail(x))
    with pytest.raises(ValueError, match="do not fit together"):
        Tail.unpack({**tail.tensors(), "tail_centres": torch.zeros(2)})
