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


def test_the_pareto_tail_is_that_of_the_moments() -> None:
    """Against Hosking & Wallis's formulas, and against the law that the sample is from."""
    logarithms = torch.from_numpy(stats.genpareto(0.2).rvs(200_000, random_state=0))
    tail = one_class(logarithms.exp().clamp_max(1e30).float())
    z = (logarithms - float(tail.centres[0])) / float(tail.spreads[0])
    excess = (z - z.quantile(0.95)).numpy()
    excess = excess[excess > 0]
    ratio = excess.mean() ** 2 / excess.var()
    assert tail.shape == pytest.approx(0.5 * (1 - ratio), abs=0.02)
    assert tail.scale == pytest.approx(0.5 * excess.mean() * (1 + ratio), rel=0.02)
    # The excess of a generalised Pareto law follows one of the same shape.
    assert tail.shape == pytest.approx(0.2, abs=0.1)


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


def test_the_evidence_of_a_class_is_that_against_all() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(900) % 3
    sample = torch.randn(900, generator=generator).exp() * torch.tensor([1.0, 9.0, 50.0])[labels]
    tail = fit_tail(sample, labels, 3)
    asked = torch.cat([sample, torch.tensor([0.0, 1e9])])
    own = torch.cat([labels, torch.tensor([2, 0])])
    each = tail(asked[:, None].expand(-1, 3))
    assert each.shape == (902, 3)
    assert torch.equal(tail.of_class(asked, own), each.gather(1, own[:, None])[:, 0])


def test_half_of_the_distances_have_half_a_chance() -> None:
    sample = torch.randn(2001, generator=torch.Generator().manual_seed(0)).exp()
    tail = one_class(sample)
    for share in (0.1, 0.5, 0.9, 0.95):
        at = torch.quantile(sample, share)
        assert float(tail(at[None, None])) == pytest.approx(-math.log(1 - share), abs=0.01)
    # What is nearer than any other is no evidence at all.
    assert float(tail(sample.min()[None, None] / 2)) == 0


QUARTILES = torch.tensor([0.25, 0.5, 0.75])


def spread_of(z: Tensor) -> float:
    low, _, high = torch.quantile(z, QUARTILES.to(z)).tolist()
    return high - low


def standardised(tail: Tail, distances: Tensor, labels: Tensor) -> Tensor:
    """In the units of the tail."""
    away = (distances.double() + tail.floor).log() - tail.centres[labels]
    return away / tail.spreads[labels]


def two_classes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Distances that spread by one class as by the other, about other middles."""
    labels = torch.arange(count) % 2
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    return (drawn * torch.tensor([0.3, 1.5])[labels] + torch.tensor([0.0, 3.0])[labels]), labels


def test_images_held_apart_tell_where_distances_lie() -> None:
    logarithms, labels = two_classes(4000, 0)
    known = logarithms.exp()
    plain = fit_tail(known, labels, 2)
    # Farther, and more spread, than the images that the network was trained on: each class by as
    # much of its own spread.
    z = 1.5 + 1.7 * standardised(plain, known, labels)
    apart = ((plain.centres[labels] + plain.spreads[labels] * z).exp() - plain.floor).float()
    moved = fit_tail(known, labels, 2, (apart, labels))
    evidence = moved.of_class(apart, labels)
    expected = -(1 - QUARTILES).log()
    assert torch.allclose(torch.quantile(evidence, QUARTILES), expected, atol=0.02)
    assert torch.allclose(moved.spreads, 1.7 * plain.spreads, rtol=1e-3)
    # The known ones are all the more familiar.
    assert float(moved.of_class(known, labels).median()) < 0.3


@pytest.mark.parametrize("count", [9, 40, 500])
def test_the_quartiles_of_images_held_apart_are_matched(count: int) -> None:
    """Of any few of them: the middle, and how far the quartiles lie from one another."""
    known, labels = two_classes(3001, 0)
    apart, own = two_classes(count, 1)
    known, apart = known.exp(), (2 + 1.4 * apart + 0.2 * apart.square()).exp()
    plain, moved = fit_tail(known, labels, 2), fit_tail(known, labels, 2, (apart, own))
    before, after = standardised(plain, known, labels), standardised(moved, apart, own)
    assert float(after.quantile(0.5)) == pytest.approx(float(before.quantile(0.5)), abs=1e-3)
    assert spread_of(after) == pytest.approx(spread_of(before), rel=1e-3)
    if count % 2:
        evidence = moved.of_class(apart, own).median()
        assert float(evidence) == pytest.approx(math.log(2), abs=0.01)
    # The many tell the shape.
    assert (moved.scale, moved.shape, moved.floor) == (plain.scale, plain.shape, plain.floor)
    assert torch.equal(moved.points, plain.points)
    assert torch.equal(moved.evidence, plain.evidence)


def test_images_held_apart_like_the_others_change_next_to_nothing() -> None:
    logarithms, labels = two_classes(4000, 0)
    known = logarithms.exp()
    plain, moved = fit_tail(known, labels, 2), fit_tail(known, labels, 2, (known, labels))
    assert torch.allclose(moved.centres, plain.centres, atol=1e-4)
    assert torch.allclose(moved.spreads, plain.spreads, rtol=1e-4)


@pytest.mark.parametrize("apart", [[3.0], [0.0] * 9, [1e30] * 9, [0.0, 1e30] * 5])
def test_odd_images_held_apart(apart: list[float]) -> None:
    logarithms, labels = two_classes(400, 0)
    far = torch.tensor(apart)
    own = torch.arange(len(far)) % 2
    tail = fit_tail(logarithms.exp(), labels, 2, (far, own))
    values = tail(torch.tensor([[0.0], [1.0], [50.0], [1e30]]).expand(-1, 2))
    assert bool(torch.isfinite(values).all())
    assert bool((values.diff(dim=0) >= 0).all())


def test_pairs_of_distances_that_rounding_alone_tells_apart() -> None:
    """As of two images of each class: left out, each is as far from the other as that from it."""
    pairs = torch.tensor([1.0, 2.0, 3.0]).repeat_interleave(2)
    pairs[1::2] *= 1 + 1e-6
    tail = fit_tail(pairs, torch.arange(6) // 2, 3)
    even = fit_tail(pairs.round(), torch.arange(6) // 2, 3)
    far = torch.full((1, 3), 6.0)
    # Twice as far as the farthest is no reason for hundreds of nats.
    assert float(tail(far).max()) < 2 * float(even(far).max()) + 5


def test_packing_is_exact() -> None:
    tail = one_class(torch.rand(100))
    x = torch.rand(10, 1)
    assert torch.equal(Tail.unpack(tail.tensors())(x), tail(x))
    with pytest.raises(ValueError, match="do not fit together"):
        Tail.unpack({**tail.tensors(), "tail_centres": torch.zeros(2)})


@pytest.mark.parametrize(
    ("name", "shape"),
    [("centres", (3, 1)), ("spreads", (4,)), ("points", (1,)), ("points", (511,)),
     ("evidence", (511,)), ("floor_scale_shape", (2,)), ("floor_scale_shape", (4,))],
)  # fmt: skip
def test_tensors_that_do_not_fit_together(name: str, shape: tuple[int, ...]) -> None:
    tail = one_class(torch.rand(100))
    with pytest.raises(ValueError, match=r"do not fit together|values to unpack"):
        Tail.unpack({**tail.tensors(), f"tail_{name}": torch.ones(shape)})
