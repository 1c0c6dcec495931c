import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from torch import Tensor

from nescio.familiarity.shared import RIDGE, SharedGaussian
from nescio.familiarity.subspace import unit


def clouds(count: int, size: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of unit length about means that lie apart, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator)
    labels = torch.arange(count) % classes
    means = 3 * torch.randn(classes, size, generator=generator)
    return unit(torch.randn(count, size, generator=generator) @ mixing + means[labels]), labels


def scatter_of(x: Tensor, y: Tensor) -> np.ndarray:
    """About the class means."""
    points = x.double().numpy()
    away = np.concatenate([points[y == c] - points[y == c].mean(0) for c in y.unique().tolist()])
    return away.T @ away


def covariance_of(x: Tensor, y: Tensor, ridge: float = RIDGE) -> np.ndarray:
    covariance = scatter_of(x, y) / len(x)
    return covariance + ridge * np.trace(covariance) / x.shape[1] * np.eye(x.shape[1])


@pytest.mark.parametrize("ridge", [RIDGE, 0.003])
@pytest.mark.parametrize(("count", "size"), [(200, 6), (30, 50)])
def test_distances_are_those_of_mahalanobis(count: int, size: int, ridge: float) -> None:
    x, y = clouds(count, size, 3)
    gaussian = SharedGaussian.fit(x, y, 3, ridge=ridge)
    inverse = np.linalg.inv(covariance_of(x, y, ridge))
    fresh, _ = clouds(20, size, 3, seed=1)
    found = gaussian.distances(fresh)
    assert found.shape == (20, 3)
    for c in range(3):
        mean = x[y == c].double().numpy().mean(0)
        expected = [mahalanobis(z, mean, inverse) ** 2 for z in fresh.double().numpy()]
        assert np.allclose(found[:, c], expected, rtol=1e-3)


@pytest.mark.parametrize(("count", "size"), [(120, 6), (30, 50)])
def test_leaving_an_image_out_in_closed_form(count: int, size: int) -> None:
    """Its mean and its part of the scatter are gone; the ridge, and the count below, are held."""
    x, y = clouds(count, size, 3)
    found = SharedGaussian.fit(x, y, 3).left_out(x, y)
    ridge = covariance_of(x, y) - scatter_of(x, y) / count
    for place in (0, 1, 17, count - 1):
        rest = torch.arange(count) != place
        own = rest & (y == y[place])
        away = (x[place].double() - x[own].double().mean(0)).numpy()
        without = scatter_of(x[rest], y[rest]) / count + ridge
        expected = away @ np.linalg.solve(without, away)
        assert float(found[place]) == pytest.approx(expected, rel=1e-3)


def test_leaving_an_image_out_is_fitting_without_it() -> None:
    x, y = clouds(300, 6, 3)
    whole = SharedGaussian.fit(x, y, 3)
    found, own = whole.left_out(x, y), whole.distances(x).gather(1, y[:, None])[:, 0]
    for place in (0, 1, 17, 299):
        rest = torch.arange(300) != place
        without = SharedGaussian.fit(x[rest], y[rest], 3).distances(x[place][None])
        # The mean variance, which the ridge follows, is that of all images.
        assert float(found[place]) == pytest.approx(float(without[0, y[place]]), rel=0.02)
    assert bool((found > own).all())


def test_a_class_of_one_image() -> None:
    x, y = clouds(41, 6, 2)
    y = torch.cat([torch.zeros(40, dtype=torch.int64), torch.ones(1, dtype=torch.int64)])
    gaussian = SharedGaussian.fit(x, y, 2)
    distances, left = gaussian.distances(x), gaussian.left_out(x, y)
    assert bool(torch.isfinite(distances).all())
    # It is its own mean, and has no other.
    assert float(left[-1]) == pytest.approx(0, abs=1e-6)
    assert bool((left[:40] > distances[:40, 0]).all())


