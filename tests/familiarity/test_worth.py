import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from nescio.familiarity.perclass import ClassGaussians
from nescio.familiarity.shared import SharedGaussian
from nescio.familiarity.worth import LEAST_WEIGHT, SHARPNESS, Fit, area, log_weights, stage_worth

FITS: dict[str, Fit] = {
    "shared": SharedGaussian.fit,
    "a covariance for each": partial(ClassGaussians.fit, axes=torch.eye(6)),
}

NUMBERS = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(low=NUMBERS, high=NUMBERS)
def test_the_area_is_that_under_the_curve(low: list[int], high: list[int]) -> None:
    expected = roc_auc_score([0] * len(low) + [1] * len(high), low + high)
    found = area(torch.tensor(low).float(), torch.tensor(high).float())
    assert found == pytest.approx(expected)


def test_areas_by_hand() -> None:
    low, high = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 9.0])
    assert area(low, high) == pytest.approx((1.5 + 3) / 6)
    assert area(low, low + 5) == 1
    assert area(low + 5, low) == 0
    assert area(low, low) == 0.5
    assert area(low, torch.tensor([torch.inf])) == 1


def clouds(classes: int, apart: float, each: int = 400) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(each * classes) % classes
    means = apart * torch.randn(classes, 6, generator=generator)
    return torch.randn(each * classes, 6, generator=generator) + means[y], y


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_noise_tells_nothing(fit: Fit, classes: int) -> None:
    x, y = clouds(classes, 0)
    # The mean of as many areas, each of 400 numbers against at least as many: their standard
    # deviation is at most sqrt(1 / 12 (1 / 400 + 1 / 400)) = 0.02 (Mann & Whitney). The nearest of
    # several classes that are alike is nearer than the own one, so that it is rather less.
    worth = stage_worth(x, y, classes, fit)
    assert worth < 0.5 + 5 * 0.02 / classes**0.5
    if classes == 2:
        assert worth > 0.5 - 5 * 0.02 / 2**0.5


def test_images_that_a_density_was_fitted_to_are_left_out_of_it() -> None:
    """Or noise in many dimensions would be told from them: they lie nearer than any other."""
    x = torch.randn(200, 60, generator=torch.Generator().manual_seed(0))
    worth = stage_worth(x, torch.arange(200) % 2, 2, SharedGaussian.fit)
    assert abs(worth - 0.5) < 5 * (1 / 12 * (1 / 100 + 1 / 100)) ** 0.5 / 2**0.5


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_classes_far_apart_are_told(fit: Fit, classes: int) -> None:
    x, y = clouds(classes, 30)
    assert stage_worth(x, y, classes, fit) > 0.99


def test_worth_rises_with_the_distance_of_the_classes() -> None:
    found = [stage_worth(*clouds(4, apart), 4, SharedGaussian.fit) for apart in (0, 1, 2, 4)]
    assert found == sorted(found)


def test_a_single_class_tells_nothing() -> None:
    x, y = clouds(1, 0)
    assert stage_worth(x, y, 1, SharedGaussian.fit) == 0.5


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize(("each", "classes"), [(1, 3), (1, 7), (2, 2), (2, 30)])
def test_worth_of_few_images(fit: Fit, each: int, classes: int) -> None:
    x, y = clouds(classes, 1, each)
    assert 0 <= stage_worth(x, y, classes, fit) <= 1


@pytest.mark.parametrize(
    "fit",
    [
        FITS["shared"],
        FITS["a covariance for each"],
    ],
    ids=FITS,
)
def test_worth_of_two_images(fit: Fit) -> None:
    x, y = clouds(2, 1, 1)
    assert 0 <= stage_worth(x, y, 2, fit) <= 1


def test_classes_are_left_out_in_groups() -> None:
    """No density is fitted to an image of a class that it is asked for, but to all the others."""
    seen: list[tuple[int, int]] = []

    def fit(features: Tensor, labels: Tensor, classes: int) -> SharedGaussian:
        seen.append((len(features), classes))
        assert labels.unique().tolist() == list(range(classes))
        return SharedGaussian.fit(features, labels, classes)

    stage_worth(*clouds(13, 1, 10), 13, fit)
    assert seen == [(100, 10)] + [(110, 11)] * 5
    seen.clear()
    stage_worth(*clouds(3, 1, 10), 3, fit)
    assert seen == [(20, 2)] * 3


WORTH = st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(worth=WORTH)
def test_weights_sum_to_one_and_none_is_too_little(worth: dict[str, float]) -> None:
    weights = {name: math.exp(own) for name, own in log_weights(worth).items()}
    assert set(weights) == set(worth)
    assert sum(weights.values()) == pytest.approx(1)
    most = max(weights.values())
    assert all(own >= LEAST_WEIGHT * most * (1 - 1e-9) for own in weights.values())
    best = max(worth, key=worth.__getitem__)
    assert weights[best] == pytest.approx(most)
    # What is worth more never weighs less.
    by_worth = sorted(worth, key=worth.__getitem__)
    rising = [weights[name] for name in by_worth]
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(rising))


def test_weights_by_hand() -> None:
    found = log_weights({"best": 0.9, "half": 0.7, "nothing": 0.5, "less": 0.2})
    parts = {
        "best": 1.0,
        "half": max(LEAST_WEIGHT, 0.5**SHARPNESS),
        "nothing": LEAST_WEIGHT,
        "less": LEAST_WEIGHT,
    }
    total = sum(parts.values())
    assert found == pytest.approx({name: math.log(own / total) for name, own in parts.items()})


@pytest.mark.parametrize("worth", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_one_stage_alone_has_all_the_weight(worth: float) -> None:
    assert log_weights({"only": worth}) == {"only": 0.0}


def test_stages_that_all_see_nothing_weigh_alike() -> None:
    found = log_weights({"a": 0.5, "b": 0.4, "c": 0.1, "d": 0.5})
    assert found == pytest.approx(dict.fromkeys("abcd", -math.log(4)))
