"""Shifts: by hand where they move whole values, by seed, in grades, and by description."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import stripes, write_folder

from nescio.data import (
    CORRUPTIONS,
    SHIFTS,
    Dataset,
    ImageSet,
    all_images,
    digits,
    load,
    parse_shift,
    shift_images,
    shift_set,
)
from nescio.data.corruptions import CHUNK
from nescio.data.shifts import REARRANGEMENTS, SEVERITIES, shift_dataset, split_source
from nescio.errors import DataError, UsageError


@pytest.fixture(scope="module")
def some() -> torch.Tensor:
    return digits().train.images[:60]


def shifted(images: torch.Tensor, text: str, seed: int = 0) -> torch.Tensor:
    return shift_images(images, parse_shift(text), seed)


def change(images: torch.Tensor, text: str) -> float:
    return float((shifted(images, text).float() - images.float()).abs().mean())


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 33), (3, 33, 20), (1, 1, 1)])
def test_every_shift_of_every_shape(name: str, shape: tuple[int, int, int]) -> None:
    images = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    before = images.clone()
    found = shifted(images, name, seed=2)
    assert found.shape == images.shape
    assert found.dtype == torch.uint8
    assert torch.equal(images, before)
    assert torch.equal(found, shifted(images, name, seed=2))
    assert len(shifted(images[:0], name)) == 0
    if max(shape) > 3:
        assert not torch.equal(found, images)


@pytest.mark.parametrize("name", [name for name in SHIFTS if name != "pairs"])
def test_the_first_images_do_not_depend_on_the_others(name: str, some: torch.Tensor) -> None:
    many = some.repeat(CHUNK // 60 + 1, 1, 1, 1)[:, :, ::2, ::3]
    assert len(many) > CHUNK
    difference = shifted(many, name)[:41].int() - shifted(many[:41], name).int()
    # Arithmetic on another number of images may round otherwise.
    assert int(difference.abs().max()) <= 1


RANDOM = {"motion", "noise", "impulse", "rotation", "occlusion", "shear", "zoom", "shift",
          "stripe", "spatter", "turned", "pairs"}  # fmt: skip


@pytest.mark.parametrize("name", SHIFTS)
def test_seeds_change_what_is_random(name: str, some: torch.Tensor) -> None:
    same = torch.equal(shifted(some, name, seed=0), shifted(some, name, seed=1))
    assert same == (name not in RANDOM)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_grade_changes_more(name: str, some: torch.Tensor) -> None:
    assert name in SHIFTS
    changes = [change(some, f"{name}:{severity}") for severity in SEVERITIES]
    assert all(less < more for less, more in pairwise(changes))
    assert changes[2] == change(some, name)


def test_inverted() -> None:
    images = torch.tensor([0, 1, 100, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    assert shifted(images, "inverted").flatten().tolist() == [255, 254, 155, 0]


def test_turned_left_or_right() -> None:
    image = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)
    found = shifted(image.expand(1000, 1, 2, 2), "turned")[:, 0]
    left = (found == torch.tensor([[2, 4], [1, 3]])).flatten(1).all(1)
    right = (found == torch.tensor([[3, 1], [4, 2]])).flatten(1).all(1)
    assert bool((left ^ right).all())
    assert 430 < int(left.sum()) < 570
    # One that is wide is scaled down to stand upright in the same frame.
    wide = shifted(torch.full((1, 1, 4, 8), 200, dtype=torch.uint8), "turned")
    assert wide[0, 0, 0].tolist() == [0, 0, 0, 200, 200, 0, 0, 0]


def test_pairs_are_of_two_images() -> None:
    levels = torch.arange(10, 110, 10, dtype=torch.uint8)
    found = shifted(levels.view(-1, 1, 1, 1).expand(-1, 1, 8, 8), "pairs")
    inside, outside = found[:, 0, 2:6], torch.cat([found[:, 0, :2], found[:, 0, 6:]], 1)
    assert int(outside.max()) == 0
    # Antialiasing mixes the two where they meet.
    assert torch.equal(inside[:, :, :3].amin((1, 2)), levels)
    assert torch.equal(inside[:, :, :3].amax((1, 2)), levels)
    right = inside[:, 0, 7]
    assert bool((right != levels).all())
    assert set(right.tolist()) <= set(levels.tolist())
    alone = shifted(levels[:1].view(1, 1, 1, 1).expand(-1, 1, 8, 8), "pairs")[0, 0, 2:6]
    assert alone.unique().tolist() == [10]


def test_noise_and_impulse_are_what_they_say() -> None:
    grey = torch.full((100, 1, 28, 28), 128, dtype=torch.uint8)
    values = shifted(grey, "noise:1").float()
    assert float(values.mean()) == pytest.approx(128, abs=0.5)
    assert float(values.std()) == pytest.approx(0.08 * 255, rel=0.02)
    values = shifted(grey, "impulse:4")
    assert set(values.unique().tolist()) == {0, 128, 255}
    assert float((values == 0).float().mean()) == pytest.approx(0.1, abs=0.005)
    assert float((values == 255).float().mean()) == pytest.approx(0.1, abs=0.005)


def test_levels_by_hand() -> None:
    images = torch.tensor([0, 100, 200, 250], dtype=torch.uint8).view(1, 1, 2, 2)
    assert shifted(images, "brightness:3").flatten().tolist() == [102, 202, 255, 255]
    # The mean is 137.5, half of the distance to it stays.
    assert shifted(images, "contrast:2").flatten().tolist() == [69, 119, 169, 194]


def test_an_occlusion_is_one_square_and_grades_are_nested() -> None:
    white = torch.full((300, 1, 28, 28), 255, dtype=torch.uint8)
    before = torch.zeros(300, 28, 28, dtype=torch.bool)
    for severity, side in zip(SEVERITIES, (6, 8, 10, 13, 15), strict=True):
        found = shifted(white, f"occlusion:{severity}")[:, 0]
        hidden = found < 255
        assert set(found.unique().tolist()) == {0, 128, 255}
        assert set(hidden.any(1).sum(1).tolist()) == {side}
        assert set(hidden.any(2).sum(1).tolist()) == {side}
        assert set(hidden.flatten(1).sum(1).tolist()) == {side * side}
        # All but a rounded pixel at its edges.
        assert float((hidden & before).sum() / before.sum().clamp_min(1)) > 0.9 or severity == 1
        before = hidden


def test_movements_keep_what_they_should() -> None:
    axis = torch.arange(29) - 14
    disc = ((axis[:, None] ** 2 + axis**2) < 25).to(torch.uint8) * 255
    images = disc.expand(200, 1, 29, 29).contiguous()
    for name in ("rotation", "shear", "zoom", "shift", "motion", "blur"):
        moved = shifted(images, f"{name}:2")[:, 0].double()
        mass = moved.sum((1, 2))
        down, across = (moved.sum(2) * axis).sum(1) / mass, (moved.sum(1) * axis).sum(1) / mass
        far = 0.11 * 29 if name == "shift" else 0.0
        distance = (down**2 + across**2).sqrt()
        assert torch.allclose(distance, torch.full_like(distance, far), atol=0.15), name
        area = mass / disc.sum()
        expected = area.new_tensor([1.25**-2, 1.25**2] if name == "zoom" else [1.0, 1.0])
        nearest = (area[:, None] - expected).abs().amin(1)
        assert float(nearest.max()) < 0.05, name


def test_stripes_invert_and_drops_brighten() -> None:
    black = torch.zeros(200, 1, 40, 40, dtype=torch.uint8)
    striped = shifted(black, "stripe:5")
    assert set(striped.unique().tolist()) == {0, round(0.9 * 255)}
    assert float((striped > 0).float().mean()) == pytest.approx(0.4, abs=0.03)
    wet = shifted(black, "spatter:4")
    assert float((wet > 108).float().mean()) == pytest.approx(0.18, abs=0.01)
    assert int(wet.max()) == round(0.85 * 255)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blurr", "no shift is called 'blurr'; did you mean 'blur'"),
        ("xyzzy", "expected one of inverted, turned, pairs, blur, "),
        ("", "no shift is called ''"),
        ("blur:0", "severity of blur must be a whole number from 1 to 5, got '0'"),
        ("blur:6", "got '6'"),
        ("blur:", "got ''"),
        ("blur:2.5", r"got '2\.5'"),
        ("inverted:2", "inverted has no severity; write @inverted"),
    ],
)
def test_descriptions_that_are_none(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        load(f"digits@{text}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"@{text}: ")


def test_a_base_without_shift_and_paths_with_the_mark(tmp_path: Path) -> None:
    assert split_source("digits") is None
    folder = write_folder(tmp_path / "me@home" / "a@blur", stripes(12, 0))
    assert split_source(folder) is None
    assert split_source(str(tmp_path / "me@home" / "nothing")) is None
    with pytest.raises(DataError, match="no such file or folder"):
        load(tmp_path / "me@home" / "nothing")
    plain = load(folder)
    assert plain.name == "a@blur"
    inverted = load(f"{folder}@inverted")
    assert inverted.name == "a@blur@inverted"
    assert torch.equal(inverted.train.images, 255 - plain.train.images)
    assert inverted.train.names == plain.train.names
    twice = load(f"{folder}@inverted@inverted")
    assert torch.equal(twice.train.images, plain.train.images)
    assert twice.base is not None
    assert twice.base.name == "a@blur"


def test_what_is_judged_is_shifted() -> None:
    base = Dataset("s", stripes(9, 0), stripes(6, 1))
    moved = shift_dataset(base, parse_shift("shift:2"))
    assert moved.name == "s@shift:2"
    assert moved.train is base.train
    assert moved.base is base
    judged = all_images(moved)
    assert judged.name == "stripes@shift:2"
    assert torch.equal(judged.require_labels(), base.test.require_labels())
    assert judged.image_name(3) == "stripes@shift:2[3]"
    assert not torch.equal(judged.images, base.test.images)


def test_pairs_have_no_labels() -> None:
    made = shift_set(stripes(9, 0), parse_shift("pairs"))
    assert (made.labels, made.classes) == (None, ())
    assert len(load("digits@pairs", labelled=False).train) == 1797
    with pytest.raises(UsageError, match=r"digits@pairs has no labels: use it with evaluate --ood"):
        load("digits@pairs")


def test_shifts_of_made_sets_and_descriptions() -> None:
    made = load("letters:5@inverted", labelled=False).train
    assert (made.name, len(made)) == ("letters@inverted", 5)
    with pytest.raises(UsageError, match="noise is an out-of-distribution set"):
        load("noise@blur")
    for kind in (*CORRUPTIONS.values(), *REARRANGEMENTS.values()):
        assert "\n" not in kind.description
    assert list(CORRUPTIONS) == list(SHIFTS[len(REARRANGEMENTS) :])
    with pytest.raises(TypeError):
        CORRUPTIONS["own"] = CORRUPTIONS["blur"]  # type: ignore[index]


def test_a_set_in_colour(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", images=np.full((3, 4, 5, 3), (250, 10, 90), np.uint8))
    found = load(f"{tmp_path / 'c.npz'}@inverted", labelled=False).train
    assert isinstance(found, ImageSet)
    assert found.name == "c@inverted"
    assert found.images[2, :, 1, 1].tolist() == [5, 245, 165]
