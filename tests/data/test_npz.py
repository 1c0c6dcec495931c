import contextlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests_support import Told

from nescio.data import ImageSet, Reading, load, split
from nescio.data.npz import read_npz as read_archive
from nescio.errors import DataError


def read_npz(path: Path, *, labelled: bool = False) -> ImageSet:
    return read_archive(path, Reading(labelled=labelled)).train


IN_TMP = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@IN_TMP
@given(
    images=hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    )
)
def test_round_trip(tmp_path: Path, images: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=images)
    assert np.array_equal(read_npz(path).images[:, 0].numpy(), images)


@IN_TMP
@given(cut=st.floats(0, 1), place=st.floats(0, 1), value=st.integers(0, 255))
def test_damage_is_a_data_error_or_harmless(
    tmp_path: Path, cut: float, place: float, value: int
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 3, 3), np.uint8), labels=np.array([0, 1]))
    whole = bytearray(path.read_bytes())
    for content in (whole[: int(cut * len(whole))], whole):
        if content is whole:
            whole[min(int(place * len(whole)), len(whole) - 1)] = value
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            assert read_npz(path, labelled=True).images.dtype == torch.uint8


def test_colour_and_float(tmp_path: Path) -> None:
    path = tmp_path / "colour.npz"
    np.savez(path, images=np.full((2, 4, 5, 3), 0.5), labels=np.array(["cat", "dog"]))
    images = load(path).train
    assert images.name == "colour"
    assert images.images.shape == (2, 3, 4, 5)
    assert torch.unique(images.images).tolist() == [128]
    assert images.classes == ("cat", "dog")


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first(tmp_path: Path, channels: int) -> None:
    array = np.random.default_rng(0).integers(0, 255, (5, channels, 6, 7), np.uint8)
    np.savez(tmp_path / "first.npz", images=array)
    reporter = Told()
    found = load(tmp_path / "first.npz", labelled=False, reporter=reporter).train
    assert found.images.numpy().tolist() == array.tolist()
    shape = f"(5, {channels}, 6, 7)"
    assert reporter.notes == [f"first.npz: 'images' of shape {shape} is read channels first"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.5])
def test_floats_outside(tmp_path: Path, value: float) -> None:
    images = np.zeros((3, 4, 4))
    images[1, 2, 2] = value
    np.savez(tmp_path / "a.npz", images=images)
    with pytest.raises(DataError, match=r"a\.npz.*\[0, 1\], image 1"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pictures": np.zeros((2, 2, 2), np.uint8)}, "expected an array 'images'"),
        ({"images": np.zeros((0, 2, 2), np.uint8)}, "at least 1"),
        ({"images": np.zeros((2, 2), np.uint8)}, "must have shape"),
        ({"images": np.zeros((2, 2, 2, 4), np.uint8)}, "must have shape"),
        ({"images": np.zeros((2, 2, 2), np.int64)}, "uint8, or float"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.zeros(3, int)}, "labels"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.array([0, -1])}, "labels are -1"),
        (
            {"images": np.zeros((2, 2, 2), np.uint8), "labels": np.array([0.5, 1])},
            "class number or name",
        ),
        ({"images": np.array([object()] * 2)}, "plain arrays"),
    ],
)
def test_wrong_content(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=words):
        read_npz(tmp_path / "a.npz", labelled="labels" in arrays)


def test_labels_outside_the_named_classes(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        images=np.zeros((2, 2, 2), np.uint8),
        labels=np.array([0, 2]),
        classes=np.array(["a", "b"]),
    )
    with pytest.raises(DataError, match="label 2 is outside the 2 classes"):
        read_npz(tmp_path / "a.npz", labelled=True)


def test_not_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DataError):
        read_npz(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", "nonsense")
    with pytest.raises(DataError):
        read_npz(tmp_path / "b.npz")
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "none.npz")


RNG = np.random.default_rng(0)


def pixels(count: int) -> np.ndarray:
    return RNG.integers(0, 255, (count, 6, 6), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("x_train", "y_train"),
        ("X", "y"),
        ("data", "target"),
        ("train_images", "train_labels"),
        ("arr_0", "arr_1"),
        ("xtrain", "ytrain"),
        ("IMAGES", "Label"),
    ],
)
def test_what_people_call_arrays(tmp_path: Path, images: str, labels: str) -> None:
    given = pixels(4)
    np.savez(tmp_path / "a.npz", **{images: given, labels: np.array([[7], [3], [7], [3]])})
    told = Told()
    dataset = load(tmp_path / "a.npz", reporter=told)
    assert np.array_equal(dataset.train.images[:, 0].numpy(), given)
    assert (dataset.classes, dataset.test, told.notes) == (("3", "7"), None, [])
    assert dataset.train.require_labels().tolist() == [1, 0, 1, 0]


MEDMNIST = ("train_images", "train_labels", "val_images", "val_labels", "test_images")


