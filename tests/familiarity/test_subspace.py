import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nescio.errors import ArchitectureError
from nescio.familiarity.subspace import (
    about,
    class_means,
    principal,
    squared_distances,
    unit,
    varies,
)


def features(count: int, size: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator)
    return torch.randn(count, size, generator=generator) @ mixing + 3


def test_features_are_brought_to_length_one() -> None:
    x = torch.tensor([[3.0, 4.0], [-300.0, 400.0], [0.0, 0.0]])
    expected = torch.tensor([[0.6, 0.8], [-0.6, 0.8], [0.0, 0.0]])
    assert torch.allclose(unit(x), expected)


def test_the_means_of_classes() -> None:
    x, y = features(50), torch.arange(50) % 4
    found = class_means(x, y, 4)
    assert found.dtype == torch.float64
    for label in range(4):
        assert np.allclose(found[label], x[y == label].double().numpy().mean(0))


def test_covariance_about_one_centre_and_about_many() -> None:
    x, y = features(200), torch.arange(200) % 4
    whole = np.cov(x.double().numpy().T, bias=True)
    assert np.allclose(about(x, x.double().mean(0)), whole, rtol=1e-3, atol=1e-3)
    means = class_means(x, y, 4)
    away = (x.double() - means[y]).numpy()
    assert np.allclose(about(x, means[y]), away.T @ away / 200, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers(value: float) -> None:
    x = features(20)
    x[3, 2] = value
    with pytest.raises(ArchitectureError, match="NaN or infinite"):
        about(x, features(20).double().mean(0))


@pytest.mark.parametrize("fails", [False, True], ids=["usual", "where the fast algorithm fails"])
@pytest.mark.parametrize(("count", "size"), [(500, 6), (5, 12)])
def test_principal_axes(
    monkeypatch: pytest.MonkeyPatch, fails: bool, count: int, size: int
) -> None:
    def fail(_: Tensor) -> None:
        raise torch.linalg.LinAlgError("failed to converge")

    if fails:
        monkeypatch.setattr(torch.linalg, "eigh", fail)
    x = features(count, size)
    covariance = about(x, x.double().mean(0))
    values, axes = principal(covariance)
    assert bool((values.diff() <= 0).all())
    assert float(values.min()) >= 0
    eye = torch.eye(size, dtype=torch.float64)
    assert torch.allclose(axes.T @ axes, eye, atol=1e-6)
    assert torch.allclose(axes * values @ axes.T, covariance, rtol=1e-6, atol=1e-6)
    singular = np.linalg.svd((x.double() - x.double().mean(0)).numpy(), compute_uv=False)
    expected = np.zeros(size)
    expected[: len(singular)] = singular**2 / count
    assert np.allclose(values, expected, rtol=1e-3, atol=1e-3)


def test_features_that_never_vary_come_last() -> None:
    x = torch.cat([torch.zeros(100, 3), features(100, 2)], 1)
    values, axes = principal(about(x, x.double().mean(0)))
    assert values[2:].tolist() == [0, 0, 0]
    assert torch.allclose(axes[:3, :2], torch.zeros(3, 2, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e6])
def test_what_is_the_same_for_every_image_does_not_vary(value: float) -> None:
    x = torch.full((20, 5), value, dtype=torch.float64)
    assert not varies(x)
    rounding = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert not varies(x * (1 + 1e-8 * rounding))
    assert varies(x + 1e-5 * max(1, abs(value)) * rounding)


def test_one_feature_that_varies_is_enough() -> None:
    x = torch.ones(20, 300)
    x[7, 250] = 1.1
    assert varies(x)


def test_distances_keep_their_digits_far_from_the_origin() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 1000 + torch.randn(40, 3, generator=generator)
    centres = points[:30] + torch.randint(1, 9, (30, 3), generator=generator) / 64
    found = squared_distances(points, centres)
    expected = (points.double()[:, None] - centres.double()).square().sum(2)
    assert torch.allclose(found.double(), expected, rtol=1e-4)
