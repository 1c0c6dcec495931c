"""Sets of one's own: fixed splits, classes never seen, and what a model file keeps of both."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests_support import QUICK, Told, small_network, stripes, without_familiarity

import nescio
from nescio.classifier import (
    calibration_set,
    describe_model,
    familiar_and_unknown,
    familiar_set,
    read_header,
)
from nescio.data import Dataset, ImageSet, Preprocessing, read_split, split, write_split
from nescio.errors import DataError, ModelFileError

FEW = replace(QUICK, epochs=2)


def fit(data: Dataset, **options: object) -> nescio.Classifier:
    plain = {"recipe": FEW, "samples": 4, "max_refusal": 0.2}
    return nescio.fit("mlp", data, **{**plain, **options})


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nescio.Classifier, Dataset, Path]:
    """A model by a split file that no seed gives: every fifth image is for test."""
    data = Dataset("stripes", stripes(120, 7))
    file = tmp_path_factory.mktemp("split") / "split.csv"
    parts = ["test" if i % 5 == 0 else "calibration" if i % 5 == 1 else "train" for i in range(120)]
    rows = [f"stripes[{i}],{part}" for i, part in enumerate(parts)]
    file.write_text("\n".join(["image,part", *rows]))
    return fit(data, split_file=file), data, file


def test_a_fixed_split_is_used_and_used_again(
    fixed: tuple[nescio.Classifier, Dataset, Path], tmp_path: Path
) -> None:
    classifier, data, file = fixed
    record = classifier.record
    assert (record.train_images, record.calibration_images, record.test_fraction) == (72, 24, 0.0)
    path = tmp_path / "m.nescio"
    classifier.save(path)
    again = nescio.load_model(path)
    assert again.record.parts is not None
    assert torch.equal(again.record.parts, read_split(file, data)[1])
    for model in (classifier, again):
        tested = familiar_set(model, data)
        assert tested.names == tuple(f"stripes[{i}]" for i in range(0, 120, 5))
        assert calibration_set(model, data).names == tuple(
            f"stripes[{i}]" for i in range(1, 120, 5)
        )
    told = describe_model(path)["split"]
    write_split(tmp_path / "again.csv", data, read_split(file, data)[0])
    assert record.split_fingerprint in told
    assert "split" not in describe_model_of_a_seed(tmp_path, data)


def describe_model_of_a_seed(folder: Path, data: Dataset) -> dict[str, str]:
    fit(data, write_split_to=folder / "written.csv").save(folder / "seed.nescio")
    _, parts = read_split(folder / "written.csv", data)
    splits = split(data, seed=0, calibration=FEW.calibration, test=0.15)
    assert torch.equal((parts == 1).nonzero().flatten(), splits.calibration_indices)
    return describe_model(folder / "seed.nescio")


def test_a_split_of_other_images_in_a_file(
    fixed: tuple[nescio.Classifier, Dataset, Path],
) -> None:
    classifier, data, _ = fixed
    record = classifier.record
    assert record.parts is not None
    odd = replace(classifier, record=replace(record, parts=record.parts[:-1]))
    with pytest.raises(DataError, match="not one of these 120 images"):
        familiar_set(odd, data)


def with_a_stranger(count: int = 12) -> ImageSet:
    """Stripes with a fourth class, in another order, last image first of it."""
    images = stripes(count, 9)
    labels = images.require_labels().clone()
    labels[1::3] = 3
    return replace(images, labels=labels, classes=("left", "right", "top", "both"))


def test_classes_never_seen_are_an_error_or_a_set_to_refuse(
    classifier: nescio.Classifier,
) -> None:
    images = with_a_stranger()
    with pytest.raises(DataError, match=r"'both' is not one of .*--unknown-classes unfamiliar"):
        familiar_set(classifier, images)
    familiar, unknown = familiar_and_unknown(classifier, images)
    assert familiar.classes == classifier.classes
    assert familiar.require_labels().tolist() == [0, 2] * 4
    assert unknown is not None
    assert (unknown.name, len(unknown)) == ("unknown classes", 4)
    assert unknown.image_name(0) == "stripes[1]"
    told = classifier.evaluate(images, unknown_classes="unfamiliar", samples=4)
    assert told.n == 8
    assert told.ood["unknown classes"].n == 4
    assert told.ood["unknown classes"].accepted_accuracy is None
    known, none = familiar_and_unknown(classifier, stripes(6, 1))
    assert none is None
    assert len(known) == 6
    strange = replace(stripes(6, 1), classes=("x", "y", "z"))
    with pytest.raises(DataError, match="none of its images is of a class that the model knows"):
        familiar_and_unknown(classifier, strange)


def test_test_images_that_were_trained_on_are_told(classifier: nescio.Classifier) -> None:
    told = Told()
    seen = stripes(600, 0).subset(torch.arange(6))
    new = stripes(6, 99)
    mixed = replace(new, images=torch.cat([new.images[:4], seen.images[4:]]))
    tested = familiar_set(classifier, Dataset("d", stripes(9, 50), mixed), told)
    assert len(tested) == 6
    assert "2 of its 6 test images were trained or calibrated on, too" in told.notes[0]


def rewritten(model: Path, target: Path, **changes: object) -> Path:
    header = {**read_header(model), **changes}
    save_file(load_file(model), target, metadata={"nescio": json.dumps(header)})
    return target


def test_a_model_of_format_5_loads_as_it_was(model_file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    without_familiarity(nescio.load_model(model_file)).save(plain)
    header = read_header(plain)
    del header["preprocessing"]["fit"]
    del header["recipe"]["balance"]
    del header["training"]["split_fingerprint"]
    old = rewritten(plain, tmp_path / "old", **{**header, "format": 5})
    loaded, new = nescio.load_model(old), nescio.load_model(model_file)
    assert loaded.preprocessing == Preprocessing(1, 6, 6, "pad") == new.preprocessing
    assert loaded.recipe == new.recipe
    images = stripes(20, 3)
    assert torch.equal(
        loaded.predict_samples(images, samples=3), new.predict_samples(images, samples=3)
    )


def test_another_familiarity_model_is_told(model_file: Path, tmp_path: Path) -> None:
    old = rewritten(model_file, tmp_path / "old", format=6)
    with pytest.raises(ModelFileError, match="in another way; train it again with nescio train"):
        nescio.load_model(old)


@pytest.mark.parametrize(
    "preprocessing",
    [
        {"channels": 1, "height": 6, "width": 6, "fit": "squeeze"},
        {"channels": 1, "height": 0, "width": 6},
    ],
)
def test_hostile_preprocessing(
    model_file: Path, tmp_path: Path, preprocessing: dict[str, object]
) -> None:
    bad = rewritten(model_file, tmp_path / "bad", preprocessing=preprocessing)
    with pytest.raises(ModelFileError, match="description is not valid"):
        nescio.load_model(bad)


def test_the_model_cuts_as_it_was_trained(tmp_path: Path) -> None:
    data = Dataset("cut", replace(stripes(60, 0), fit="crop"))
    classifier = fit(data)
    classifier.save(tmp_path / "m.nescio")
    loaded = nescio.load_model(tmp_path / "m.nescio")
    assert loaded.preprocessing == Preprocessing(1, 6, 6, "crop")
    assert "cut to the largest part" in describe_model(tmp_path / "m.nescio")["images"]
    wide = torch.zeros(1, 6, 12, dtype=torch.uint8)
    wide[:, :, 3:9] = 255
    assert bool((loaded.prepare(wide) == 255).all())


def test_images_that_come_twice_are_told_at_the_fit() -> None:
    images = stripes(60, 0)
    twice = replace(images, images=images.images[:1].expand(60, -1, -1, -1).contiguous())
    told = Told()
    with pytest.raises(nescio.NescioError):
        nescio.fit(small_network(), Dataset("d", twice), recipe=FEW, samples=2, reporter=told)
    assert any("are in more than one of training" in note for note in told.notes)
    assert any("have two labels" in note for note in told.notes)