def test_parts_are_what_they_are_named(tmp_path: Path) -> None:
    sizes = {"train": 4, "val": 2, "test": 3}
    arrays = {f"{part}_images": pixels(count) for part, count in sizes.items()}
    labels = {"train": [[1], [5], [1], [5]], "val": [[1], [5]], "test": [[5], [1], [9]]}
    arrays |= {f"{part}_labels": np.array(own) for part, own in labels.items()}
    np.savez(tmp_path / "med.npz", **arrays)
    told = Told()
    dataset = load(tmp_path / "med.npz", reporter=told)
    assert dataset.test is not None
    # The validation part is calibrated on, and a class of the test part alone comes last.
    assert (dataset.classes, dataset.test.classes) == (("1", "5"), ("1", "5", "9"))
    assert dataset.train.require_labels().tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.test.require_labels().tolist() == [1, 0, 2]
    both = np.concatenate([arrays["train_images"], arrays["val_images"]])
    assert np.array_equal(dataset.train.images[:, 0].numpy(), both)
    assert [dataset.train.image_name(i) for i in (0, 4)] == ["med/train[0]", "med/validation[0]"]
    assert dataset.validation is not None
    assert dataset.validation.tolist() == [False] * 4 + [True] * 2
    assert any("class '9' is in the test part alone" in note for note in told.notes)
    parts = split(dataset, calibration=0.1, test=0.0)
    assert (parts.train_indices.tolist(), parts.calibration_indices.tolist()) == (
        [0, 1, 2, 3],
        [4, 5],
    )
    mapped = load(tmp_path / "med.npz", reading=Reading(memory=0))
    assert mapped.train.fingerprint() == dataset.train.fingerprint()


def test_images_beside_parts_are_for_training(tmp_path: Path) -> None:
    more = {"val_images": pixels(2), "val_labels": [0, 1], "test_images": pixels(3)}
    np.savez(tmp_path / "a.npz", images=pixels(4), labels=[0, 1, 0, 1], ids=np.arange(4), **more)
    told = Told()
    dataset = load(tmp_path / "a.npz", reporter=told)
    assert (len(dataset.train), dataset.test) == (6, None)
    assert any(
        "its test part has no labels and is left out (3 images)" in note for note in told.notes
    )
    assert any("arrays that are not used: ids (4,) int64" in note for note in told.notes)
    # To be answered they need none.
    told = Told()
    answered = load(tmp_path / "a.npz", labelled=False, reporter=told).train
    assert len(answered) == 3
    assert any("the images in test_images alone count here" in note for note in told.notes)


def test_parts_of_two_sizes_become_one(tmp_path: Path) -> None:
    more = {"x_val": RNG.random((2, 9, 9, 3)), "y_val": [0, 1]}
    np.savez(tmp_path / "a.npz", x_train=pixels(2), y_train=[0, 1], **more)
    dataset = load(tmp_path / "a.npz")
    assert tuple(dataset.train.images.shape) == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": pixels(2)}, r"found pictures \(2, 6, 6\) uint8"),
        ({"images": pixels(2)}, r"beside 'images', found images \(2, 6, 6\) uint8"),
        ({"x": pixels(2), "X": pixels(2), "y": [0, 1]}, "both 'X' and 'x' could be the images"),
        ({"images": pixels(2), "x_train": pixels(2)}, "both 'images' and 'x_train'"),
        ({"arr_0": pixels(2), "arr_1": [0, 1], "arr_2": pixels(2)}, "cannot be told; save them"),
        ({"x_val": pixels(2), "y_val": [0, 1], "x_test": pixels(2), "y_test": [0, 1]}, "no part"),
        (
            {"images": pixels(2), "labels": [0, 1, 0]},
            "'images' need as many labels, 'labels' has 3",
        ),
        (
            {"x_train": pixels(2), "y_train": [0, 1], "x_val": pixels(1), "y_val": [2]},
            "class '2' has no images in its training part, only in its validation part",
        ),
        ({"images": pixels(2), "labels": [[1, 1], [0, 1]]}, "a single 1 in each row"),
        ({"images": pixels(2), "labels": [0, 1], "classes": ["a", "a"]}, "'a' comes twice"),
        ({"images": pixels(2), "labels": np.array(["a", None])}, "only pickle reads; save plain"),
    ],
)
def test_what_is_really_there_is_listed(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=rf"^(.*a\.npz|a): .*{message}"):
        load(tmp_path / "a.npz")


def test_no_label_is_needed_to_answer(tmp_path: Path) -> None:
    for labels in (np.zeros(3), np.array([0.5, 1]), np.array([-1, 0])):
        np.savez(tmp_path / "a.npz", images=pixels(2), labels=labels)
        assert load(tmp_path / "a.npz", labelled=False).train.labels is None
    np.savez(tmp_path / "a.npz", images=pixels(2), labels=[1, 0], classes=["b", "a", "c"])
    told = Told()
    assert load(tmp_path / "a.npz", reporter=told).classes == ("b", "a")
    assert told.notes == ["a: 1 class named in it without an image: c"]
