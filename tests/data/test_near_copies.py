"""Near-copies across the parts of a split: found where they are, and only there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from tests_support import Told, write_folder

from nescio.data import (
    Dataset,
    ImageSet,
    Reading,
    digits,
    load,
    near_copies,
    split,
    tell_near_copies,
)
from nescio.progress import SILENT

SIDE = 24


def frames(objects: int, each: int, seed: int = 0, shift: int = 3, noise: float = 8) -> ImageSet:
    """Shifted, noisy frames of objects; the object is its name's first number."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((objects, each, 1, SIDE, SIDE), np.uint8)
    for frame in pixels:
        thing = gaussian_filter(rng.normal(size=(SIDE + shift, SIDE + shift)), 2.5)
        thing *= 40 / thing.std()
        for place, (y, x) in enumerate(rng.integers(0, shift + 1, (each, 2))):
            seen = thing[y : y + SIDE, x : x + SIDE] + rng.normal(0, noise, (SIDE, SIDE))
            frame[place, 0] = np.clip(128 + seen, 0, 255)
    images = torch.from_numpy(pixels.reshape(-1, 1, SIDE, SIDE))
    names = tuple(f"{thing}-{frame}" for thing in range(objects) for frame in range(each))
    labels = torch.arange(objects).repeat_interleave(each) % 2
    return ImageSet("made", images, labels, ("even", "odd"), names)


def found(images: ImageSet) -> float:
    splits = split(Dataset("made", images), calibration=0.1, test=0.15)
    pairs = near_copies(splits).pairs.tolist()
    held_out = [*splits.calibration.names, *splits.test.names]
    same = [held_out[a].split("-")[0] == splits.train.image_name(b).split("-")[0] for a, b in pairs]
    assert sum(same) >= 0.99 * len(same)  # each is named with a frame of the same object
    return near_copies(splits).share


@pytest.mark.parametrize(("objects", "each"), [(60, 12), (40, 30), (10, 150)])
def test_frames_of_one_object_are_found(objects: int, each: int) -> None:
    images = frames(objects, each)
    assert found(images) > (0.5 if each < 100 else 0.05)  # long films are told less surely
    told = Told()
    splits = split(Dataset("made", images), calibration=0.1, test=0.15)
    tell_near_copies("made", splits, 0, told)
    assert len(told.notes) == 1
    assert "have a near-copy among the training images (the first: " in told.notes[0]
    assert "keep such images together by train --group-by or --groups" in told.notes[0]
    tell_near_copies("made", splits, 0, SILENT)
    # Whole objects apart: nothing to tell.
    grouped = replace(images, groups=torch.arange(len(images)) // each)
    apart = split(Dataset("made", grouped), calibration=0.2, test=0.2)
    tell_near_copies("made", apart, 0, told := Told())
    assert told.notes == []


def blobs(count: int, seed: int) -> ImageSet:
    """One bright disc anywhere: as alike as images of two dimensions can be."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre = rng.uniform(5, SIDE - 5, (count, 2, 1, 1))
    pixels = 220 * np.exp(-((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2) / 18)
    labels = torch.arange(count) % 2
    images = torch.from_numpy(pixels.astype(np.uint8))[:, None]
    return ImageSet("blobs", images, labels, ("a", "b"))


@pytest.mark.parametrize(
    "images",
    [frames(1500, 1), frames(1500, 1, shift=0, noise=40), blobs(3000, 0), digits().train],
    ids=["photographs", "noise", "blobs", "digits"],
)
def test_images_that_are_alike_by_nature_are_none(images: ImageSet) -> None:
    splits = split(Dataset("made", images), calibration=0.1, test=0.15)
    found = near_copies(splits)
    assert found.looked == min(1000, len(splits.calibration) + len(splits.test))
    assert found.share < 0.005
    tell_near_copies("made", splits, 0, told := Told())
    assert told.notes == []


def test_sets_that_say_nothing(tmp_path: Path) -> None:
    blank = ImageSet("blank", torch.zeros(400, 3, 8, 8).byte(), torch.arange(400) % 2, ("a", "b"))
    assert not len(near_copies(split(Dataset("b", blank), calibration=0.1, test=0.1)).pairs)
    few = split(Dataset("few", frames(20, 2)), calibration=0.1, test=0.1)
    assert near_copies(few).looked == 0
    # Images that are decoded each time are looked at in smaller numbers.
    folder = write_folder(tmp_path / "frames", frames(60, 12))
    streamed = load(folder, reading=Reading(stream=True, workers=0))
    looked = near_copies(split(streamed, calibration=0.1, test=0.15))
    assert (looked.looked, looked.of) == (100, 170)
    assert looked.share > 0.5


def test_no_handwriting_is_a_copy(own_data: Path) -> None:
    splits = split(load(own_data / "mnist"), calibration=0.1, test=0.0)
    assert near_copies(splits).share < 0.005
