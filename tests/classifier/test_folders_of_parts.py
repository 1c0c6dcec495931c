"""A model of a folder with parts of its own: each command takes the part that is meant for it."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import QUICK, Told, stripes, write_folder

import nescio
from nescio.classifier import calibration_set, describe_model, familiar_set, load_model
from nescio.data import ImageSet, Reading


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts") / "set"
    for part, count, seed in (("Train", 60, 0), ("val", 30, 1)):
        write_folder(root / part, stripes(count, seed))
    return root


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def model(folder: Path, told: Told, tmp_path_factory: pytest.TempPathFactory) -> Path:
    fitted = nescio.fit(
        "mlp", str(folder), recipe=replace(QUICK, epochs=1), samples=2, reporter=told
    )
    path = tmp_path_factory.mktemp("model") / "parts.nescio"
    fitted.save(path)
    return path


def parts(images: ImageSet) -> set[str]:
    return {Path(name).parent.parent.name for name in images.names}


def test_training_tells_and_records_the_parts(model: Path, told: Told) -> None:
    assert any(
        "set: train images from Train, calibration images from val; test images are chosen from "
        "them by --seed" in note
        for note in told.notes
    )
    record = load_model(model).record
    assert record.part_names == {"train": "Train", "calibration": "val"}
    assert (record.train_images, record.calibration_images) == (51, 30)
    assert describe_model(model)["parts"] == "train from Train, calibration from val"


def test_evaluate_and_calibrate_take_their_parts(model: Path, folder: Path) -> None:
    classifier = load_model(model)
    judged = familiar_set(classifier, str(folder))
    assert (parts(judged), len(judged)) == ({"Train"}, 9)
    again = calibration_set(classifier, str(folder))
    assert (parts(again), len(again)) == ({"val"}, 30)


def test_other_data_are_calibrated_on_by_their_validation_part(model: Path, tmp_path: Path) -> None:
    for part, count, seed in (("train", 9, 2), ("valid", 6, 3), ("test", 3, 4)):
        write_folder(tmp_path / part, stripes(count, seed))
    classifier = load_model(model)
    assert parts(calibration_set(classifier, tmp_path)) == {"valid"}
    assert parts(familiar_set(classifier, tmp_path)) == {"test"}


def test_few_validation_images_are_told(tmp_path: Path) -> None:
    for part, count, seed in (("train", 90, 2), ("val", 3, 3), ("test", 3, 4)):
        write_folder(tmp_path / part, stripes(count, seed))
    told = Told()
    fitted = nescio.fit(
        "mlp",
        str(tmp_path),
        recipe=replace(QUICK, epochs=1),
        samples=2,
        reading=Reading(image_size=6),
        reporter=told,
    )
    assert fitted.record.calibration_images == 3
    assert any("val has 3 images to set thresholds by, fewer than the 9" in n for n in told.notes)
