from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_support import Told, stripes, write_folder

from nescio.data import (
    Dataset,
    Decoding,
    ImageSet,
    Preprocessing,
    Reading,
    adapt,
    as_images,
    choose_preprocessing,
    load,
    parse_size,
    split,
    to_float,
)
from nescio.data.images import Fit
from nescio.data.synthetic import LETTERS, digits, letters, noise
from nescio.errors import DataError, UsageError
from nescio.files import parse_bytes


def image_set(labels: list[int], classes: int = 2) -> ImageSet:
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    names = tuple(f"c{i}" for i in range(classes))
    return ImageSet("s", images.contiguous(), torch.tensor(labels), names)


def test_labels_outside_the_classes() -> None:
    with pytest.raises(DataError, match="label 2 of image 1 is outside the 2 classes"):
        image_set([0, 2])


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.float64, torch.float16])
def test_labels_are_whole_numbers_of_any_type(kind: torch.dtype) -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    made = ImageSet("s", images, torch.tensor([0, 1, 1]).to(kind), ("a", "b"))
    assert made.require_labels().dtype == torch.int64
    assert (
        made.fingerprint()
        == ImageSet("s", images, torch.tensor([0, 1, 1]), ("a", "b")).fingerprint()
    )


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0.5, 1.0]), torch.tensor([0.0, np.nan]), np.array(["a", "b"]), ["a", "b"], "ab"],
)
def test_labels_that_are_no_indices(labels: Any) -> None:
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match="labels must be whole numbers"):
        ImageSet("s", images, labels, ("a", "b"))


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(9, 28, 28, 3, dtype=torch.uint8), "have 1 or 3 channels"),
        (torch.zeros(9, 4, 8, 8, dtype=torch.uint8), "have 1 or 3 channels"),
        (torch.zeros(9, 8, 8, dtype=torch.uint8), "uint8 tensor of shape"),
        (np.zeros((9, 1, 8, 8), np.uint8), "uint8 tensor of shape"),
        (torch.zeros(9, 1, 8, 8), "uint8 tensor of shape"),
        (None, "uint8 tensor of shape"),
    ],
)
def test_images_that_are_none(images: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        ImageSet("s", images, None, ())


def test_to_float_covers_zero_to_one() -> None:
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8)
    assert to_float(pixels).tolist() == pytest.approx([0.0, 1.0, 0.2])


def test_hashes_tell_images_apart_and_fingerprint_sees_labels() -> None:
    one, other = image_set([0, 1, 0]), image_set([0, 1, 1])
    assert len(set(one.hashes().tolist())) == 3
    assert torch.equal(one.hashes(), other.hashes())
    assert one.fingerprint() != other.fingerprint()


