"""Labels of the files of a folder in a CSV file."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests_support import QUICK, Told, stripes

import nescio
from nescio.classifier import familiar_set, shifted_sets
from nescio.cli.app import main
from nescio.data import ImageSet, Reading, load
from nescio.errors import DataError, UsageError


def write_flat(root: Path, images: ImageSet, labels: Path, below: str = "") -> None:
    """The set as files side by side, and their labels."""
    (root / below).mkdir(parents=True, exist_ok=True)
    lines = [] if labels.exists() else ["image,label"]
    for i, (image, label) in enumerate(
        zip(images.images, images.require_labels().tolist(), strict=True)
    ):
        name = f"{below}{i:03d}.png"
        Image.fromarray(image[0].numpy()).save(root / name)
        lines.append(f"{name},{images.classes[label]}")
    with labels.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


@pytest.fixture
def flat(tmp_path: Path) -> tuple[Path, Path]:
    root, labels = tmp_path / "photos", tmp_path / "labels.csv"
    write_flat(root, stripes(30, 0), labels)
    return root, labels


def test_the_files_of_a_flat_folder(flat: tuple[Path, Path]) -> None:
    root, labels = flat
    data = load(root, reading=Reading(labels=labels))
    truth = stripes(30, 0)
    assert data.train.classes == truth.classes
    assert data.train.require_labels().tolist() == truth.require_labels().tolist()
    assert data.train.fingerprint() == truth.fingerprint()
    # Beside the images, by paths from there, and by whole paths.
    for place, prefix in ((root, ""), (root.parent, "photos/"), (root, f"{root}/")):
        moved = place / "moved.csv"
        moved.write_text(labels.read_text().replace("\n0", f"\n{prefix}0"))
        told = Told()
        again = load(root, reading=Reading(labels=moved), reporter=told)
        assert again.train.fingerprint() == data.train.fingerprint()
        assert told.notes == []
        moved.unlink()


def test_parts_whose_labels_are_in_a_file(tmp_path: Path) -> None:
    root, labels = tmp_path / "set", tmp_path / "set" / "labels.csv"
    for part, count in (("train/", 12), ("val/", 6), ("test/", 3)):
        write_flat(root, stripes(count, count), labels, part)
    data = load(root, reading=Reading(labels=labels))
    assert data.part_names == {"train": "train", "calibration": "val", "test": "test"}
    assert data.validation is not None
    assert data.validation.tolist() == [False] * 12 + [True] * 6
    assert data.test is not None
    assert len(data.test) == 3


def test_what_has_no_label_is_left_out_and_told(flat: tuple[Path, Path]) -> None:
    root, labels = flat
    text = labels.read_text()
    labels.write_text(text.replace("000.png,left\n", "").replace("001.png,right", "001.png,"))
    told = Told()
    data = load(root, reading=Reading(labels=labels), reporter=told)
    assert len(data.train) == 28
    assert told.notes == [
        f"{labels}: 1 of 30 images of {root} are not in it, and are left out (the first is "
        "000.png)",
        f"{labels}: 1 of 29 images have no label in it, and are left out (the first is 001.png)",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\n002.png", "\ngone.png"), r"line 4: there is no image 'gone\.png' in .*photos; "),
        (
            ("\n002.png,top", "\n000.png,top"),
            r"line 4: 000\.png is labelled 'top' here, and 'left'",
        ),
        (("\n002.png,top", "\n002.png,top,x"), r"line 4: expected an image and a label, got 3"),
        (("image,label", "file,label"), r"line 1: expected the header image,label"),
    ],
)
def test_bad_lines(flat: tuple[Path, Path], change: tuple[str, str], message: str) -> None:
    root, labels = flat
    labels.write_text(labels.read_text().replace(*change, 1))
    with pytest.raises(DataError, match=message):
        load(root, reading=Reading(labels=labels))


def test_lines_of_other_images(flat: tuple[Path, Path]) -> None:
    root, labels = flat
    with labels.open("a") as file:
        file.write("x.png,top\ny.png,top\n")
    with pytest.raises(DataError, match=r"line 32: .*'x\.png'.*on 1 more lines.*--skip-unread"):
        load(root, reading=Reading(labels=labels))
    told = Told()
    reading = Reading(labels=labels, skip_unreadable=True)
    assert len(load(root, reading=reading, reporter=told).train) == 30
    assert "2 of its 32 lines name no image" in told.notes[0]
    labels.write_text("image,label\n")
    with pytest.raises(DataError, match="there are no labels in it"):
        load(root, reading=reading)
    with pytest.raises(DataError, match="cannot be read"):
        load(root, reading=Reading(labels=root / "none.csv"))
    with pytest.raises(UsageError, match=r"--labels .*: it labels .* and digits is none"):
        load("digits", reading=Reading(labels=labels))


def test_a_model_of_such_a_folder(flat: tuple[Path, Path]) -> None:
    root, labels = flat
    reading = Reading(labels=labels)
    model = nescio.fit(
        "mlp", str(root), recipe=replace(QUICK, epochs=1), samples=2, reading=reading
    )
    assert len(familiar_set(model, str(root), reading=reading)) == 6
    # What should be refused needs no labels, whatever the others have.
    assert len(shifted_sets(model, [str(root)], reading=reading)["photos"]) == 30


def test_the_command(flat: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    root, labels = flat
    command = ["train", str(root), "--dry-run", "--json", "--network", "mlp"]
    assert main(command) == 2
    assert "no class folders" in capsys.readouterr().err
    assert main([*command, "--labels", str(labels)]) == 0
    assert '"train": {"left": 7, "right": 7, "top": 7}' in capsys.readouterr().out
