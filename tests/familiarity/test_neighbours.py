import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nescio.familiarity.axes import Axes
from nescio.familiarity.neighbours import RIDGE, NeighbourDensities, _smallest


def plain_axes(size: int) -> Axes:
    """Features as they are."""
    return Axes(torch.zeros(size), torch.ones(size), torch.eye(size), torch.tensor(0.0))


def of(x: Tensor, y: Tensor, classes: int, *, plane: bool, scale: float = 1) -> NeighbourDensities:
    size = x.shape[1]
    return NeighbourDensities.of(
        plain_axes(size), scale * torch.eye(size), x, y, classes, plane=plane
    )


def test_the_third_neighbour_by_hand() -> None:
    x = torch.tensor([[0.0], [10.0], [1.0], [20.0], [3.0], [7.0]])
    y = torch.tensor([0, 1, 0, 1, 0, 0])
    near = of(x, y, 2, plane=False, scale=2)
    # Third of |2 - (0, 1, 3, 7)| is 2, in units of a half 4; class 1 has two: the farther.
    assert near.distances(torch.tensor([[2.0]])).tolist() == [[16.0, 36.0**2]]
    # Left out: 0 has 1, 3, 7; 1 has 0, 3, 7; 3 has 0, 1, 7; 7 has 0, 1, 3; then 10, 20.
    far, labels = near.left_out()
    assert far.tolist() == [14.0**2, 12.0**2, 8.0**2, 14.0**2, 20.0**2, 20.0**2]
    assert labels.tolist() == [0, 0, 0, 0, 1, 1]


def test_the_distance_from_a_plane_by_hand() -> None:
    # Two points span a line along the first axis, about (0, 1).
    x = torch.tensor([[-2.0, 1.0], [2.0, 1.0], [50.0, 50.0]])
    near = of(x, torch.tensor([0, 0, 1]), 2, plane=True)
    # Spans (-2, 0) and (2, 0), rest (1, 3): of 1 along the line the ridge leaves r / (8 + r).
    ridge = RIDGE * 2
    expected = (ridge / (8 + ridge)) ** 2 + 9
    found = near.distances(torch.tensor([[1.0, 4.0]]))
    assert float(found[0, 0]) == pytest.approx(expected, rel=1e-4)
    # One point spans nothing.
    assert float(found[0, 1]) == pytest.approx(49**2 + 46**2, rel=1e-4)


def test_planes_follow_a_curve_that_points_leave_gaps_in() -> None:
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(4000, generator=generator) * 6.3
    circle = 10 * torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    near = of(circle, torch.zeros(4000, dtype=torch.int64), 1, plane=True)
    between = torch.linspace(0, 6.28, 100)
    on = 10 * torch.stack([between.cos(), between.sin(), 0 * between], 1)
    off = on * 1.2
    assert float(near.distances(on).max()) < 0.1 * float(near.distances(off).min())


@pytest.mark.parametrize("plane", [False, True])
def test_leaving_an_image_out_is_keeping_the_others(plane: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(60, 5, generator=generator).half().float(), torch.arange(60) % 2
    far, labels = of(x, y, 2, plane=plane).left_out()
    order = y.argsort(stable=True)
    for place in (0, 17, 45):
        rest = torch.arange(60) != order[place]
        without = of(x[rest], y[rest], 2, plane=plane).distances(x[order[place]][None])
        assert float(far[place]) == pytest.approx(float(without[0, labels[place]]), rel=1e-3)


@pytest.mark.parametrize("plane", [False, True])
def test_classes_of_one_image(plane: bool) -> None:
    near = of(torch.eye(3), torch.arange(3), 3, plane=plane)
    far, _ = near.left_out()
    assert bool(torch.isfinite(far).all())
    assert near.distances(torch.eye(3)).argmin(1).tolist() == [0, 1, 2]


def test_packing_is_exact() -> None:
    near = of(torch.randn(20, 4), torch.arange(20) % 2, 2, plane=True)
    again = NeighbourDensities.unpack(near.tensors())
    x = torch.randn(5, 4)
    assert torch.equal(again.distances(x), near.distances(x))
    with pytest.raises(ValueError, match="do not fit together"):
        NeighbourDensities.unpack({**near.tensors(), "counts": torch.tensor([3, 4])})


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 700), share=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_the_smallest_are_those_of_a_sort(width: int, share: float, seed: int) -> None:
    count = 1 + int(share * (width - 1) / 3)
    generator = torch.Generator().manual_seed(seed)
    # No two alike: which of equal ones comes first is nobody's promise.
    values = torch.stack([torch.randperm(width, generator=generator) for _ in range(5)]).float()
    values[0, torch.randint(width, (1,), generator=generator)] = torch.inf
    count = min(count, max(1, width - 1))
    assert torch.equal(_smallest(values, count), values.sort(1).indices[:, :count])


def test_the_smallest_of_what_is_no_number_stay_within_the_row() -> None:
    values = torch.full((2, 101), torch.nan)
    values[1] = torch.arange(101.0)
    found = _smallest(values, 3)
    assert int(found.max()) <= 100
    assert found[1].tolist() == [0, 1, 2]