def test_shapes_that_people_hold() -> None:
    assert as_images(np.zeros((5, 4), np.uint8)).shape == (1, 1, 5, 4)
    assert as_images(np.zeros((2, 5, 4), np.uint8)).shape == (2, 1, 5, 4)
    assert as_images(torch.zeros(2, 5, 4, 3)).shape == (2, 3, 5, 4)
    colour = np.arange(2 * 5 * 4 * 3, dtype=np.uint8).reshape(2, 5, 4, 3)
    assert as_images(colour)[1, 2, 3, 0] == colour[1, 3, 0, 2]
    for wrong in (np.zeros((2, 5, 4, 2), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(DataError, match="must have shape"):
            as_images(wrong)


def test_adapt_keeps_what_fits_already() -> None:
    images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    assert adapt(images, Preprocessing(1, 28, 28)) is images


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    wanted=st.sampled_from([1, 3]),
)
def test_adapt_keeps_constant_images_constant(
    height: int, width: int, channels: int, wanted: int
) -> None:
    images = torch.full((2, channels, height, width), 200, dtype=torch.uint8)
    out = adapt(images, Preprocessing(wanted, 20, 20))
    assert out.shape == (2, wanted, 20, 20)
    # The image scaled, and black where its aspect leaves room.
    assert set(torch.unique(out).tolist()) <= {0, 200}
    scale = min(20 / height, 20 / width)
    inside = max(1, round(height * scale)) * max(1, round(width * scale))
    assert int((out == 200).sum()) == 2 * wanted * inside


def test_luma() -> None:
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert int(adapt(red, Preprocessing(1, 1, 1))) == round(0.299 * 255)


def test_choice_of_preprocessing() -> None:
    assert choose_preprocessing([(28, 20)] * 3, colour=False) == Preprocessing(1, 28, 20)
    assert choose_preprocessing([(10, 20), (30, 12), (8, 8)], colour=True).shape == (3, 20, 20)
    assert choose_preprocessing([(500, 400)], colour=False).shape == (1, 64, 64)
    assert choose_preprocessing([(500, 400)], colour=False, image_size=96).shape == (1, 96, 96)
    with pytest.raises(UsageError, match="--image-size"):
        choose_preprocessing([(5, 5)], colour=False, image_size=0)


def test_noise_is_uniform_and_by_seed() -> None:
    shape = Preprocessing(1, 28, 28)
    first = noise(100, shape, seed=3)
    assert torch.equal(first.images[:40], noise(40, shape, seed=3).images)
    assert not torch.equal(first.images, noise(100, shape, seed=4).images)
    counts = torch.bincount(first.images.flatten().long(), minlength=256).double()
    chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert 160 < chi_square < 370  # 255 degrees of freedom, five standard deviations


def test_letters_are_balanced_drawn_and_by_seed() -> None:
    shape = Preprocessing(1, 28, 28)
    made = letters(2 * len(LETTERS), shape, seed=1)
    assert set(LETTERS) >= set("ABCDEFGHIJ")
    assert torch.bincount(made.require_labels()).tolist() == [2] * len(LETTERS)
    assert torch.equal(made.images[:5], letters(5, shape, seed=1).images)
    ink = (made.images > 128).flatten(1).sum(1)
    assert int(ink.min()) >= 8
    assert int(ink.max()) < 28 * 28 / 2
    assert letters(3, Preprocessing(3, 40, 32)).images.shape == (3, 3, 40, 32)


def test_digits() -> None:
    made = digits().train
    assert made.images.shape == (1797, 1, 28, 28)
    assert torch.bincount(made.require_labels()).tolist()[:3] == [178, 182, 177]
    border = made.images.clone()
    border[:, :, 4:24, 4:24] = 0
    assert int(border.max()) == 0
    assert int(made.images.max()) == 255


def test_split_is_disjoint_complete_and_seeded() -> None:
    dataset = Dataset("s", image_set([0, 1] * 50))
    parts = split(dataset, seed=1, calibration=0.1, test=0.2)
    assert parts.test_indices is not None
    sizes = [len(parts.train), len(parts.calibration), len(parts.test)]
    assert sizes == [72, 8, 20]
    everything = torch.cat([parts.train_indices, parts.calibration_indices, parts.test_indices])
    assert sorted(everything.tolist()) == list(range(100))
    for part in (parts.train, parts.calibration, parts.test):
        assert int(part.require_labels().sum()) * 2 == len(part)
    torch.manual_seed(5)
    again = split(dataset, seed=1, calibration=0.1, test=0.2)
    assert torch.equal(again.test_indices, parts.test_indices)
    other = split(dataset, seed=2, calibration=0.1, test=0.2)
    assert not torch.equal(other.test_indices, parts.test_indices)


def test_split_uses_the_sets_own_test() -> None:
    own = image_set([0, 1])
    parts = split(Dataset("s", image_set([0, 1] * 5), own), seed=0, calibration=0.2, test=0.5)
    assert parts.test is own
    assert parts.test_indices is None
    assert (len(parts.train), len(parts.calibration)) == (8, 2)


def test_a_class_too_small_for_its_splits() -> None:
    dataset = Dataset("s", image_set([0] * 9 + [1] * 2))
    with pytest.raises(DataError, match="class 'c1' has 2 images, too few for each of 3 parts"):
        split(dataset, seed=0, calibration=0.1, test=0.1)
    with pytest.raises(DataError, match="class 'c1' has 1 image, too few"):
        split(Dataset("s", image_set([0] * 9 + [1])), seed=0, calibration=0.1, test=0)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mnits", "did you mean 'mnist'"),
        ("/nowhere/at/all", "no such file or folder"),
        ("pyproject.toml", "expected a folder"),
    ],
)
def test_unknown_sources(source: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(source)


@pytest.mark.parametrize("source", ["noise", "letters:10", "notmnist"])
def test_out_of_distribution_sets_cannot_be_trained_on(source: str) -> None:
    with pytest.raises(UsageError, match="use it with evaluate --ood"):
        load(source)


@pytest.mark.parametrize("count", ["0", "-3", "many", "1.5"])
def test_counts_must_be_counts(count: str) -> None:
    with pytest.raises(UsageError, match="the count must be"):
        load(f"noise:{count}", labelled=False)


def test_counts_by_default() -> None:
    assert len(load("noise", labelled=False).train) == 10_000
    assert len(load("letters:7", labelled=False).train) == 7


def test_what_takes_long_tells_of_itself(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "stripes", stripes(9, 0))
    told = Told()
    load("letters:7", labelled=False, reporter=told)
    load(f"{folder}@blur:2", reporter=told)
    assert told.tasks == {
        "drawing letters": (7, 7),
        "looking at sizes": (9, 9),
        "reading": (9, 9),
        "shifting": (9, 9),
    }


WIDE = torch.tensor([[0, 12, 24, 36, 48, 60]] * 2, dtype=torch.uint8).view(1, 1, 2, 6)
"""Six columns, each of one shade."""


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        # A third as wide: the antialiasing triangle weighs four columns 2, 3, 2 and 1.
        ("pad", [[15, 45], [0, 0]]),
        ("crop", [[24, 36], [24, 36]]),
        ("stretch", [[15, 45], [15, 45]]),
    ],
)
def test_other_aspects(fit: Fit, expected: list[list[int]]) -> None:
    assert adapt(WIDE, Preprocessing(1, 2, 2, fit))[0, 0].tolist() == expected


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 50), width=st.integers(1, 50), fit=st.sampled_from(["crop", "stretch"])
)
def test_neither_crop_nor_stretch_leaves_black(height: int, width: int, fit: Fit) -> None:
    images = torch.full((1, 1, height, width), 200, dtype=torch.uint8)
    out = adapt(images, Preprocessing(1, 7, 5, fit))
    assert out.shape == (1, 1, 7, 5)
    assert set(torch.unique(out).tolist()) == {200}


