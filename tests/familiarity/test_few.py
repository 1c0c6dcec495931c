"""Familiarity of very few training images: one or two of a class, or pictures alike."""

import math

import pytest
import torch
from tests_support import CLASSES, SEED, SIDE, small_network, stripes
from torch import Tensor, nn

from nescio.data import ImageSet
from nescio.errors import ArchitectureError, DataError
from nescio.familiarity import fit_familiarity
from nescio.training.prepare import require_pictures


def some_of_each(count: int, classes: int) -> ImageSet:
    """Pictures of noise, so many of each class."""
    generator = torch.Generator().manual_seed(0)
    shape = (count * classes, 1, SIDE, SIDE)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return ImageSet("few", images, torch.arange(len(images)) % classes, names(classes))


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"{number:04}" for number in range(classes))


@pytest.mark.parametrize(
    ("each", "classes"),
    [
        (1, 3),
        (2, 3),
        (3, 3),
        (4, 3),
        (5, 3),
        (2, 2),
        (1, 300),
        (2, 1),
        (1, 2),
    ],
)
def test_few_images_of_each_class(each: int, classes: int) -> None:
    images = some_of_each(each, classes)
    network = small_network().eval()
    familiarity = fit_familiarity(network, {}, images, classes=classes)
    evidence = familiarity.evidence(familiarity.reader(network, {}), images.images[:50])
    assert evidence.shape == (min(50, len(images)), len(familiarity.stages), classes)
    assert bool(torch.isfinite(evidence).all())
    # An image is of its own class, by the pictures' detail, or of none less.
    detail = evidence[:, familiarity.names.index("detail")]
    own = detail.gather(1, images.require_labels()[:50, None])[:, 0]
    assert bool((own <= detail.min(1).values + 1e-4).all())


@pytest.mark.slow
@pytest.mark.parametrize(("each", "classes"), [(1, 1000), (2, 700)])
def test_few_images_of_each_of_many_classes(each: int, classes: int) -> None:
    test_few_images_of_each_class(each, classes)


@pytest.mark.parametrize("each", [1, 2, 3, 6])
def test_pictures_of_one_colour_for_each_class(each: int) -> None:
    given = some_of_each(each, len(CLASSES))
    labels = given.require_labels()
    colours = (60 * labels + 30).to(torch.uint8)[:, None, None, None].expand_as(given.images)
    images = ImageSet("colours", colours.contiguous(), labels, CLASSES)
    network = small_network().eval()
    familiarity = fit_familiarity(network, {}, images, classes=len(CLASSES))
    evidence = familiarity.evidence(familiarity.reader(network, {}), images.images)
    assert bool(torch.isfinite(evidence).all())


def test_a_class_of_one_among_others_leans_on_them() -> None:
    given = stripes(31, 0)
    labels = given.require_labels().clone()
    labels[labels == 2] = 1
    labels[2] = 2
    network = small_network().eval()
    rare = ImageSet("rare", given.images, labels, CLASSES)
    familiarity = fit_familiarity(network, {}, rare, classes=3)
    evidence = familiarity.evidence(familiarity.reader(network, {}), stripes(30, 5).images)
    assert bool(torch.isfinite(evidence).all())


def untrained(kind: str) -> nn.Module:
    """Knows no image too well, so that leaving out in closed form tells of new ones."""
    if kind == "dense":
        return small_network().eval()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return nn.Sequential(
            nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(96, 40), nn.ReLU(), nn.Linear(40, len(CLASSES)),
        ).eval()  # fmt: skip


SETS, NEW = 8, 300
"""Of so many sets of training images, and so many new ones for each."""


def evidence_of_new(network: nn.Module, count: int) -> Tensor:
    """``(SETS, NEW, L)``, against the class that each image is of, before weights."""
    found = []
    for number in range(SETS):
        train, fresh = stripes(count, 7 + 100 * number), stripes(NEW, 9 + 100 * number)
        familiarity = fit_familiarity(network, {}, train, classes=3)
        evidence = familiarity.evidence(familiarity.reader(network, {}), fresh.images)
        labels = fresh.require_labels()[:, None, None].expand(-1, evidence.shape[1], 1)
        weights = torch.tensor([stage.log_weight for stage in familiarity.stages])
        found.append(evidence.gather(2, labels)[..., 0] - weights)
    return torch.stack(found)


@pytest.mark.parametrize("kind", ["dense", "convolutions"])
@pytest.mark.parametrize("count", [40, 90, 200, 600])
def test_new_images_are_as_familiar_as_the_evidence_says(kind: str, count: int) -> None:
    """Evidence is exponential with mean 1, up to what few images can tell of it.

    The mean over the sets has a variance of (1 / n + 1 / m) / SETS, as in test_familiarity; five
    standard errors are met by chance once in a million times.
    """
    evidence = evidence_of_new(untrained(kind), count)
    variance = (1 / count + 1 / NEW) / SETS
    # The farthest twentieth of few images tells little of how far others may lie: of what is
    # counted the mean is that of min(e, log 20), which is 19 / 20.
    counted = evidence.clamp_max(math.log(20)).mean((0, 1))
    assert bool((counted < 0.95 + 5 * variance**0.5).all())
    # The axes of the image follow few images too well, which errs on the safe side.
    assert float(counted[0]) > 0.4
    assert bool((counted[1:] > 0.95 - 5 * variance**0.5 - 0.1).all())
    beyond = (evidence > math.log(20)).double().mean((0, 1))
    # Of a few images one at least lies farthest.
    assert bool((beyond < 0.05 + 1 / (count + 1) + 5 * (0.05 * variance) ** 0.5).all())
    if count >= 200:
        assert bool((evidence.mean((0, 1)) < 1 + 5 * variance**0.5).all())


@pytest.mark.parametrize("kind", ["dense", "convolutions"])
@pytest.mark.parametrize("each", [3, 5])
def test_most_new_images_are_no_stranger_than_chance_has_it(kind: str, each: int) -> None:
    """Of very few images of each class: once all new images were strange."""
    evidence = evidence_of_new(untrained(kind), 3 * each)
    assert bool((evidence.flatten(0, 1).quantile(0.5, 0) < 1.2).all())
    assert bool(((evidence > math.log(20)).double().mean((0, 1)) < 0.25).all())


def test_new_images_are_seldom_impossible_beside_two_of_each_class() -> None:
    evidence = evidence_of_new(untrained("dense"), 6)
    assert bool(((evidence > 50).double().mean((0, 1)) < 0.01).all())


def test_pictures_that_are_all_the_same_are_refused() -> None:
    pixels = torch.full((6, 1, SIDE, SIDE), 7, dtype=torch.uint8)
    same = ImageSet("same", pixels, torch.arange(6) % 3, CLASSES)
    with pytest.raises(ArchitectureError, match="alike"):
        fit_familiarity(small_network().eval(), {}, same, classes=3)


@pytest.mark.parametrize("place", [1, 2, 599])
def test_pictures_that_are_all_the_same_are_refused_before_training(place: int) -> None:
    pixels = torch.full((600, 1, SIDE, SIDE), 7, dtype=torch.uint8)
    same = ImageSet("same", pixels, torch.arange(600) % 3, CLASSES)
    with pytest.raises(DataError, match="same: all 600 training images are one picture"):
        require_pictures(same)
    pixels[place, 0, 3, 3] = 8
    require_pictures(same)
