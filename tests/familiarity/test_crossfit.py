"""Distances of few images from their classes, by densities that never saw them."""

import numpy as np
import pytest
import torch
from torch import Tensor

import nescio
from nescio.data import Dataset, ImageSet
from nescio.familiarity.axes import AxesMoments, axes_of_few
from nescio.familiarity.crossfit import cross_fitted, fit_density
from nescio.familiarity.tail import fit_tail
from nescio.inference import DEFAULT


def clouds(images: int, features: int, seed: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Normal clouds about class means that lie apart: ``(n, d)`` and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    means = np.random.default_rng(99).normal(0, 1, (classes, features))
    points = means[labels] + rng.normal(0, 1, (images, features))
    return torch.from_numpy(points).float(), torch.from_numpy(labels)


@pytest.mark.parametrize(("images", "features"), [(30, 50), (30, 12)])
def test_axes_of_few_are_the_axes_of_the_moments(images: int, features: int) -> None:
    points, _ = clouds(images, features, 0)
    moments = AxesMoments()
    moments.add(points)
    expected, found = moments.axes(8), axes_of_few(points, 8)
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found.centre, expected.centre)
    torch.testing.assert_close(found.spread, expected.spread)
    torch.testing.assert_close(found.remainder, expected.remainder)
    overlap = (found.basis.T @ expected.basis).abs()  # a sign is free
    torch.testing.assert_close(overlap, torch.eye(8), atol=1e-4, rtol=0)
    assert axes_of_few(torch.ones(5, 7), 2) is None


@pytest.mark.parametrize("plane", [None, False, True])
def test_new_images_lie_no_farther_than_cross_fitting_says(plane: bool | None) -> None:
    """Of new images of known classes about as many are strange as the tail says, not all."""
    apart, known, evidence = [], [], []
    for seed in range(20):
        points, labels = clouds(45, 60, seed)
        fresh, own = clouds(300, 60, 100 + seed)
        density = fit_density(points, labels, 3, plane, most=18)
        found = cross_fitted(points, labels, 3, plane, most=18)
        assert density is not None
        assert found is not None
        distances, order = found
        assert sorted(order.tolist()) == sorted(labels.tolist())
        new = density.distances(fresh).gather(1, own[:, None])[:, 0]
        apart.append(float((new > distances.quantile(0.75)).float().mean()))
        # By the images' own fit new ones are all strange: that is what went wrong before.
        within = density.distances(points).gather(1, labels[:, None])[:, 0]
        known.append(float((new > within.quantile(0.75)).float().mean()))
        against = fit_tail(distances, order, 3)(density.distances(fresh))
        evidence.append(float(against.gather(1, own[:, None]).mean()))
    # A quarter beyond the upper quartile; or fewer, since four fifths of the images know less.
    # The quartile of 45 distances varies by 0.065, its mean over 20 by 0.015.
    assert np.mean(apart) < 0.25 + 3 * 0.015
    assert np.mean(known) > 0.5
    assert np.mean(evidence) < 1.5  # 1 where new images are like those


def test_an_only_image_of_its_class_is_never_left_out() -> None:
    points, labels = clouds(31, 8, 3)
    labels = labels.clone()
    labels[-1] = 3
    found = cross_fitted(points, labels, 4, plane=False, most=5)
    assert found is not None
    assert len(found[0]) == 30
    assert 3 not in found[1]
    assert bool(torch.isfinite(found[0]).all())


def test_nothing_can_be_left_out_where_every_class_has_one_image() -> None:
    points, _ = clouds(4, 8, 4)
    assert cross_fitted(points, torch.arange(4), 4, plane=None, most=2) is None


def test_few_images_do_not_overrule_the_network() -> None:
    """Four images a class: familiarity once chose one class for nearly all images."""
    data = nescio.load("digits")
    parts = nescio.split(data, seed=0, calibration=0.0, test=0.3)
    labels = parts.train.require_labels()
    chosen = torch.cat([(labels == c).nonzero()[:5, 0] for c in range(10)])
    few: ImageSet = parts.train.subset(chosen)
    recipe = nescio.Recipe(**{**vars(DEFAULT), "epochs": 60, "minimum_steps": 0})
    fitted = nescio.fit("mlp", Dataset("few", few, parts.test), recipe=recipe, seed=0)
    images, truth = parts.test, parts.test.require_labels()
    alone = fitted.predict_samples(images, samples=20).mean(0).argmax(1)
    together = fitted.decide(images, samples=20).forced
    right_alone = float((alone == truth).float().mean())
    assert right_alone > 0.5
    assert float((together == truth).float().mean()) > right_alone - 0.1
