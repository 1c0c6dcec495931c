"""Folders of parts and of classes, under the names and in the shapes in which people keep them."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests_support import Told

from nescio.data import PARTS, Dataset, ImageSet, load, parts_of, split, split_by
from nescio.data.layout import part_of
from nescio.errors import DataError


def lay(root: Path, *places: str, count: int = 6) -> Path:
    """Images of their own shade in each place, such as ``train/cat``."""
    shade = 0
    for place in places:
        folder = root / place
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            shade += 1
            Image.new("L", (4, 4), shade % 256).save(folder / f"{i}.png")
    return root


def folders_of(images: ImageSet, root: Path) -> set[str]:
    return {str(Path(name).parent.relative_to(root)) for name in images.names}


def split_of(data: Dataset) -> dict[str, ImageSet]:
    splits = split(data, seed=0, calibration=0.1, test=0.15)
    return {"train": splits.train, "calibration": splits.calibration, "test": splits.test}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("Train", "Test"), {"train": "Train", "test": "Test"}),
        (("train", "val"), {"train": "train", "calibration": "val"}),
        (
            ("train", "valid", "test"),
            {"train": "train", "calibration": "valid", "test": "test"},
        ),
        (("training", "validation"), {"train": "training", "calibration": "validation"}),
        (("TRN", "dev"), {"train": "TRN", "calibration": "dev"}),
        (("training_set", "test_set"), {"train": "training_set", "test": "test_set"}),
        (("train2017", "val2017"), {"train": "train2017", "calibration": "val2017"}),
        (("train", "holdout"), {"train": "train", "test": "holdout"}),
        (("train",), {"train": "train"}),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["above", "inside"])
def test_parts_under_their_usual_names(
    tmp_path: Path, folders: tuple[str, ...], expected: dict[str, str], inside: bool
) -> None:
    if inside and len(folders) == 1:  # one folder in each class says nothing
        expected = {}
    order = (lambda part, name: f"{name}/{part}") if inside else (lambda p, n: f"{p}/{n}")
    lay(tmp_path, *(order(part, name) for part in folders for name in ("cat", "dog")))
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    star = "*/" if inside else ""
    assert data.part_names == {part: f"{star}{name}" for part, name in expected.items()}
    for part, images in split_of(data).items():
        own = {expected.get(part, folders[0])}
        assert folders_of(images, tmp_path) == {order(f, n) for f in own for n in ("cat", "dog")}
        assert {Path(n).relative_to(tmp_path).parts[0 if inside else 1] for n in images.names} == {
            images.classes[label] for label in images.require_labels().tolist()
        }
    whole = sum(map(len, split_of(data).values()))
    assert whole == 12 * len(folders)


def test_validation_images_are_calibrated_on_by_every_seed_and_from_the_record(
    tmp_path: Path,
) -> None:
    data = load(lay(tmp_path, "train/a", "train/b", "val/a", "val/b"))
    first = split(data, seed=1, calibration=0.1, test=0.15)
    assert folders_of(first.calibration, tmp_path) == {"val/a", "val/b"}
    assert len(first.calibration) == 12
    parts = parts_of(first)
    assert [int((parts == i).sum()) for i in range(len(PARTS))] == [10, 12, 2]
    again = split_by(data, parts)
    assert torch.equal(again.train_indices, first.train_indices)
    assert torch.equal(again.calibration_indices, first.calibration_indices)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            ("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog", "fold3/cat", "fold3/dog"),
            r"'fold1', 'fold2', 'fold3' all hold folders 'cat', 'dog', so that either may be the "
            r"classes; if they are parts, call one train .*--labels",
        ),
        (
            ("train/cat", "train/dog", "test/cat", "test/dog", "holdout/cat"),
            r"'holdout' and 'test' are both called like the test part; rename one",
        ),
        (("val/cat", "val/dog", "test/cat"), r"'test', 'val' are called like .*no training part"),
        (("train", "test"), r"'test', 'train' are called like parts .*no class folders below"),
        (("cat", "dog", "test"), r"'test' is called like a part of a set"),
        (("train/cat", "train/dog", "other"), r"'train' is called like a part .*'other' is not"),
        (("cat/train", "cat/test", "dog"), r"'cat' holds 'test', 'train'.*'dog' holds other"),
        (("cat/test", "cat/val", "dog/test"), r"its classes hold .*no training part"),
        (("cat/train", "cat/val", "cat/dev", "dog/train"), r"cat: two folders are called like the"),
        (("images/train", "images/val"), r"only the class 'images'.*or name .*images"),
        (("train/cat", "train/dog", "val/fox"), r"class 'fox' has images to validate on, and none"),
    ],
)
def test_what_can_be_read_in_two_ways_stops(
    tmp_path: Path, places: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(lay(tmp_path, *places, count=2))


def test_empty_parts_and_classes_stop(tmp_path: Path) -> None:
    lay(tmp_path, "train/a", "train/b", count=2)
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match=r"val: no images in this folder; add some, or remove"):
        load(tmp_path)
    (tmp_path / "val").rmdir()
    for name in ("c", "d"):
        (tmp_path / "train" / name).mkdir()
    with pytest.raises(DataError, match=r"2 classes have no images \(c, d\)"):
        load(tmp_path)


def test_what_only_looks_like_a_part_is_a_class(tmp_path: Path) -> None:
    assert load(lay(tmp_path / "a", "bus", "car", "train", count=2)).classes == (
        "bus",
        "car",
        "train",
    )
    # One folder of the same name in each class says nothing; nor do folders that differ.
    assert load(lay(tmp_path / "b", "cat/images", "dog/images")).classes == ("cat", "dog")
    assert load(lay(tmp_path / "c", "cat/x", "cat/y", "dog/y", "dog/z")).classes == ("cat", "dog")
    assert part_of("trainer") is None
    assert part_of("test1") is None


def test_images_without_labels_and_strange_folders_are_told(tmp_path: Path) -> None:
    lay(tmp_path, "train/a", "train/b", "test", "extra/a", count=3)
    told = Told()
    data = load(tmp_path, reporter=told)
    assert data.test is None
    assert len(data.train) == 6
    assert any("the 3 images of test lie in no class folders" in note for note in told.notes)
    assert any("3 files are skipped: " in note and "(3 .png;" in note for note in told.notes)
    told = Told()
    assert len(load(tmp_path, labelled=False, reporter=told).train) == 3
    assert any(
        "the images in test alone count here; the other 9 are left out" in n for n in told.notes
    )
