"""Augmentation: by hand where it moves whole pixels, and by description."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nescio.data import Augmentation, parse_augmentation, suitable_augmentation
from nescio.data.augment import HIDDEN_SIDES, WILDER
from nescio.errors import UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(count: int, side: int = 21, radius: float = 4.0) -> torch.Tensor:
    axis = torch.arange(side) - side // 2
    inside = (axis[:, None] ** 2 + axis**2) < radius**2
    return inside.float().expand(count, 1, side, side).contiguous()


def centre(images: torch.Tensor) -> torch.Tensor:
    """``(n, 2)``: the centre of brightness, row and column, from the middle."""
    side = images.shape[-1]
    axis = torch.arange(side) - (side - 1) / 2
    mass = images.sum((1, 2, 3))
    rows = (images.sum((1, 3)) * axis).sum(1) / mass
    columns = (images.sum((1, 2)) * axis).sum(1) / mass
    return torch.stack([rows, columns], 1)


def test_nothing_is_nothing() -> None:
    x = torch.rand(3, 1, 4, 4)
    assert parse_augmentation("none") == Augmentation()
    assert Augmentation()(x, seeded()) is x


def test_shifts_are_uniform_in_pixels() -> None:
    moved = centre(Augmentation(shift=3)(disc(2000), seeded()))
    assert float(moved.abs().max()) <= 3.01
    assert torch.allclose(moved.mean(0), torch.zeros(2), atol=0.2)
    # A uniform number in [-3, 3] has the standard deviation 3 / sqrt(3).
    assert torch.allclose(moved.std(0), torch.full((2,), 3**0.5), rtol=0.06)


@pytest.mark.parametrize("shape", [(21, 21), (15, 31)])
def test_turns_keep_distances(shape: tuple[int, int]) -> None:
    # A dot right of the middle goes round on a circle, also where sides differ.
    x = torch.zeros(500, 1, *shape)
    row, column = shape[0] // 2, shape[1] // 2
    x[:, :, row - 1 : row + 2, column + 4 : column + 7] = 1.0
    turned = Augmentation(rotate=90)(x, seeded())
    rows = torch.arange(shape[0]) - (shape[0] - 1) / 2
    columns = torch.arange(shape[1]) - (shape[1] - 1) / 2
    mass = turned.sum((1, 2, 3))
    down = (turned.sum((1, 3)) * rows).sum(1) / mass
    across = (turned.sum((1, 2)) * columns).sum(1) / mass
    radius = (down.square() + across.square()).sqrt()
    assert torch.allclose(radius, torch.full_like(radius, 5.0), atol=0.25)
    angle = torch.atan2(down, across).rad2deg()
    assert float(angle.min()) < -80
    assert float(angle.max()) > 80


def test_zoom_changes_the_area() -> None:
    area = Augmentation(zoom=0.2)(disc(1000), seeded()).sum((1, 2, 3)) / disc(1).sum()
    assert 0.8**2 - 0.03 < float(area.min()) < 0.75
    assert 1.35 < float(area.max()) < 1.2**2 + 0.03


def test_shear_moves_rows_by_their_height() -> None:
    # Two dots above and below the middle move opposite ways; their rows stay.
    x = torch.zeros(500, 1, 21, 21)
    x[:, :, 3:6, 9:12] = 1.0
    found = Augmentation(shear=0.3)(x, seeded())
    moved = centre(found)
    assert torch.allclose(moved[:, 0], torch.full((500,), -6.0), atol=0.1)
    # At 6 rows from the middle by at most 0.3 * 6.
    assert 1.6 < float(moved[:, 1].abs().max()) < 1.9
    mirrored = centre(Augmentation(shear=0.3)(x.flip(2), seeded()))
    assert torch.allclose(mirrored[:, 1], -moved[:, 1], atol=0.1)


def test_bends_move_places_smoothly() -> None:
    moved = centre(Augmentation(bend=0.5)(disc(3000, radius=2.5), seeded()))
    assert torch.allclose(moved.mean(0), torch.zeros(2), atol=0.05)
    # Between knots the bicubic mean of independent moves varies less than each of them.
    assert bool(((moved.std(0) > 0.25) & (moved.std(0) < 0.5)).all())
    # The shape stays whole: its area changes little.
    area = Augmentation(bend=0.5)(disc(3000), seeded()).sum((1, 2, 3)) / disc(1).sum()
    assert float(area.std()) < 0.2
    assert float(area.mean()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("augmentation", [Augmentation(flip=True), Augmentation(1e-6, flip=True)])
def test_half_are_mirrored(augmentation: Augmentation) -> None:
    x = torch.rand(1, 2, 5, 6, generator=seeded(1)).expand(1000, -1, -1, -1)
    found = augmentation(x, seeded())
    same = (found - x).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (found - x.flip(-1)).abs().amax((1, 2, 3)) < 1e-4
    assert bool((same ^ mirrored).all())
    assert 400 < int(mirrored.sum()) < 600


@given(
    st.floats(0, 30),
    st.floats(0, 180),
    st.floats(0, 0.99),
    st.booleans(),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_pixels_stay_within_their_range(
    shift: float, rotate: float, zoom: float, flip: bool, sides: tuple[int, int]
) -> None:
    x = torch.rand(4, 3, *sides, generator=seeded(2)) * 0.5 + 0.25
    before = x.clone()
    found = Augmentation(shift, rotate, zoom, flip, shear=0.5, bend=1)(x, seeded())
    assert found.shape == x.shape
    assert float(found.min()) >= 0.25 - 1e-5
    assert float(found.max()) <= 0.75 + 1e-5
    assert torch.equal(x, before)


def test_descriptions() -> None:
    assert parse_augmentation("shift:2,rotate:10,zoom:0.1,flip") == Augmentation(2, 10, 0.1, True)
    assert parse_augmentation("flip") == Augmentation(flip=True)
    assert parse_augmentation("bend:0.5,shear:0.1") == Augmentation(shear=0.1, bend=0.5)


@pytest.mark.parametrize(("data", "flips"), [("mnist", False), ("fashion-mnist", True)])
def test_what_suits_a_set(data: str, flips: bool) -> None:
    suitable = parse_augmentation(suitable_augmentation(data, 28))
    assert suitable == Augmentation(2, 10, 0.1, flips, 0.1, 0.4)


@pytest.mark.parametrize(
    "text",
    ["", "twist:3", "shift", "shift:", "shift:x", "shift:-1", "shift:nan", "flip:1", "zoom:1",
     "shift:1,shift:2", "none,flip"],
)  # fmt: skip
def test_descriptions_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--augment"):
        parse_augmentation(text)


def test_wild_images_are_turned_further() -> None:
    x = torch.zeros(4000, 1, 21, 21)
    x[:, :, 9:12, 15:18] = 1.0  # right of the middle
    turned = Augmentation(rotate=20, wild=0.25)(x, seeded())
    place = centre(turned)
    angle = torch.atan2(place[:, 0], place[:, 1]).rad2deg().abs()
    assert 80 < float(angle.max()) <= 20 * WILDER + 1
    # Uniform up to 20 degrees, and in a quarter of the images up to 90.
    beyond = float((angle > 21).float().mean())
    assert beyond == pytest.approx(0.25 * (1 - 21 / 90), abs=0.03)


def test_hidden_rectangles() -> None:
    x = torch.full((4000, 2, 20, 30), 0.7)
    hidden = Augmentation(hide=0.5)(x, seeded())
    covered = (hidden - 0.7).abs() > 1e-4
    assert bool((covered[:, 0] == covered[:, 1]).all())
    some = covered[:, 0].flatten(1).any(1)
    # A rectangle may lie across the border, but its middle is inside, so part of it is seen.
    assert float(some.float().mean()) == pytest.approx(0.5, abs=0.03)
    rows, columns = covered[:, 0].any(2).sum(1), covered[:, 0].any(1).sum(1)
    assert int(rows.max()) <= HIDDEN_SIDES[1] * 20 + 1
    assert int(columns.max()) <= HIDDEN_SIDES[1] * 30 + 1
    # Covered is a full rectangle, of one grey: black in half of the images.
    assert bool((covered[:, 0].flatten(1).sum(1) == rows * columns).all())
    grey = torch.where(covered[:, 0], hidden[:, 0], 0.0).flatten(1).amax(1)[some]
    assert float((grey == 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float(grey.max()) > 0.95


def test_colours_change_by_channel_and_by_no_more_than_they_may() -> None:
    levels = torch.tensor([0.2, 0.5, 0.8])
    x = levels.expand(4000, 3, 1, 3).contiguous()
    seen = parse_augmentation("colour:0.4")(x, seeded())
    # Grey of 0.5 moves by lightness alone, at most 0.2; contrast is 0.6 to 1.4 times what it was.
    middle = seen[..., 1] - 0.5
    assert float(middle.abs().max()) <= 0.2 + 1e-6
    assert float(middle.abs().max()) > 0.19
    assert float(middle.mean()) == pytest.approx(0, abs=0.005)
    inside = (seen > 0).all(-1) & (seen < 1).all(-1)
    contrast = ((seen[..., 2] - seen[..., 0]) / 0.6)[inside]
    assert (float(contrast.min()), float(contrast.max())) == pytest.approx((0.6, 1.4), abs=0.01)
    assert (float(seen.min()), float(seen.max())) == (0, 1)
    # Channels and images change independently.
    assert abs(float(torch.corrcoef(middle[:, :, 0].T)[0, 1])) < 0.06


def test_colour_comes_after_all_else() -> None:
    x = torch.rand(5, 3, 9, 9, generator=seeded(1))
    moved = Augmentation(shift=2, hide=0.5)(x, seeded())
    both = Augmentation(shift=2, hide=0.5, colour=1e-9)(x, seeded())
    assert torch.allclose(moved, both, atol=1e-6)


@pytest.mark.parametrize("text", ["colour:1.5", "colour", "colour:0"])
def test_colours_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="colour"):
        parse_augmentation(text)


@pytest.mark.parametrize("text", ["wild:1.5", "hide:2", "hide", "wild:0"])
def test_shares_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--augment"):
        parse_augmentation(text)
