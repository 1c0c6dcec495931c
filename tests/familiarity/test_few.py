"""Familiarity of very few training images: one or two of a class, or pictures alike."""

import pytest
import torch
from tests_support import CLASSES, SIDE, small_network, stripes

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
    [(1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (1, 2), (2, 2), (1, 300)],
)
def test_few_images_of_each_class(each: int, classes: int) -> None:
    images = some_of_each(each, classes)
    network = small_network().eval()
    familiarity = fit_familiarity(network, {}, images, classes=classes)
    evidence = familiarity.evidence(familiarity.reader(network, {}), images.images[:50])
    assert evidence.shape == (min(50, len(images)), len(familiarity.stages), classes)
    assert bool(torch.isfinite(evidence).all())
    # An image is of its own class, by the pictures themselves, or of none less.
    own = evidence[:, 0].gather(1, images.require_labels()[:50, None])[:, 0]
    assert bool((own <= evidence[:, 0].min(1).values + 1e-4).all())


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
