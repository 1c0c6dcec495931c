"""Models trained by groups: what they keep of them, and what other commands make of that."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import QUICK, Told, stripes, write_folder

import nescio
from nescio.classifier import (
    Promises,
    calibrate_classifier,
    calibration_set,
    describe_model,
    familiar_set,
)
from nescio.cli.app import main
from nescio.data import Dataset, Grouping, ImageSet, count_groups, load
from nescio.errors import DataError, RuleError

FEW = replace(QUICK, epochs=2)
SIZE = 4


def write_groups(root: Path, groups: int, seed: int, first: int = 0) -> Path:
    """A folder of groups of four images, told apart by the names of their files."""
    images = stripes(3 * groups * SIZE, seed)
    write_folder(root, images)
    for folder in root.iterdir():
        for i, file in enumerate(sorted(folder.iterdir())):
            group = f"{folder.name}{first + i // SIZE:03d}"
            file.rename(file.with_name(f"film-{group}-{i % SIZE}.png"))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_groups(tmp_path_factory.mktemp("films") / "films", 20, 0)


@pytest.fixture(scope="module")
def trained(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nescio.Classifier, Path, Told]:
    told = Told()
    classifier = nescio.fit(
        "mlp", folder, recipe=FEW, samples=4, group_by="film-[a-z0-9]+", reporter=told
    )
    path = tmp_path_factory.mktemp("model") / "films.nescio"
    classifier.save(path)
    return classifier, path, told


def test_a_model_keeps_its_groups_and_its_split(
    trained: tuple[nescio.Classifier, Path, Told], folder: Path
) -> None:
    classifier, path, told = trained
    assert any("60 groups of 240 images, each in one part" in note for note in told.notes)
    again = nescio.load_model(path)
    data = load(folder)
    for model in (classifier, again):
        record = model.record
        assert record.groups is not None
        assert record.grouped is not None
        assert (record.grouped.count, record.grouped.pattern) == (60, "film-[a-z0-9]+")
        kept = calibration_set(model, data)
        tested = familiar_set(model, data)
        assert count_groups(kept) * SIZE == len(kept) == record.calibration_images
        assert not {*names_of_groups(kept)} & {*names_of_groups(tested)}
        used = {*names_of_groups(kept), *names_of_groups(tested)}
        assert len(used) + (240 - len(kept) - len(tested)) // SIZE == 60
        rule = model.calibrated
        assert rule is not None
        assert rule.calibrated_on.grouped
        assert rule.calibrated_on.images == count_groups(kept) == record.grouped.calibration
        assert model.kept is not None
        assert len(model.kept) == count_groups(kept)
        # All images of the calibration groups were seen, not just those that counted.
        assert torch.isin(kept.hashes(), record.seen).all()
    assert "60, 6 of them for calibration" in describe_model(path)["groups"]
    assert "new group" in describe_model(path)["promise"]


def names_of_groups(images: ImageSet) -> list[str]:
    return [Path(name).name.rsplit("-", 1)[0] for name in images.names]


def test_what_six_groups_can_guarantee(
    trained: tuple[nescio.Classifier, Path, Told], folder: Path
) -> None:
    classifier, _, _ = trained
    with pytest.raises(RuleError, match=r"6 calibration groups .of each one image counts. cannot"):
        classifier.promise(0.05)
    # 24 calibration images would do for 20 %; 6 groups don't.
    with pytest.raises(RuleError, match="6 calibration groups"):
        nescio.fit("mlp", folder, recipe=FEW, max_risk=0.2, group_by="film-[a-z0-9]+")


def test_calibrating_on_other_data_counts_groups(
    trained: tuple[nescio.Classifier, Path, Told], folder: Path, tmp_path: Path
) -> None:
    classifier, _, _ = trained
    other = write_groups(tmp_path / "other", 25, 1, first=100)
    images = calibration_set(classifier, other)  # by the model's own pattern
    assert count_groups(images) == 75
    told = Told()
    model = calibrate_classifier(
        classifier, images, Promises(max_refusal=0.05), samples=4, reporter=told
    )
    assert model.calibrated is not None
    assert (model.calibrated.calibrated_on.images, len(model.kept or ())) == (75, 75)
    assert torch.isin(images.hashes(), model.record.seen).all()
    # Groups that were trained on are none to calibrate by, whatever is on their pictures.
    same = write_groups(tmp_path / "same", 25, 2)
    with pytest.raises(DataError, match=r"of groups that the model was trained on.*leave them out"):
        calibration_set(classifier, same)
    told = Told()
    assert len(familiar_set(classifier, same, told)) == 300
    assert any("say nothing about new groups" in note for note in told.notes)
    assert any("300 images of 75 groups; intervals count images" in note for note in told.notes)
    # Where the pattern finds nothing each image counts for itself, and that is said.
    plain = write_folder(tmp_path / "plain", stripes(60, 3))
    told = Told()
    assert calibration_set(classifier, plain, told).groups is None
    assert any("which of these belong together is not known" in note for note in told.notes)
    # A model that parted groups cannot be calibrated by the images that it kept.
    parting = nescio.fit("mlp", folder, recipe=FEW, samples=4, max_refusal=0.2)
    with pytest.raises(DataError, match="train it with --group-by or --groups"):
        calibration_set(parting, folder, grouping=Grouping("film-[a-z0-9]+"))


def test_groups_that_images_bring(tmp_path: Path) -> None:
    images = stripes(240, 4)
    own = replace(images, groups=torch.arange(240) % 60)
    classifier = nescio.fit("mlp", Dataset("own", own), recipe=FEW, samples=4)
    classifier.save(tmp_path / "own.nescio")
    assert "given with the images" in describe_model(tmp_path / "own.nescio")["groups"]
    assert count_groups(calibration_set(classifier, Dataset("own", images))) == 6


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "groups.csv"
    files = sorted(folder.glob("*/*.png"))
    rows = [f"{f.relative_to(folder).as_posix()},{f.stem.rsplit('-', 1)[0]}" for f in files]
    table.write_text("\n".join(["image,group", *rows]))
    model = tmp_path / "m.nescio"
    train = ["train", str(folder), "--out", str(model), "--network", "mlp", "--epochs", "1"]
    assert main([*train, "--samples", "4", "--groups", str(table)]) == 0
    assert "60 groups of 240 images" in capsys.readouterr().err
    assert "groups.csv, SHA-256" in describe_model(model)["groups"]
    evaluate = ["evaluate", str(model), str(folder), "--samples", "4", "--resamples", "10"]
    assert main(evaluate) == 0
    assert "36 images of 9 groups" in capsys.readouterr().err
    target = ["--out", str(tmp_path / "n.nescio"), "--samples", "4", "--max-refusal", "0.2"]
    assert main(["calibrate", str(model), str(folder), *target]) == 0
    assert "its 6 calibration groups" in capsys.readouterr().out
    for bad, message in (
        (["--group-by", "("], "--group-by must be a regular expression, got '('"),
        (["--group-by", "x", "--groups", str(table)], "give one of them"),
        (["--group-by", "nothing"], "240 of 240 images of films have no group"),
        (["--groups", str(tmp_path / "none.csv")], "cannot be read"),
        (["--group-by", "left|right|top"], "class 'left' has 1 group, class 'right' has 1 group"),
        (["--group-by", "film-[a-z0-9]+", "--max-risk", "0.1"], "no valid threshold: 6 calib"),
    ):
        assert main([*train[:3], str(tmp_path / "no.nescio"), *bad]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "no.nescio").exists()
    for command in (
        ["evaluate", str(model), str(folder)],
        ["calibrate", str(model), str(folder), *target, "--force"],
    ):
        assert main([*command, "--group-by", "("]) == 2
        assert "regular expression" in capsys.readouterr().err
