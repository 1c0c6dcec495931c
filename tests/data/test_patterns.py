"""Sets that show nothing: what they are made of, by seed, in every shape."""

from collections.abc import Callable

import pytest
import torch

from nescio.data import (
    ImageSet,
    Preprocessing,
    blank,
    checkerboard,
    constant,
    load,
    natural,
)
from nescio.data.patterns import CHUNK, LEAST_CONTRAST, one_over_f

GREY = Preprocessing(1, 28, 28)
Make = Callable[..., ImageSet]


@pytest.mark.parametrize("make", [blank, constant, checkerboard, natural])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 33), (3, 2, 2), (1, 1, 1), (1, 1, 7)])
def test_any_shape_by_seed_whatever_the_count(make: Make, shape: tuple[int, int, int]) -> None:
    made = make(9, Preprocessing(*shape), seed=3)
    assert (made.name, made.labels) == (make.__name__, None)
    assert made.images.shape == (9, *shape)
    assert torch.equal(made.images[:4], make(4, Preprocessing(*shape), seed=3).images)
    assert len(make(0, Preprocessing(*shape))) == 0
    if make is not blank and max(shape) > 3:
        assert not torch.equal(made.images, make(9, Preprocessing(*shape), seed=4).images)


def test_the_first_do_not_depend_on_chunks() -> None:
    shape = Preprocessing(1, 3, 5)
    many = natural(CHUNK + 3, shape).images
    assert torch.equal(many[: CHUNK + 1], natural(CHUNK + 1, shape).images)


def test_blank_is_black() -> None:
    assert int(blank(2, GREY).images.max()) == 0


def test_constant_levels_are_uniform() -> None:
    images = constant(2000, Preprocessing(3, 2, 4)).images.flatten(2).float()
    assert torch.equal(images.amin(-1), images.amax(-1))
    assert (float(images.min()), float(images.max())) == (0, 255)
    assert float(images.mean()) == pytest.approx(127.5, abs=4)
    assert not torch.equal(images[:, 0], images[:, 1])


@pytest.mark.parametrize("channels", [1, 3])
def test_checkerboards_have_two_levels_in_square_fields(channels: int) -> None:
    images = checkerboard(200, Preprocessing(channels, 24, 30)).images.long()
    levels = [image.unique() for image in images.flatten(0, 1)]
    assert {len(two) for two in levels} == {2}
    contrast = torch.tensor([int(two[1] - two[0]) for two in levels])
    assert int(contrast.min()) >= LEAST_CONTRAST
    assert int(contrast.max()) > 220
    # Every row is the first one, as it is or with its levels exchanged.
    for image in images[:, 0]:
        low, high = image.unique().tolist()
        other = low + high - image[0]
        assert bool(((image == image[0]) | (image == other)).flatten(1).all())
        # Whole fields, those not cut by the border, are squares of one size.
        changes = (image[0].diff() != 0).nonzero().flatten()
        down = (image[:, 0].diff() != 0).nonzero().flatten()
        sizes = {*changes.diff().tolist(), *down.diff().tolist()}
        assert len(sizes) <= 1
        assert sizes <= set(range(2, 13))


def test_natural_noise_has_amplitudes_one_over_f() -> None:
    made = one_over_f(torch.rand(50, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    amplitude = torch.fft.rfft2(made).abs().mean((0, 1))
    assert float(amplitude[0, 0]) == pytest.approx(0, abs=1e-3)
    # At k cycles a side the frequency is k / 32 along an axis, and sqrt 2 of it along both.
    assert float(amplitude[0, 1] / amplitude[0, 4]) == pytest.approx(4, rel=1e-3)
    assert float(amplitude[3, 0] / amplitude[3, 3]) == pytest.approx(2**0.5, rel=1e-3)
    images = natural(20, GREY).images.flatten(1)
    assert images.amin(1).tolist() == [0] * 20
    assert images.amax(1).tolist() == [255] * 20


@pytest.mark.parametrize(
    ("source", "count"),
    [("blank", 1), ("constant", 256), ("checkerboard", 1000), ("natural", 1000), ("blank:7", 7)],
)
def test_they_are_names(source: str, count: int) -> None:
    made = load(source, labelled=False, preprocessing=Preprocessing(3, 6, 4))
    assert made.name == source.partition(":")[0]
    assert made.train.images.shape == (count, 3, 6, 4)
