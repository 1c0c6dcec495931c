import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from nescio.familiarity.perclass import IMAGES_A_CLUSTER, MOST_CLUSTERS, ClassGaussians
from nescio.familiarity.subspace import about, principal

EACH = IMAGES_A_CLUSTER
"""Two blobs of so many images are two clusters."""

ONE_CLUSTER = 2 * 6**2
"""Numbers that two classes' matrices of six dimensions have, if no class has clusters."""


def features(count: int, seed: int = 0, size: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, size, generator=generator) @ mixing + 3


def fit(x: Tensor, y: Tensor, classes: int, most_numbers: int = 10**6) -> ClassGaussians:
    """Along the principal axes of the features, as many as there can be."""
    _, axes = principal(about(x, x.double().mean(0)))
    kept = axes[:, : min(x.shape[1], len(x) - 1)].float()
    return ClassGaussians.fit(x, y, classes, axes=kept, most_numbers=most_numbers)


def blobs(centres: list[list[float]], each: int, seed: int = 0) -> Tensor:
    """So many points around each of the centres, with a spread of 1."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.tensor(centres).repeat_interleave(each, 0)
    return torch.randn(means.shape, generator=generator) + means


def predictive(z: Tensor, parts: list[Tensor], place: int, strength: float) -> np.ndarray:
    """Squared distances of ``z`` from the part at ``place``, by the formula written out."""
    scatters = [(part - part.mean(0)).T @ (part - part.mean(0)) for part in parts]
    total, size, n = sum(map(len, parts)), z.shape[1], len(parts[place])
    shared = sum(scatters) / total
    weight = size / (size + total)
    pulled = (1 - weight) * shared + weight * torch.diag(shared.diagonal())
    scale = (strength * pulled + scatters[place]) * (1 + 1 / n) / (n + strength + 2)
    away = z - parts[place].mean(0)
    return (away @ torch.linalg.inv(scale) * away).sum(1).numpy()


def test_distances_are_the_posterior_predictives() -> None:
    """Against the formula written out, for one class: Student's t about the class mean."""
    x, y = features(90), torch.arange(90) % 3
    density = fit(x, y, 3)
    z = (x.double() - x.double().mean(0)) @ density.axes.double()
    expected = predictive(z, [z[y == c] for c in range(3)], 1, density.strength)
    assert np.allclose(density.distances(x)[:, 1], expected, rtol=1e-3)


def test_only_what_is_along_the_axes_counts() -> None:
    x, y = features(90), torch.arange(90) % 3
    axes = torch.eye(6)[:, [1, 4]]
    density = ClassGaussians.fit(x, y, 3, axes=axes)
    moved = x + torch.tensor([5.0, 0, -7, 2, 0, 1])
    assert torch.allclose(density.distances(moved), density.distances(x), rtol=1e-3, atol=1e-4)
    assert "2 of 6 axes" in density.describe()


@pytest.mark.parametrize("most_numbers", [10**6, 10], ids=["each class", "shared"])
def test_leaving_an_image_out_is_fitting_without_it(most_numbers: int) -> None:
    x, y = features(120), torch.arange(120) % 2
    density = fit(x, y, 2, most_numbers)
    assert density.shared == (most_numbers == 10)
    fast = density.left_out(x, y)
    for place in (0, 1, 57):
        rest = torch.arange(120) != place
        without = ClassGaussians.fit(
            x[rest], y[rest], 2, axes=density.axes, most_numbers=most_numbers
        )
        # The strength may be another of the grid, and the pull to the diagonal is of one image
        # less: it is equal but for a few parts in 120.
        expected = without.distances(x[place][None])[0, y[place]]
        assert float(fast[place]) == pytest.approx(float(expected), rel=0.06)
    assert bool((fast > density.distances(x).gather(1, y[:, None])[:, 0]).all())


