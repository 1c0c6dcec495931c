import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from nescio.errors import ArchitectureError
from nescio.familiarity.axes import Axes, AxesMoments
from nescio.familiarity.density import ClassMoments, GaussianDensities


def features(count: int, seed: int = 0, size: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, size, generator=generator) @ mixing + 3


def fitted_axes(x: Tensor, most: int = 128) -> Axes:
    moments = AxesMoments()
    for part in x.split(50):
        moments.add(part)
    axes = moments.axes(most)
    assert axes is not None
    return axes


def fit(x: Tensor, y: Tensor, classes: int, most_numbers: int = 10**6) -> GaussianDensities:
    axes = fitted_axes(x)
    moments = ClassMoments(axes, classes, most_numbers)
    for part, own in zip(x.split(50), y.split(50), strict=True):
        moments.add(axes(part), own)
    return moments.densities()


def test_axes_are_the_principal_ones() -> None:
    x = features(500)
    z = fitted_axes(x)(x)
    standard = (x - x.mean(0)) / x.std(0, correction=0)
    _, values, _ = torch.linalg.svd(standard, full_matrices=False)
    assert z.mean(0).abs().max() < 1e-4
    spreads = z.square().sum(0).sqrt().sort(descending=True).values
    assert torch.allclose(spreads, values, rtol=1e-3)


def test_axes_where_the_fast_algorithm_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    x = features(500)
    usual = fitted_axes(x)(x)

    def fail(_: Tensor) -> None:
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    other = fitted_axes(x)(x)
    assert torch.allclose(other.abs(), usual.abs(), rtol=1e-3, atol=1e-4)


def test_what_the_axes_leave_is_one_more_number() -> None:
    x = features(500)
    few = fitted_axes(x, 2)
    assert few(x).shape == (500, 3)
    standard = (x - few.centre) / few.spread
    left = (standard - standard @ few.basis @ few.basis.T).square().sum(1)
    assert torch.allclose(few(x)[:, 2].exp(), left / few.remainder, rtol=1e-3, atol=1e-5)
    assert "2 axes of 6 features and what they leave" in few.describe()


def test_a_feature_that_never_varied_is_missed_when_it_does() -> None:
    x = torch.cat([features(300), torch.zeros(300, 4)], 1)
    axes = fitted_axes(x)
    strange = x[:1].clone()
    strange[0, 8] = 1.0
    assert axes(x)[:, -1].max() < axes(strange)[0, -1] - 5


@pytest.mark.parametrize("value", [0.0, 3.0, 1e6])
def test_features_that_are_all_alike(value: float) -> None:
    moments = AxesMoments()
    moments.add(torch.full((20, 5), value))
    assert moments.axes() is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers(value: float) -> None:
    moments = AxesMoments()
    moments.add(torch.full((20, 5), value))
    with pytest.raises(ArchitectureError, match="NaN or infinite"):
        moments.axes()


def test_fewer_images_than_dimensions() -> None:
    x, y = torch.randn(8, 40, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    density = fit(x, y, 2)
    assert density.axes.basis.shape[1] <= 7
    assert bool(torch.isfinite(density.distances(x)).all())
    assert bool(torch.isfinite(density.left_out(x, y)).all())


def test_one_image_of_a_class() -> None:
    x = features(41)
    y = torch.cat([torch.zeros(40, dtype=torch.int64), torch.ones(1, dtype=torch.int64)])
    density = fit(x, y, 2)
    assert bool(torch.isfinite(density.distances(x)).all())
    assert bool(torch.isfinite(density.left_out(x, y)).all())


def test_distances_are_the_posterior_predictives() -> None:
    """Against the formula written out, for one class: Student's t about the class mean."""
    x, y = features(90), torch.arange(90) % 3
    density = fit(x, y, 3)
    z = density.axes(x).double()
    own = z[y == 1]
    n, k, size = len(own), density.strength, z.shape[1]
    scatters = [
        (z[y == c] - z[y == c].mean(0)).T @ (z[y == c] - z[y == c].mean(0)) for c in (0, 1, 2)
    ]
    shared = sum(scatters) / 90
    weight = size / (size + 90)
    pulled = (1 - weight) * shared + weight * torch.diag(shared.diagonal())
    scale = (k * pulled + scatters[1]) * (1 + 1 / n) / (n + k + 2)
    away = z - own.mean(0)
    expected = (away @ torch.linalg.inv(scale) * away).sum(1)
    assert torch.allclose(density.distances(x)[:, 1].double(), expected, rtol=1e-3)


@pytest.mark.parametrize("most_numbers", [10**6, 10], ids=["each class", "shared"])
def test_leaving_an_image_out_is_fitting_without_it(most_numbers: int) -> None:
    x, y = features(120), torch.arange(120) % 2
    density = fit(x, y, 2, most_numbers)
    assert density.shared == (most_numbers == 10)
    fast = density.left_out(x, y)
    moments = ClassMoments(density.axes, 2, most_numbers)
    moments.add(density.axes(x[1:]), y[1:])
    without = moments.densities().distances(x[:1])[0, 0]
    # The shared part is as of all images, so it is equal but for one part in 120.
    assert float(fast[0]) == pytest.approx(float(without), rel=0.06)
    assert bool((fast > density.distances(x).gather(1, y[:, None])[:, 0]).all())


def test_distances_of_gaussian_classes_follow_their_law() -> None:
    x, y = features(4000), torch.arange(4000) % 2
    density = fit(x, y, 2)
    fresh = density.distances(features(2000, seed=5))[:, 0]
    # (n + k + 2) - times a ratio; for so many images it is chi-square with 6 degrees.
    assert stats.kstest(fresh.numpy(), stats.chi2(6).cdf).pvalue > 1e-3


def test_strength_follows_how_alike_the_classes_are() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    alike = torch.randn(600, 4, generator=generator)
    unlike = alike * torch.tensor([[1.0, 1, 9, 9], [9, 9, 1, 1], [1, 9, 1, 9]])[y]
    assert fit(alike, y, 3).strength > 50 * fit(unlike, y, 3).strength
