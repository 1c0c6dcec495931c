"""Labels in a CSV file, and how the images they name join the training part."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests_support import CLASSES, Told, stripes, write_folder

from nescio.data import Dataset, ImageSet, Preprocessing, Splits, join_extra, read_labels, split
from nescio.errors import DataError, UnreadableImage

SHAPE = Preprocessing(1, 6, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_folder(tmp_path_factory.mktemp("labels"), stripes(12, 7))
    np.savez(root / "set.npz", images=stripes(5, 8).images[:, 0].numpy())
    (root / "broken.png").write_bytes(b"\x89PNG nothing more")
    return root


def table(folder: Path, *rows: Sequence[str], header: Sequence[str] = ("image", "label")) -> Path:
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read(path: Path) -> ImageSet:
    return read_labels(path, CLASSES, SHAPE)


def test_paths_are_absolute_or_relative_to_the_file(folder: Path) -> None:
    path = table(
        folder,
        ("left/0000.png", "right"),
        (str(folder / "top" / "0002.png"), "top"),
        (f"{folder / 'set.npz'}[4]", "left"),
        ("set.npz[0]", "left"),
        ("digits[3]", "top"),
    )
    images = read(path)
    expected, archive = stripes(12, 7).images, stripes(5, 8).images
    assert images.require_labels().tolist() == [1, 2, 0, 0, 2]
    assert torch.equal(images.images[:4], torch.stack([*expected[[0, 2]], *archive[[4, 0]]]))
    assert images.names[0] == "left/0000.png"
    assert images.classes == CLASSES


def test_nasty_names_and_spreadsheets(tmp_path: Path) -> None:
    names = ['a,b "c"\nd.png', "<script>alert(1)</script>'&amp;.png", "ü 名[2].png", "x\r\ny.png"]
    pictures = stripes(len(names), 3).images
    for name, image in zip(names, pictures, strict=True):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    path = table(tmp_path, *((name, "left") for name in names))
    # A byte order mark and empty lines, as spreadsheets leave them.
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")
    images = read(path)
    assert images.names == tuple(names)
    assert torch.equal(images.images, pictures)


LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4
)


@given(LINES)
def test_any_table_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.mktemp("any") / "labels.csv"
    path.write_text("image,label\n" + "\n".join(lines), encoding="utf-8", newline="")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "case",
    [
        (
            [("left/0000.png", "cat")],
            "line 2: 'cat' is not one of the 3 classes (left, right, top)",
        ),
        ([("left/0000.png", "")], "line 2: '' is not one of"),
        ([("left/0000.png", " left")], "line 2: ' left' is not one of"),
        ([("gone.png", "left")], "gone.png: no such file; correct or take it out"),
        ([("set.npz", "left"), ("broken.png", "top")], "line 2: "),
        ([("left/0000.png", "left"), ("broken.png", "top")], "line 3: "),
        ([("left", "left")], "line 2: "),
        ([("", "left")], "line 2: the image is not named"),
        ([("left/0000.png",)], "line 2: expected an image and a label, got 1 field;"),
        ([("a\nb.png", "left"), ("left/0000.png", "left", "x")], "line 4: expected an image"),
        ([("set.npz[5]", "left")], "line 2: set.npz has 5 images, none of number 5"),
        ([("noise:9[0]", "left")], "line 2: noise:9 is made at run time"),
        ([("digits@blur:3[0]", "left")], "line 2: digits@blur:3 is made at run time"),
        ([("nothing.npz[0]", "left")], "line 2: nothing.npz: no such file or folder"),
        (
            [("left/0000.png", "left"), ("top/0002.png", "top"), ("./left/0000.png", "top")],
            "line 4: ./left/0000.png is labelled 'top' here, and the same image 'left' on line 2",
        ),
    ],
)
def test_bad_rows_name_their_line(folder: Path, case: tuple[list[tuple[str, ...]], str]) -> None:
    rows, words = case
    path = table(folder, *rows)
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line ")
    assert words in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty; expected image,label"),
        (b"image,label\n", "there are no labels in it"),
        (b"label,image\nx,y\n", "line 1: expected the header image,label, got 'label,image'"),
        (b"image;label\nx;y\n", "got 'image;label'; write commas between columns"),
        (b"image,label,accepted\n", "line 1: expected the header"),
        (b"image;label\n", "got 'image;label'"),
        (b"image,label\n\xff.png,left\n", "not in UTF-8"),
        (b'image,label\n"a.png,left\n', "line 2: not a valid CSV record"),
        (b"image,label\n" + b"a" * 200_000 + b",left\n", "line 2: not a valid CSV record"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_two_hundred_classes_are_not_all_listed(folder: Path) -> None:
    classes = tuple(f"class {i}" for i in range(200))
    with pytest.raises(DataError, match="200 classes") as caught:
        read_labels(table(folder, ("left/0000.png", "x")), classes, SHAPE)
    assert len(str(caught.value)) < 500


def test_an_image_that_comes_twice_counts_once(folder: Path) -> None:
    told = Told()
    path = table(folder, ("left/0000.png", "left"), ("./left/0000.png", "left"))
    assert len(read_labels(path, CLASSES, SHAPE, told)) == 1
    assert told.notes == [f"{path}: 1 images come more than once, and count once"]


def test_unreadable_is_told_as_such(folder: Path) -> None:
    with pytest.raises(UnreadableImage):
        read(table(folder, ("broken.png", "left")))


@pytest.fixture(scope="module")
def splits() -> Splits:
    dataset = Dataset("stripes", stripes(120, 0))
    return split(dataset, calibration=0.2, test=0.2)


def test_extra_images_join_training_alone(splits: Splits) -> None:
    extra = stripes(9, 5, "extra")
    joined, new = join_extra(splits, extra)
    assert torch.equal(new.images, extra.images)
    count = len(splits.train)
    assert torch.equal(joined.train.images[:count], splits.train.images)
    assert torch.equal(joined.train.images[count:], extra.images)
    assert torch.equal(joined.train.require_labels()[count:], extra.require_labels())
    assert joined.train.names[-1] == "extra[8]"
    assert joined.train.name == "stripes"
    assert joined.calibration is splits.calibration
    assert joined.test is splits.test


def test_what_is_held_out_stays_held_out(splits: Splits) -> None:
    told = Told()
    own = [splits.calibration.subset(torch.tensor([0, 1])), splits.test.subset(torch.tensor([2]))]
    images = torch.cat([stripes(3, 5).images, *(s.images for s in own), splits.train.images[:1]])
    # Whatever their label: they are not looked at.
    labels = torch.tensor([0, 1, 2, 0, 0, 0, int(splits.train.require_labels()[0])])
    extra = ImageSet("extra", images, labels, CLASSES)
    joined, new = join_extra(splits, extra, told)
    assert torch.equal(new.images, stripes(3, 5).images)
    assert len(joined.train) == len(splits.train) + 3
    assert told.notes == [
        "extra: 3 of 7 images are held out of training in stripes, for calibration or test, and "
        "are left out (the first is extra[3])",
        "extra: 1 of 7 images are trained on in stripes anyway, and are left out (the first is "
        "extra[6])",
    ]


def test_extra_images_that_cannot_join(splits: Splits) -> None:
    again = splits.train.subset(torch.tensor([0, 1]))
    with pytest.raises(DataError, match="all its 2 images are among those of stripes"):
        join_extra(splits, replace(again, name="extra"))
    other = replace(again, labels=(again.require_labels() + 1) % 3, name="extra")
    with pytest.raises(DataError, match=r"is labelled '\w+' in extra, and '\w+' as a training"):
        join_extra(splits, other)
    with pytest.raises(DataError, match="must have the shape and classes of stripes"):
        join_extra(splits, replace(stripes(3, 5), classes=("left", "top", "right")))


def test_extra_images_are_cut_as_the_set_is(folder: Path) -> None:
    cut = replace(SHAPE, fit="crop")
    images = read_labels(table(folder, ("left/0000.png", "left")), CLASSES, cut)
    assert images.preprocessing == cut
    train = replace(stripes(30, 55), fit="crop")
    splits = split(Dataset("d", train), calibration=0.2, test=0.2)
    # Those of one's own come as they are.
    for extra in (images, replace(images, fit="pad")):
        joined, _ = join_extra(splits, extra)
        assert joined.train.preprocessing == cut