def test_crop_of_a_strip_is_cut_before_it_is_scaled() -> None:
    strip = torch.zeros(1, 1, 1, 29_999, dtype=torch.uint8)
    strip[..., 14_999] = 255
    assert int(adapt(strip, Preprocessing(1, 64, 64, "crop")).max()) == 255
    assert adapt(strip, Preprocessing(1, 64, 64, "pad")).shape == (1, 1, 64, 64)


def test_a_preprocessing_that_cannot_be() -> None:
    for changes in ({"height": 0}, {"channels": 0}, {"fit": "squeeze"}):
        with pytest.raises(ValueError, match=r"shape|squeeze"):
            replace(Preprocessing(1, 2, 3), **changes)
    assert str(Preprocessing(3, 2, 4)) == "2x4 colour"
    assert Preprocessing(1, 2, 2, "crop").describe().startswith("2x2 grey; one of another size is")


def test_what_was_asked_of_images_comes_first() -> None:
    sizes = [(500, 400)]
    assert Reading(colour="grey").choose(sizes, colour=True).shape == (1, 64, 64)
    assert Reading(colour="rgb").choose(sizes, colour=False).channels == 3
    asked = Reading(image_size=(30, 40), fit="stretch", colour="rgb")
    reduced = Decoding(reduce_to=(60, 80))
    assert asked.choose(sizes, colour=False) == Preprocessing(3, 30, 40, "stretch", reduced)
    assert asked.settled is None  # deep and transparent files are to be looked at
    named = replace(asked, value_range=(0.0, 4095.0), background="black", max_pixels=9)
    decoding = Decoding((0.0, 4095.0), "#000000", (60, 80), 9)
    assert named.settled == Preprocessing(3, 30, 40, "stretch", decoding)
    assert Reading(image_size=30).settled is None
    model = Preprocessing(1, 8, 8, "crop")
    assert replace(asked, preprocessing=model).choose(sizes, colour=True) == model
    of_model = replace(named, preprocessing=model).settled
    assert of_model == replace(model, decoding=Decoding(max_pixels=9))


def test_sizes_in_words() -> None:
    assert [parse_size(text) for text in (None, "96", "64x48")] == [None, 96, (64, 48)]
    assert [parse_bytes(text) for text in ("0", "10", "2K", "1.5g", "3MiB")] == [
        0,
        10,
        2048,
        3 * 2**29,
        3 * 2**20,
    ]
    for text in ("x", "12x", "-1", "1e3", "9" * 7):
        with pytest.raises(UsageError, match="--image-size"):
            parse_size(text)
    for text in ("", "4P", "-1", "nan"):
        with pytest.raises(UsageError, match="--memory"):
            parse_bytes(text)


def test_loading_keeps_what_becomes_of_other_sizes(tmp_path: Path) -> None:
    images = np.zeros((4, 10, 20), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(4) % 2)
    reading = Reading(image_size=8, fit="crop", colour="rgb")
    loaded = load(tmp_path / "set.npz", reading=reading).train
    assert loaded.preprocessing.shape == (3, 8, 8)
    assert loaded.preprocessing.fit == "crop"
    assert loaded.subset(torch.tensor([1])).preprocessing.fit == "crop"