@pytest.mark.parametrize("most_numbers", [10**6, 10], ids=["each class", "shared"])
def test_leaving_an_image_out_in_closed_form(most_numbers: int) -> None:
    """Its mean and its part of the scatters are gone; strength and pull are held."""
    y = torch.arange(40) % 2
    # Classes that are so unlike that they lean little on one another.
    x = features(40) * torch.tensor([[1.0, 1, 9, 9, 1, 1], [9, 9, 1, 1, 9, 1]])[y]
    density = ClassGaussians.fit(x, y, 2, axes=torch.eye(6), most_numbers=most_numbers)
    found = density.left_out(x, y)
    z = (x - x.mean(0)).double()
    means = [z[y == c].mean(0) for c in (0, 1)]
    scatters = [(z[y == c] - means[c]).T @ (z[y == c] - means[c]) for c in (0, 1)]
    weight, shared = 6 / 46, (scatters[0] + scatters[1]) / 40
    pulled = (1 - weight) * shared + weight * torch.diag(shared.diagonal())
    for place in (0, 1, 17):
        own = int(y[place])
        part = 20 / 19 * torch.outer(z[place] - means[own], z[place] - means[own])
        if density.shared:
            without = (pulled - part / 40) * (1 + 1 / 19)
        else:
            k = density.strength
            without = (
                (k * (pulled - part / 40) + scatters[own] - part) * (1 + 1 / 19) / (19 + k + 2)
            )
        rest = (y == own) & (torch.arange(40) != place)
        away = z[place] - z[rest].mean(0)
        expected = float(away @ torch.linalg.solve(without, away))
        assert float(found[place]) == pytest.approx(expected, rel=1e-3)


def test_leaving_an_image_out_of_its_cluster() -> None:
    x = torch.cat([blobs([[-9.0, 0, 0], [9, 0, 0]], EACH), blobs([[0.0, 9, 0]], 50, seed=1)])
    y = (torch.arange(2 * EACH + 50) >= 2 * EACH).long()
    density = fit(x, y, 2)
    assert density.owners.tolist() == [0, 0, 1]
    fast = density.left_out(x, y)
    own = density.distances(x).gather(1, y[:, None])[:, 0]
    assert bool((fast > own).all())
    for place, other in ((3, EACH + 5), (EACH + 3, 5), (2 * EACH + 7, 5)):
        # One of another cluster stands twice, so that there are as many.
        rest = (torch.arange(len(x)) != place).nonzero()[:, 0]
        rest = torch.cat([rest, torch.tensor([other])])
        without = ClassGaussians.fit(x[rest], y[rest], 2, axes=density.axes)
        assert without.owners.tolist() == [0, 0, 1]
        expected = without.distances(x[place][None])[0, y[place]]
        assert float(fast[place]) == pytest.approx(float(expected), rel=0.06)


def test_distances_of_gaussian_classes_follow_their_law() -> None:
    x, y = features(4000), torch.arange(4000) % 2
    density = fit(x, y, 2, ONE_CLUSTER)
    assert len(density.owners) == 2
    assert not density.shared
    fresh = density.distances(features(2000, seed=5))[:, 0]
    # Of so many images it is chi-square with 6 degrees.
    assert stats.kstest(fresh.numpy(), stats.chi2(6).cdf).pvalue > 1e-3


@pytest.mark.parametrize("most_numbers", [2 * 6**2, 10], ids=["each class", "shared"])
def test_left_out_distances_are_those_of_new_images(most_numbers: int) -> None:
    """Of few images, too: on average they lie where new ones do."""
    left, fresh = [], []
    for seed in range(20):
        x, y = features(60, seed=seed), torch.arange(60) % 2
        # The axes are not those of the images: these would follow them.
        density = ClassGaussians.fit(x, y, 2, axes=torch.eye(6), most_numbers=most_numbers)
        left.append(float(density.left_out(x, y).log().mean()))
        fresh.append(float(density.distances(features(500, seed=100 + seed))[:, 0].log().mean()))
    apart = np.array(left) - np.array(fresh)
    assert abs(apart.mean()) < 5 * apart.std() / 20**0.5


