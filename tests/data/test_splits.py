"""Split files, duplicates, files that are no images, and classes that differ little."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests_support import Told, stripes, write_folder

from nescio.data import (
    Dataset,
    ImageSet,
    Reading,
    load,
    read_split,
    split,
    split_by,
    split_fingerprint,
    tell_duplicates,
    write_split,
)
from nescio.errors import DataError, UnreadableImage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", stripes(30, 0))


def test_a_written_split_is_read_again(folder: Path, tmp_path: Path) -> None:
    dataset = load(folder)
    splits = split(dataset, seed=3, calibration=0.2, test=0.2)
    file = tmp_path / "split.csv"
    write_split(file, dataset, splits)
    lines = file.read_text().splitlines()
    assert lines[0] == "image,part"
    assert lines[1].startswith("left/0000.png,")
    assert len(lines) == 31
    again, parts = read_split(file, dataset)
    for name in ("train", "calibration", "test"):
        assert getattr(again, name).names == getattr(splits, name).names
        assert torch.equal(getattr(again, name).hashes(), getattr(splits, name).hashes())
    assert torch.equal(split_by(dataset, parts).test.images, splits.test.images)
    # The same set elsewhere, the lines in another order: the same split.
    moved = load(folder.rename(tmp_path / "moved"))
    file.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    elsewhere, _ = read_split(file, moved)
    assert split_fingerprint(moved, elsewhere) == split_fingerprint(dataset, splits)
    other = split(moved, seed=4, calibration=0.2, test=0.2)
    assert split_fingerprint(moved, other) != split_fingerprint(dataset, splits)


def test_a_set_with_a_test_folder_and_a_set_without_files(folder: Path, tmp_path: Path) -> None:
    for part, seed in (("train", 1), ("test", 2)):
        write_folder(tmp_path / "two" / part, stripes(9, seed))
    dataset = load(tmp_path / "two")
    file = tmp_path / "split.csv"
    write_split(file, dataset, split(dataset, calibration=0.3, test=0.0))
    rows = file.read_text().splitlines()
    assert rows[-1] == "test/top/0008.png,test"
    splits, _ = read_split(file, dataset)
    assert splits.test_indices is None
    assert len(splits.test) == 9
    file.write_text("\n".join(row for row in rows if not row.startswith("test/")))
    assert len(read_split(file, dataset)[0].test) == 9
    file.write_text("\n".join([rows[0], rows[1].split(",")[0] + ",test", *rows[2:]]))
    with pytest.raises(DataError, match="train or calibration, for the set has a test folder"):
        read_split(file, dataset)

    made = Dataset("made", stripes(9, 0))
    write_split(file, made, split(made, calibration=0.3, test=0.3))
    assert file.read_text().splitlines()[1].startswith("stripes[0],")
    assert len(read_split(file, made)[0].test) == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the file is empty; expected image,part"),
        ("image,label\n", "line 1: expected the header image,part"),
        ("image,part\nleft/0000.png,validation\n", "line 2: the part must be train, calibration"),
        ("image,part\nleft/0000.png\n", "line 2: expected an image and a part"),
        ("image,part\nleft/9999.png,train\n", "line 2: data has no image 'left/9999.png'"),
        ("image,part\n../data/left/0000.png,train\n", "line 2: data has no image"),
        (
            "image,part\nleft/0000.png,train\n./left/0000.png,test\n",
            "line 3: .* already, on line 2",
        ),
        ("image,part\nleft/0000.png,train\n", "29 images of data are not in it .*left/0003.png"),
    ],
)
def test_bad_split_files(folder: Path, tmp_path: Path, rows: str, message: str) -> None:
    file = tmp_path / "split.csv"
    file.write_text(rows)
    with pytest.raises(DataError, match=message):
        read_split(file, load(folder))


def test_a_split_without_a_class_or_of_other_images() -> None:
    dataset = Dataset("made", stripes(9, 0))
    parts = torch.tensor([0, 1, 2] * 3, dtype=torch.uint8)  # one class a part
    with pytest.raises(DataError, match="'right' has no images in the training part"):
        split_by(dataset, parts)
    with pytest.raises(DataError, match="not one of these 9 images"):
        split_by(dataset, parts[:8])
    with pytest.raises(DataError, match="not one of these 9 images"):
        split_by(dataset, parts + 1)


def test_duplicates_are_told_with_the_first_pair() -> None:
    images = stripes(30, 0)
    dataset = Dataset("s", images)
    splits = split(dataset, calibration=0.2, test=0.2)
    told = Told()
    tell_duplicates("s", splits, told)
    assert told.notes == []
    first, second = int(splits.train_indices[0]), int(splits.train_indices[1])
    assert splits.test_indices is not None
    copy, relabelled = int(splits.test_indices[0]), int(splits.test_indices[1])
    pixels = images.images.clone()
    pixels[copy], pixels[second] = pixels[first], pixels[first]
    labels = images.require_labels().clone()
    labels[copy] = labels[first] = labels[second] = 0
    labels[relabelled], pixels[relabelled] = 1, pixels[first]
    changed = Dataset("s", replace(images, images=pixels, labels=labels))
    parts = torch.zeros(30, dtype=torch.uint8)
    parts[splits.calibration_indices], parts[splits.test_indices] = 1, 2
    tell_duplicates("s", split_by(changed, parts), told)
    crossing, conflicting = told.notes
    assert "2 images are in more than one of" in crossing
    assert f"stripes[{first}] and stripes[{copy}]" in crossing
    assert "1 image has two labels" in conflicting
    assert f"stripes[{first}] and stripes[{relabelled}], 'left' and 'right'" in conflicting


def test_what_is_no_image_is_skipped_with_a_count(folder: Path) -> None:
    junk = ["left/.hidden.png", "left/Thumbs.db", "notes.txt", "__MACOSX/left/._a.png", "loose.png"]
    for name in junk:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"junk")
    told = Told()
    dataset = load(folder, reporter=told)
    assert dataset.classes == ("left", "right", "top")
    assert len(dataset.train) == 30
    assert len(told.notes) == 1
    assert "5 files are skipped: hidden, no image that is read, or in no class" in told.notes[0]
    assert "(3 .png, 1 .db, 1 .txt; the first is loose.png)" in told.notes[0]


def test_unreadable_files_are_left_out_when_asked(folder: Path) -> None:
    (folder / "left" / "0000.png").write_bytes(b"no image")
    truncated = folder / "top" / "0002.png"
    truncated.write_bytes(truncated.read_bytes()[:60])
    with pytest.raises(UnreadableImage, match=r"0000\.png.*--skip-unreadable"):
        load(folder)
    with pytest.raises(UnreadableImage, match=r"0000\.png.*--skip-unreadable"):
        load(folder, reading=Reading(image_size=6, colour="grey"))
    told = Told()
    train = load(folder, reading=Reading(skip_unreadable=True), reporter=told).train
    assert len(train) == 28
    assert torch.bincount(train.require_labels()).tolist() == [9, 10, 9]
    assert all(
        Path(name).parent.name == train.classes[label]
        for name, label in zip(train.names, train.require_labels().tolist(), strict=True)
    )
    assert "2 images cannot be read and are left out" in told.notes[0]
    assert "0000.png" in told.notes[1]
    assert "0002.png" in told.notes[2]


def test_folders_that_differ_in_case_alone(tmp_path: Path) -> None:
    for name, value in (("Cat", 10), ("cat", 20), ("dog", 30)):
        (tmp_path / name).mkdir()
        if len(list(tmp_path.iterdir())) < 2 and name == "cat":
            pytest.skip("this file system does not tell cases apart")
        Image.fromarray(np.full((2, 2), value, np.uint8)).save(tmp_path / name / "0.png")
    told = Told()
    assert len(load(tmp_path, reporter=told).classes) == 3
    assert any("'Cat' and 'cat' differ only in case" in note for note in told.notes)


def test_images_lying_on_their_side_count_with_their_turned_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        upright = Image.fromarray(np.full((4, 2), 9, np.uint8))
        upright.save(tmp_path / name / "0.png")
        lying = Image.fromarray(np.full((2, 4), 9, np.uint8))
        exif = lying.getexif()
        exif[0x0112] = 6
        lying.save(tmp_path / name / "1.png", exif=exif)
    images: ImageSet = load(tmp_path).train
    assert images.preprocessing.shape == (1, 4, 2)
    assert set(images.images.flatten().tolist()) == {9}