@pytest.mark.parametrize("classes", [1, 5])
def test_classes_of_one_image_vary_as_all_images_do(classes: int) -> None:
    x = clouds(5, 8, 5)[0]
    if classes == 1:
        x = x[:1].expand(5, -1)
        y = torch.zeros(5, dtype=torch.int64)
    else:
        y = torch.arange(5)
    gaussian = SharedGaussian.fit(x, y, classes)
    assert bool(torch.isfinite(gaussian.distances(x)).all())
    assert bool(torch.isfinite(gaussian.left_out(x, y)).all())
    if classes == 5:
        assert gaussian.distances(x).argmin(1).tolist() == y.tolist()
        spread = x.double().numpy() - x.double().numpy().mean(0)
        trace = float((spread**2).sum() / 5)
        assert float(gaussian.variances.sum()) == pytest.approx((1 + RIDGE) * trace, rel=1e-3)


def made(variances: Tensor, classes: int = 2) -> SharedGaussian:
    """About random means, along random axes."""
    generator = torch.Generator().manual_seed(5)
    size = len(variances)
    axes, _ = torch.linalg.qr(torch.randn(size, size, generator=generator))
    return SharedGaussian(
        torch.randn(size, generator=generator),
        torch.randn(classes, size, generator=generator),
        axes.contiguous(),
        variances,
        0.0,
        torch.full((classes,), 100.0),
    )


def test_shortened_by_hand() -> None:
    whole = made(torch.tensor([9.0, 4.0, 2.0, 1.0, 0.3]))
    short = whole.shortened(2)
    assert short.axes.shape == (5, 2)
    assert short.rest == pytest.approx(3 / 3.3)
    axes = whole.axes.double().numpy()
    inverse = axes @ np.diag([1 / 9, 1 / 4, 3 / 3.3, 3 / 3.3, 3 / 3.3]) @ axes.T
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    away = (x - short.centre)[:, None].double().numpy() - short.means.double().numpy()
    expected = np.einsum("nci,ij,ncj->nc", away, inverse, away)
    assert np.allclose(short.distances(x), expected, rtol=1e-3)
    assert "2 of 5 axes" in short.describe()


def test_what_needs_no_shortening_stays() -> None:
    whole = made(torch.tensor([4.0, 2.0, 1.0]))
    assert whole.shortened(3) is whole
    assert whole.shortened() is whole


def test_shortened_nothing_changes_where_the_others_vary_alike() -> None:
    whole = made(torch.tensor([9.0, 4.0] + [0.5] * 10))
    x = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(whole.shortened(2).distances(x), whole.distances(x), rtol=1e-3)


def test_shortened_distances_of_new_images_are_the_same_on_average() -> None:
    whole = made(torch.linspace(5, 0.05, 40))
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(4000, 40, generator=generator) * whole.variances.sqrt()
    x = drawn @ whole.axes.T + whole.means[0] + whole.centre
    exact, short = whole.distances(x)[:, 0], whole.shortened(10).distances(x)[:, 0]
    # Chi-square with 40 degrees, or a weighted one with the same mean.
    assert abs(float(exact.mean()) - 40) < 5 * (2 * 40 / 4000) ** 0.5
    more = short - exact
    assert abs(float(more.mean())) < 5 * float(more.std()) / 4000**0.5


def test_packing_is_exact() -> None:
    x, y = clouds(60, 12, 3)
    fresh, _ = clouds(20, 12, 3, seed=1)
    whole = SharedGaussian.fit(x, y, 3)
    for gaussian in (whole, whole.shortened(4)):
        again = SharedGaussian.unpack(gaussian.tensors())
        assert torch.equal(again.distances(fresh), gaussian.distances(fresh))
        assert (again.classes, again.describe()) == (gaussian.classes, gaussian.describe())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("centre", (11,)),
        ("means", (3, 11)),
        ("means", (2, 12)),
        ("means", (3, 12, 1)),
        ("axes", (12, 11)),
        ("axes", (11, 12)),
        ("variances", (11,)),
        ("counts", (4,)),
        ("counts", (3, 1)),
    ],
)
def test_tensors_that_do_not_fit_together(name: str, shape: tuple[int, ...]) -> None:
    x, y = clouds(60, 12, 3)
    tensors = SharedGaussian.fit(x, y, 3).tensors()
    with pytest.raises(ValueError, match="do not fit together"):
        SharedGaussian.unpack({**tensors, name: torch.ones(shape)})