def test_strength_follows_how_alike_the_classes_are() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    alike = torch.randn(600, 4, generator=generator)
    unlike = alike * torch.tensor([[1.0, 1, 9, 9], [9, 9, 1, 1], [1, 9, 1, 9]])[y]
    assert fit(alike, y, 3).strength > 50 * fit(unlike, y, 3).strength


def test_fewer_images_than_dimensions() -> None:
    x, y = torch.randn(8, 40, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    density = fit(x, y, 2)
    assert density.axes.shape == (40, 7)
    assert bool(torch.isfinite(density.distances(x)).all())
    assert bool(torch.isfinite(density.left_out(x, y)).all())


@pytest.mark.parametrize("most_numbers", [10**6, 10], ids=["each class", "shared"])
def test_one_image_of_a_class(most_numbers: int) -> None:
    x = features(41)
    y = torch.cat([torch.zeros(40, dtype=torch.int64), torch.ones(1, dtype=torch.int64)])
    density = fit(x, y, 2, most_numbers)
    distances, left = density.distances(x), density.left_out(x, y)
    assert bool(torch.isfinite(distances).all())
    # It is its own mean, and has no other.
    assert float(left[-1]) == pytest.approx(0, abs=1e-4)
    assert bool((left[:40] > distances[:40, 0]).all())


def test_classes_of_one_image_vary_as_all_images_do() -> None:
    x = features(5)
    density = fit(x, torch.arange(5), 5)
    assert bool(torch.isfinite(density.distances(x)).all())
    assert bool(torch.isfinite(density.left_out(x, torch.arange(5))).all())
    assert density.distances(x).argmin(1).tolist() == list(range(5))


def test_many_classes_share_one_covariance_by_hand() -> None:
    x, y = features(200), torch.arange(200) % 50
    density = fit(x, y, 50, most_numbers=50 * 6**2 - 1)
    assert density.shared
    assert density.strength == math.inf
    assert density.whiteners.shape == (1, 6, 6)
    assert "one covariance for all classes" in density.describe()
    z = (x.double() - x.double().mean(0)) @ density.axes.double()
    means = torch.stack([z[y == c].mean(0) for c in range(50)])
    scatter = (z - means[y]).T @ (z - means[y]) / 200
    weight = 6 / 206
    inverse = torch.linalg.inv((1 - weight) * scatter + weight * torch.diag(scatter.diagonal()))
    away = z[:, None] - means
    expected = torch.einsum("nci,ij,ncj->nc", away, inverse, away) / (1 + 1 / 4)
    assert torch.allclose(density.distances(x).double(), expected, rtol=1e-3)
    one_more = fit(x, y, 50, most_numbers=50 * 6**2)
    assert not one_more.shared
    assert "a covariance for each class" in one_more.describe()


def test_a_class_that_looks_two_ways_has_two_clusters() -> None:
    first, second = [-20.0, 0.0], [20.0, 0.0]
    x = torch.cat([blobs([first, second], EACH + 9), blobs([[0.0, 30.0]], 50, seed=1)])
    y = (torch.arange(len(x)) >= 2 * EACH + 18).long()
    density = ClassGaussians.fit(x, y, 2, axes=torch.eye(2))
    assert density.classes == 2
    assert density.owners.tolist() == [0, 0, 1]
    assert density.counts.tolist() == [EACH + 9, EACH + 9, 50]
    assert "3 clusters, a covariance for each cluster" in density.describe()
    # The distance from the class is that from the nearer of its clusters, each by hand.
    z = (x - x.mean(0)).double()
    parts = list(z.split([EACH + 9, EACH + 9, 50]))
    if float(density.means[0, 0]) > float(density.means[1, 0]):  # k-means names them as it likes
        parts[:2] = parts[1::-1]
    asked = blobs([first, second, [0.0, 0.0], [0.0, 30.0]], 5, seed=2)
    mean = x.double().mean(0)
    each = np.stack(
        [predictive(asked.double() - mean, parts, b, density.strength) for b in range(3)], 1
    )
    found = density.distances(asked)
    assert found.shape == (20, 2)
    assert np.allclose(found[:, 0], each[:, :2].min(1), rtol=1e-3)
    assert np.allclose(found[:, 1], each[:, 2], rtol=1e-3)
    # What lies between the two ways is of neither.
    assert float(found[10:15, 0].min()) > 10 * float(found[:10, 0].max())


def test_clusters_are_only_for_classes_with_enough_images() -> None:
    def clusters(each: int, most_numbers: int = 10**6) -> list[int]:
        x = blobs([[-20.0, 0.0], [20.0, 0.0], [0.0, 20.0]], each)
        y = torch.zeros(3 * each, dtype=torch.int64)
        found = ClassGaussians.fit(x, y, 1, axes=torch.eye(2), most_numbers=most_numbers)
        return found.counts.tolist()

    assert len(clusters((2 * EACH - 1) // 3)) == 1
    assert len(clusters(2 * EACH // 3 + 1)) == 2
    assert clusters(EACH) == [EACH] * 3
    assert len(clusters(MOST_CLUSTERS * EACH)) == MOST_CLUSTERS
    # As many as their matrices may take.
    assert len(clusters(MOST_CLUSTERS * EACH, most_numbers=3 * 2**2)) == 3


def test_clusters_count_each_axis_alike() -> None:
    """Two ways along a short axis are told apart beside a long one."""
    x = blobs([[0.0, -20.0], [0.0, 20.0]], EACH) * torch.tensor([1000.0, 1.0])
    y = torch.zeros(2 * EACH, dtype=torch.int64)
    density = ClassGaussians.fit(x, y, 1, axes=torch.eye(2))
    assert density.counts.tolist() == [EACH, EACH]


def test_the_same_fit_twice() -> None:
    x, y = features(1500), torch.arange(1500) % 2
    first, second = fit(x, y, 2).tensors(), fit(x, y, 2).tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("alike", ["images", "an axis"])
def test_many_images_of_a_class_that_are_alike(alike: str) -> None:
    x, y = features(1200), torch.arange(1200) % 2
    if alike == "images":
        x[y == 0] = x[0].clone()
    else:
        x[:, 2] = y.float()
    density = ClassGaussians.fit(x, y, 2, axes=torch.eye(6))
    assert bool(torch.isfinite(density.distances(x)).all())
    assert density.distances(x).argmin(1).tolist() == y.tolist()


def clustered() -> ClassGaussians:
    x = torch.cat([blobs([[-20.0, 0.0, 0], [20.0, 0.0, 0]], EACH), blobs([[0.0, 30.0, 0]], 50)])
    y = (torch.arange(len(x)) >= 2 * EACH).long()
    return ClassGaussians.fit(x, y, 2, axes=torch.eye(3)[:, :2])


@pytest.mark.parametrize("most_numbers", [10**6, 10], ids=["each class", "shared"])
def test_packing_is_exact(most_numbers: int) -> None:
    x, y = features(90), torch.arange(90) % 3
    for density, asked in ((fit(x, y, 3, most_numbers), x), (clustered(), x[:, :3])):
        again = ClassGaussians.unpack(density.tensors())
        assert torch.equal(again.distances(asked), density.distances(asked))
        assert (again.classes, again.describe()) == (density.classes, density.describe())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("centre", torch.zeros(2)),
        ("axes", torch.zeros(2, 2)),
        ("axes", torch.zeros(3, 3)),
        ("means", torch.zeros(3, 3)),
        ("means", torch.zeros(2, 2)),
        ("whiteners", torch.zeros(2, 2, 2)),
        ("whiteners", torch.zeros(3, 2, 3)),
        ("counts", torch.ones(2)),
        ("owners", torch.tensor([0, 1])),
        ("owners", torch.tensor([0, 0, 1, 1])),
        ("owners", torch.tensor([0, 1, 0])),
        ("owners", torch.tensor([1, 0, 0])),
        ("owners", torch.tensor([0, 0, 2])),
        ("owners", torch.tensor([1, 1, 2])),
        ("owners", torch.tensor([-1, 0, 1])),
    ],
)
def test_tensors_that_do_not_fit_together(name: str, value: Tensor) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        ClassGaussians.unpack({**clustered().tensors(), name: value})
