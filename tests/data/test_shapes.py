"""Shapes drawn at run time: outlines against closed forms, and what is known of the images."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nescio.data import (
    ImageSet,
    Preprocessing,
    load,
    mixed_shapes,
    novel_shapes,
    shapes,
    striped_shapes,
)
from nescio.data.outlines import (
    KNOWN,
    MAP_HALF,
    MAP_SIDE,
    NOVEL,
    OUTLINES,
    REACH,
    contours,
    distance_map,
    signed_distance,
)
from nescio.data.shapes import CHUNK, COLOURS_APART, LEAST_CONTRAST, OWN, SIZES, draw_shapes
from nescio.errors import UsageError

COLOUR = Preprocessing(3, 32, 32)
Make = Callable[..., ImageSet]


def mixed(*asked: object, **options: object) -> ImageSet:
    return mixed_shapes(*asked, **options).images  # type: ignore[arg-type]


MADE: list[Make] = [shapes, novel_shapes, striped_shapes, mixed]


def plain(count: int, channels: int, radius: float) -> torch.Tensor:
    """Draws of scenes in which nothing varies: no turn, line, blur, gradient or noise."""
    draws = torch.zeros(count, OWN + 3 * channels + 2)
    draws[:, 0] = radius
    draws[:, 2:4] = 0.5  # in the middle
    draws[:, 5] = 0.9  # no line
    draws[:, 8] = 1.0  # full contrast
    draws[:, OWN + 2 * channels : OWN + 3 * channels] = 0.5  # no gradient
    return draws


def test_distances_from_a_square_and_a_ring() -> None:
    square = (torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64),)
    points = torch.tensor([[0.0, 0], [0.5, 0], [2, 0], [4, 5], [1, -3]], dtype=torch.float64)
    assert signed_distance(square, points).tolist() == [-1, -0.5, 1, 5, 2]
    ring = contours("ring")
    outer, inner = (float(own.norm(dim=1).max()) for own in ring)
    assert inner / outer == pytest.approx(0.55)
    along = torch.linspace(0, 2 * outer, 50, dtype=torch.float64)
    found = signed_distance(ring, torch.stack([along * 0.6, along * 0.8], 1))
    middle, half = (outer + inner) / 2, (outer - inner) / 2
    assert torch.allclose(found, (along - middle).abs() - half, atol=0.003)


@given(st.floats(0, 2 * math.pi), st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_distances_from_a_disc(angle: float, away: float) -> None:
    point = torch.tensor([[away * math.cos(angle), away * math.sin(angle)]], dtype=torch.float64)
    assert float(signed_distance(contours("disc"), point)) == pytest.approx(away - 1, abs=0.003)


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_are_centred_and_of_one_area(name: str) -> None:
    extent = max(float(own.norm(dim=1).max()) for own in contours(name))
    assert extent <= REACH + 1e-9
    step = 2 * MAP_HALF / MAP_SIDE
    inside = (0.5 - distance_map(name) / step).clamp(0, 1)
    area = float(inside.sum()) * step**2
    assert area < math.pi * 1.02
    assert area > math.pi * 0.98 or extent == pytest.approx(REACH)
    # Its middle, counted on the grid.
    line = ((2 * torch.arange(MAP_SIDE) + 1) / MAP_SIDE - 1) * MAP_HALF
    for axis in (0, 1):
        counts = inside.sum(axis)
        assert float((counts * line).sum() / counts.sum()) == pytest.approx(0, abs=0.02)


def test_distances_nowhere_change_faster_than_places() -> None:
    step = 2 * MAP_HALF / MAP_SIDE
    for name in OUTLINES:
        known = distance_map(name)
        assert float(known.diff(dim=0).abs().max()) <= step * 1.0001
        assert float(known.diff(dim=1).abs().max()) <= step * 1.0001


def test_no_two_classes_are_alike_however_they_are_turned_or_mirrored() -> None:
    line = torch.linspace(-MAP_HALF, MAP_HALF, 36, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    inside = {name: signed_distance(contours(name), points) < 0 for name in KNOWN}
    for turned in KNOWN:
        for angle in torch.arange(0, 360, 20).deg2rad().tolist():
            cos, sin = math.cos(angle), math.sin(angle)
            turn = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
            own = signed_distance(contours(turned), points @ turn) < 0
            for name in KNOWN:
                if name != turned:  # each shape is its own mirror image
                    shared = (own & inside[name]).sum() / (own | inside[name]).sum()
                    assert float(shared) < 0.87


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 33)])
def test_by_seed_whatever_the_count(make: Make, shape: tuple[int, int, int]) -> None:
    made = make(21, Preprocessing(*shape), seed=3)
    assert made.images.shape == (21, *shape)
    fewer = make(9, Preprocessing(*shape), seed=3)
    assert torch.equal(made.images[:9], fewer.images)
    assert torch.equal(made.require_labels()[:9], fewer.require_labels())
    assert not torch.equal(made.images, make(21, Preprocessing(*shape), seed=4).images)
    assert len(make(0, Preprocessing(*shape))) == 0


def test_the_first_do_not_depend_on_chunks() -> None:
    small = Preprocessing(1, 5, 7)
    many = shapes(CHUNK + 40, small).images
    assert torch.equal(many[: CHUNK + 3], shapes(CHUNK + 3, small).images)


def test_sets_of_one_seed_are_drawn_independently() -> None:
    first, *others = (make(16, COLOUR).images.float().flatten() for make in MADE)
    for other in others:
        correlation = torch.corrcoef(torch.stack([first, other]))[0, 1]
        assert abs(float(correlation)) < 0.2


def test_labels_are_balanced_and_named() -> None:
    made = shapes(80, COLOUR)
    assert made.classes == KNOWN
    assert torch.bincount(made.require_labels()).tolist() == [10] * 8
    assert novel_shapes(8, COLOUR).classes == NOVEL
    assert not set(NOVEL) & set(KNOWN)


def test_colours_and_levels() -> None:
    images = shapes(400, COLOUR).images
    assert (int(images.min()), int(images.max())) == (0, 255)
    # Colour, not grey: channels differ in nearly every image, and none is the commoner.
    apart = images.float().mean((2, 3))
    assert float((apart.amax(1) - apart.amin(1) > 10).float().mean()) > 0.9
    assert apart.mean(0).tolist() == pytest.approx([127.5] * 3, abs=8)


@pytest.mark.parametrize("side", [32, 64, 160])
@pytest.mark.parametrize("radius", [0.0, 1.0])
def test_the_area_of_a_disc_is_pi_r_squared(side: int, radius: float) -> None:
    draws = plain(1, 1, radius)
    parents = torch.full((1, 2), KNOWN.index("disc"))
    image = draw_shapes(
        KNOWN,
        parents,
        torch.zeros(1),
        draws=draws,
        preprocessing=Preprocessing(1, side, side),
        stream=(0, 0),
    )[0, 0]
    behind, fill = 0, round(255 * COLOURS_APART)
    assert int(image[0, 0]) == behind
    assert int(image[side // 2, side // 2]) == fill
    area = float(image.float().sum()) / fill
    r = SIZES[round(radius)] * side
    assert area == pytest.approx(math.pi * r**2, rel=0.01)


def test_fill_and_what_is_behind_differ_in_every_channel() -> None:
    count = 512
    draws = torch.rand(count, OWN + 9 + 2, generator=torch.Generator().manual_seed(0))
    draws[:, 2:4], draws[:, 5], draws[:, 7], draws[:, 9] = 0.5, 0.9, 0.0, 0.0
    draws[:, OWN + 6 : OWN + 9] = 0.5
    parents = torch.full((count, 2), KNOWN.index("square"))
    images = draw_shapes(
        KNOWN,
        parents,
        torch.zeros(count),
        draws=draws,
        preprocessing=COLOUR,
        stream=(0, 0),
    ).float()
    apart = (images[:, :, 0, 0] - images[:, :, 16, 16]).abs() / 255
    assert float(apart.min()) > COLOURS_APART * LEAST_CONTRAST - 0.01


@pytest.mark.parametrize("end", [0, 1])
def test_mixing_ends_at_pure_shapes(end: int) -> None:
    parents = torch.tensor([[a, b] for a in range(8) for b in range(8)])
    draws = torch.rand(64, OWN + 9 + 2, generator=torch.Generator().manual_seed(1))

    def drawn(parents: torch.Tensor, share: float) -> torch.Tensor:
        shares = torch.full((64,), share)
        return draw_shapes(KNOWN, parents, shares, draws=draws, preprocessing=COLOUR, stream=(2, 1))

    pure = drawn(parents[:, end, None].expand(-1, 2), 0.0)
    assert torch.equal(drawn(parents, float(end)), pure)
    half = drawn(parents, 0.5)
    same = parents[:, 0] == parents[:, 1]
    assert torch.equal(half[same], pure[same])
    assert bool((half != pure)[~same].flatten(1).any(1).all())


def test_labels_of_mixed_shapes_are_drawn_with_the_known_probability() -> None:
    made = mixed_shapes(2800, Preprocessing(1, 8, 8), seed=5)
    labels = made.images.require_labels()
    truth = made.probability
    assert torch.allclose(truth.sum(1), torch.ones(2800))
    assert float(truth.gather(1, labels[:, None]).min()) > 0
    own = truth.gather(1, made.parents)
    assert torch.allclose(own, torch.stack([1 - made.share, made.share], 1))
    # All 28 pairs come equally often; the share is uniform.
    assert torch.bincount(made.parents[:, 0] * 8 + made.parents[:, 1]).max() == 100
    assert float(made.share.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * 2800))
    second = (labels == made.parents[:, 1]).float()
    for low in (0.0, 0.25, 0.5, 0.75):
        here = (made.share >= low) & (made.share < low + 0.25)
        expected, count = float(made.share[here].mean()), int(here.sum())
        tolerance = 4 * math.sqrt(expected * (1 - expected) / count)
        assert float(second[here].mean()) == pytest.approx(expected, abs=tolerance)


def test_stripes_change_the_fill_and_nothing_else() -> None:
    draws = plain(8, 3, 1.0)
    draws[:, 10:12] = torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    parents = torch.arange(8)[:, None].expand(-1, 2)
    asked = {"draws": draws, "preprocessing": COLOUR}
    striped = draw_shapes(KNOWN, parents, torch.zeros(8), **asked, stream=(0, 3))  # type: ignore[arg-type]
    smooth = draw_shapes(KNOWN, parents, torch.zeros(8), **asked, stream=(0, 0))  # type: ignore[arg-type]
    changed = (striped != smooth).any(1).flatten(1)
    assert bool(changed.any(1).all())
    assert not bool(changed[smooth[:, 0].flatten(1) == 0].any())


@pytest.mark.parametrize(
    ("source", "count"),
    [("shapes:16", 16), ("shapes-mixed:9", 9), ("shapes-striped:8", 8)],
)
def test_they_are_names(source: str, count: int) -> None:
    made = load(source, seed=2)
    assert made.name == source.partition(":")[0]
    assert made.train.images.shape == (count, 3, 32, 32)
    assert made.classes == KNOWN
    assert made.test is None
    like = load(source, preprocessing=Preprocessing(1, 6, 4), labelled=False)
    assert like.train.images.shape == (count, 1, 6, 4)
    assert load(source, image_size=20).train.images.shape == (count, 3, 20, 20)


def test_novel_shapes_are_never_learnt() -> None:
    with pytest.raises(UsageError, match="shapes-novel is an out-of-distribution set"):
        load("shapes-novel:5")
    made = load("shapes-novel:5", labelled=False)
    assert torch.equal(made.train.images, novel_shapes(5, COLOUR).images)
