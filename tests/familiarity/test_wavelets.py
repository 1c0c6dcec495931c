import math

import pytest
import torch
from torch import Tensor

from nescio.familiarity.wavelets import DIRECTIONS, Wavelets

WAVELETS = Wavelets(torch.device("cpu"))


def bar(angle: float, *, across: float = 0.0, side: int = 28) -> Tensor:
    """A soft bar through the middle, ``(1, 1, side, side)``."""
    place = torch.arange(side) - (side - 1) / 2
    down, right = torch.meshgrid(place, place, indexing="ij")
    aside = down * math.cos(angle) - right * math.sin(angle) - across
    return torch.exp(-(aside**2) / 4)[None, None]


def first_responses(x: Tensor) -> Tensor:
    """Of the finest scale, by direction, summed over the fields."""
    return WAVELETS(x)[0, 16 : 16 + 16 * DIRECTIONS].view(DIRECTIONS, 16).square().sum(1)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 28, 28), 127 * 16), ((3, 28, 28), 3 * 127 * 16), ((1, 8, 8), (1 + 12 + 36) * 16),
     ((1, 3, 3), (1 + 6) * 9), ((1, 100, 30), 49 * 16), ((1, 5, 400), 7 * 1 * 4)],
)  # fmt: skip
def test_any_image_is_read(shape: tuple[int, ...], size: int) -> None:
    read = WAVELETS(torch.rand(2, *shape))
    assert read.shape == (2, size)
    assert bool(torch.isfinite(read).all())


def test_a_uniform_image_has_no_waves() -> None:
    read = WAVELETS(torch.full((1, 1, 28, 28), 0.25))
    assert torch.allclose(read[0, :16], torch.full((16,), 0.5))
    # Away from the border, where the image ends.
    inner = [5, 6, 9, 10]
    assert float(read[0, 16:].view(-1, 16)[:DIRECTIONS, inner].max()) < 0.01


def test_directions_are_told_apart() -> None:
    for number in range(DIRECTIONS):
        # A wave along an angle answers to bars across it.
        response = first_responses(bar(math.pi * number / DIRECTIONS + math.pi / 2))
        assert int(response.argmax()) == number


def test_a_stroke_that_moves_a_little_stays_like_itself() -> None:
    here, beside, turned = bar(0.6), bar(0.6, across=1.5), bar(0.6 + math.pi / 2)

    def ratio(read: object) -> float:
        moved = (read(here) - read(beside)).norm()  # type: ignore[operator]
        return float(moved / (read(here) - read(turned)).norm())  # type: ignore[operator]

    assert ratio(WAVELETS) < 0.5 * ratio(lambda x: x)


def test_each_image_is_read_by_itself() -> None:
    x = torch.rand(5, 3, 20, 24)
    assert torch.allclose(WAVELETS(x)[2:3], WAVELETS(x[2:3]), atol=1e-5)
