import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nescio.familiarity.wavelets import DIRECTIONS, FAINT, Wavelets

WAVELETS = Wavelets(torch.device("cpu"))


def bar(angle: float, *, across: float = 0.0, side: int = 28) -> Tensor:
    """A soft bar through the middle, ``(1, 1, side, side)``, as thick as its side has it."""
    place = (torch.arange(side) - (side - 1) / 2) * (28 / side)
    down, right = torch.meshgrid(place, place, indexing="ij")
    aside = down * math.cos(angle) - right * math.sin(angle) - across
    return torch.exp(-(aside**2) / 4)[None, None]


def noise(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def strength(features: Tensor) -> Tensor:
    """What was averaged over the fields, before its root was taken."""
    return (features.double() + math.sqrt(FAINT)).square() - FAINT


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 28, 28), 16 + 3 * 6 * 16),
        ((3, 28, 28), 3 * (16 + 3 * 6 * 16)),
        ((1, 8, 8), 16 + 2 * 6 * 16),
        ((1, 3, 3), 9 + 6 * 9),
        ((1, 1, 1), 1 + 6),
        ((1, 1, 7), 4 + 6 * 4),
        # A single row can't be halved; it is brought down alone.
        ((1, 1, 1000), 4 + 6 * 4),
        ((1, 1000, 1), 4 + 6 * 4),
        # Halved while more than a row is left.
        ((1, 5, 400), 3 * 2 * 4 + 3 * 4 + 4 + 6 * 4),
        ((1, 100, 30), 3 * 16 + 16 + 2 * 6 * 16),
        # Odd sides lose a row when they are halved.
        ((1, 63, 65), 3 * 16 + 16 + 3 * 6 * 16),
        ((2, 144, 144), 2 * (2 * 3 * 16 + 16 + 3 * 6 * 16)),
        ((3, 224, 224), 3 * (2 * 3 * 16 + 16 + 3 * 6 * 16)),
    ],
)
def test_any_image_is_read(shape: tuple[int, ...], size: int) -> None:
    read = WAVELETS(noise(2, *shape))
    assert read.shape == (2, size)
    assert read.dtype == torch.float32
    assert bool(torch.isfinite(read).all())
    assert float(read.min()) > -1e-6


def test_no_image_is_read() -> None:
    assert WAVELETS(torch.zeros(0, 1, 28, 28)).shape == (0, 304)


def test_a_uniform_image_has_no_waves() -> None:
    read = strength(WAVELETS(torch.full((1, 1, 28, 28), 0.25)))
    assert torch.allclose(read[0, :16], torch.full((16,), 0.25, dtype=torch.float64), atol=1e-6)
    # Away from the border, where the image ends.
    inner = [5, 6, 9, 10]
    waves = read[0, 16:].view(-1, DIRECTIONS, 16)
    assert float(waves[:2, :, inner].abs().max()) < 1e-4


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_uniform_image_has_no_details(value: float) -> None:
    read = strength(WAVELETS(torch.full((1, 1, 144, 144), value)))
    details, level = read[0, : 2 * 48], read[0, 2 * 48 : 2 * 48 + 16]
    assert float(details.abs().max()) < 1e-6
    assert torch.allclose(level, torch.full_like(level, value), atol=1e-5)


def test_the_details_of_haar_by_hand() -> None:
    a, b, c, d = 0.1, 0.9, 0.4, 0.7
    x = torch.tensor([[a, b], [c, d]]).repeat(32, 32)[None, None]
    read = strength(WAVELETS(x))[0, :64].view(4, 16)
    expected = [abs(a + b - c - d), abs(a - b + c - d), abs(a - b - c + d), a + b + c + d]
    for found, number in zip(read, expected, strict=True):
        assert torch.allclose(found, torch.full_like(found, number / 4), atol=1e-5)


def test_noise_shows_in_the_details_of_a_large_image() -> None:
    """Of four uniform numbers the sum, with signs, is 7/15 from its mean on average."""
    read = strength(WAVELETS(noise(4, 1, 144, 144)))
    first = read[:, :48].reshape(-1)
    # Each of 4 x 3 x 16 averages is of 18 x 18 sizes, which spread by less than 0.1.
    assert float((first - 7 / 60).abs().max()) < 6 * 0.1 / 18
    # A surface as bright and without noise has none.
    smooth = strength(WAVELETS(torch.full((1, 1, 144, 144), 0.5)))
    assert float(first.min()) > 1000 * float(smooth[:, :96].abs().max())


def test_the_waves_by_hand() -> None:
    """A single bright pixel answers with the size of the wave itself, turned about."""
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 3, 4] = 1
    read = strength(WAVELETS(x))[0, 16 : 16 + 16 * DIRECTIONS].view(DIRECTIONS, 4, 4)
    down, across = np.mgrid[-3:4, -3:4]
    for number in range(DIRECTIONS):
        angle = math.pi * number / DIRECTIONS
        along = across * math.cos(angle) + down * math.sin(angle)
        aside = down * math.cos(angle) - across * math.sin(angle)
        # Half a wave in two pixels, under an envelope of 1.2 pixels, longer across than along.
        envelope = np.exp(-(along**2 + 0.36 * aside**2) / 2.88)
        wave = envelope * (np.exp(0.5j * math.pi * along))
        wave = (wave - envelope * wave.sum() / envelope.sum()) / envelope.sum()
        sizes = np.zeros((8, 8))
        sizes[0:7, 1:8] = np.abs(wave[::-1, ::-1])
        expected = sizes.reshape(4, 2, 4, 2).mean((1, 3))
        assert np.allclose(read[number], expected, atol=1e-5)


def test_directions_are_told_apart() -> None:
    for number in range(DIRECTIONS):
        # A wave along an angle answers to bars across it.
        read = strength(WAVELETS(bar(math.pi * number / DIRECTIONS + math.pi / 2)))
        finest = read[0, 16 : 16 + 16 * DIRECTIONS].view(DIRECTIONS, 16).sum(1)
        assert int(finest.argmax()) == number


@pytest.mark.parametrize("side", [28, 112])
def test_a_stroke_that_moves_a_little_stays_like_itself(side: int) -> None:
    here, beside = bar(0.6, side=side), bar(0.6, across=1.5, side=side)
    turned = bar(0.6 + math.pi / 2, side=side)

    def ratio(read: Callable[[Tensor], Tensor]) -> float:
        return float((read(here) - read(beside)).norm() / (read(here) - read(turned)).norm())

    assert ratio(WAVELETS) < 0.5 * ratio(lambda x: x)


def test_a_brighter_image_has_stronger_waves() -> None:
    faint, strong = strength(WAVELETS(0.25 * bar(0.6))), strength(WAVELETS(bar(0.6)))
    assert torch.allclose(4 * faint, strong, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 20, 24), (1, 70, 90)])
def test_each_image_and_channel_is_read_by_itself(shape: tuple[int, ...]) -> None:
    x = noise(5, *shape)
    read = WAVELETS(x)
    assert torch.allclose(read[2:3], WAVELETS(x[2:3]), atol=1e-5)
    channels = torch.cat([WAVELETS(x[:, k : k + 1]) for k in range(shape[0])], 1)
    assert torch.allclose(read, channels, atol=1e-5)
