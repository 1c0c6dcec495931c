"""A model knows what it could promise, and promises it, without its calibration images."""

import json
import math
import pickle
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests_support import stripes, write_folder

import nescio
from nescio.classifier import Promises, calibrate_classifier, read_header, read_promises
from nescio.classifier.fingerprint import digest
from nescio.cli.app import main
from nescio.data import ImageSet
from nescio.errors import ModelFileError, RuleError
from nescio.refusal import RISKS, CalibratedRule, calibration_needed
from nescio.refusal.scores import SHARED


def mixed(count: int, seed: int) -> ImageSet:
    """Images of one class with more or less of another in them, at times more."""
    own = stripes(count, seed)
    share = 0.55 * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    pixels = (1 - share) * own.images + share * own.images.roll(1, 0)
    return ImageSet("mixed", pixels.to(torch.uint8), own.labels, own.classes)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return mixed(600, 60)


@pytest.fixture(scope="module")
def calibrated(
    classifier: nescio.Classifier, images: ImageSet, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("promising") / "m.nescio"
    calibrate_classifier(classifier, images, Promises(), samples=5).save(path)
    return path


def test_every_row_is_what_calibrating_for_it_gives(
    classifier: nescio.Classifier, images: ImageSet, calibrated: Path
) -> None:
    model = nescio.load_model(calibrated)
    table = model.promises()
    assert [row.max_risk for row in table] == list(RISKS)
    assert read_promises(calibrated) == table
    for row in table:
        asked = Promises(max_risk=row.max_risk)
        if len(images) < calibration_needed(row.max_risk, 0.95):
            assert not row.kept
            with pytest.raises(RuleError, match="no valid threshold"):
                model.promise(row.max_risk)
            continue
        again = calibrate_classifier(classifier, images, asked, samples=5)
        assert row.rule == again.calibrated
        if row.kept:
            assert model.promise(row.max_risk).rule == again.rule
    # All three kinds: none, one that costs many answers, one that costs few.
    coverages = [row.coverage for row in table]
    assert coverages[0] == 0
    assert coverages[-1] > 0.95
    assert any(0.3 < coverage < 0.9 for coverage in coverages)


def test_another_confidence_and_share_of_refusals(
    classifier: nescio.Classifier, images: ImageSet, calibrated: Path
) -> None:
    asked = Promises(max_risk=0.1, confidence=0.99, max_refusal=0.1)
    again = calibrate_classifier(classifier, images, asked, samples=5)
    model = nescio.load_model(calibrated).promise(0.1, confidence=0.99, max_refusal=0.1)
    assert model.calibrated == model.rule == again.rule
    # What is not named is the model's own.
    kept = model.promise(0.2).calibrated
    assert kept is not None
    assert (kept.max_risk, kept.confidence, kept.max_refusal) == (0.2, 0.99, 0.1)
    with pytest.raises(RuleError, match="--max-risk must be between 0 and 1"):
        model.promise(1.0)


def test_a_promise_survives_the_file(calibrated: Path, tmp_path: Path) -> None:
    model = nescio.load_model(calibrated)
    model.promise(0.1).save(tmp_path / "m.nescio")
    again = nescio.load_model(tmp_path / "m.nescio")
    assert again.rule == model.promise(0.1).rule
    assert again.promises() == model.promises()


def test_estimators_keep_what_they_could_promise() -> None:
    given = stripes(150, 61)
    estimator = nescio.NescioClassifier("mlp", epochs=1, samples=2, calibration=0.5)
    estimator.fit(given.images[:, 0].numpy(), given.require_labels().numpy())
    again = pickle.loads(pickle.dumps(estimator))  # noqa: S301 - our own
    table = again.classifier_.promises()
    assert table == estimator.classifier_.promises()
    assert all(math.isfinite(row.rule.unfamiliar[0]) for row in table)


def change(source: Path, target: Path, **changes: torch.Tensor | None) -> Path:
    """The same file with other tensors of calibration, and their digest."""
    tensors = load_file(source)
    for name, value in changes.items():
        if value is None:
            del tensors[f"calibration/{name}"]
        else:
            tensors[f"calibration/{name}"] = value
    header = {**read_header(source), "digest": digest(tensors)}
    save_file(tensors, target, {"nescio": json.dumps(header)})
    return target


def test_a_file_that_keeps_nothing_of_its_calibration(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = change(calibrated, tmp_path / "m", unfamiliarity=None, doubt=None, wrong=None)
    model = nescio.load_model(older)
    assert model.rule == nescio.load_model(calibrated).rule
    assert read_promises(older) is None
    for ask in (model.promises, lambda: model.promise(0.1)):
        with pytest.raises(RuleError, match="need images: nescio calibrate"):
            ask()
    assert main(["info", str(older)]) == 0
    assert "--max-risk could" not in capsys.readouterr().out
    assert main(["info", str(older), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["promises"] is None


@pytest.mark.parametrize(
    "damage",
    [
        {"doubt": None},
        {"wrong": torch.zeros(600)},
        {"doubt": torch.zeros(599)},
        {name: torch.zeros(10) for name in ("unfamiliarity", "doubt")}
        | {"wrong": torch.zeros(10, dtype=torch.bool)},
    ],
    ids=["one is missing", "type", "shape", "of other images"],
)
def test_scores_that_do_not_belong_to_the_thresholds(
    calibrated: Path, tmp_path: Path, damage: dict[str, torch.Tensor | None]
) -> None:
    path = change(calibrated, tmp_path / "m", **damage)
    for read in (nescio.load_model, read_promises):
        with pytest.raises(ModelFileError, match="description is not valid"):
            read(path)
    # The digest covers them.
    tensors = load_file(calibrated)
    tensors["calibration/doubt"] = tensors["calibration/doubt"] / 2
    save_file(tensors, tmp_path / "n", {"nescio": json.dumps(read_header(calibrated))})
    with pytest.raises(ModelFileError, match="digest"):
        nescio.load_model(tmp_path / "n")


def test_info_shows_the_table(calibrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = nescio.load_model(calibrated).promises()
    assert main(["info", str(calibrated)]) == 0
    out = capsys.readouterr().out
    assert "refused of 600 calibration images" in out
    assert re.search(r"│ 0\.1 % +│ +no valid threshold │ +\u2013 │", out)
    last = table[-1]
    wrong = f"{last.rule.errors[0]} of {last.rule.accepted[0]}"
    assert re.search(rf"│ 20 % +│ +{100 * (1 - last.coverage):.1f} % │ +{wrong} │", out)
    assert main(["info", str(calibrated), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["format"] == 7
    assert told["promises"] == [row.to_json() for row in table]


def test_predicting_and_evaluating_under_a_promise(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = mixed(60, 62)
    source = tmp_path / "some.npz"
    np.savez(source, images=given.images[:, 0].numpy(), labels=given.require_labels().numpy())
    fixed = ["--samples", "5", "--samples-fixed", "--quiet"]
    ask = ["predict", str(calibrated), str(source), "--max-risk", "0.05", "--json", *fixed]
    assert main(ask) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    model = nescio.load_model(calibrated).promise(0.05)
    decisions = model.decide(given, samples=5)
    assert [line["label"] for line in lines] == [d.label for d in decisions]
    assert [line["scores"] for line in lines] == [d.scores for d in decisions]
    assert isinstance(model.rule, CalibratedRule)
    (unfamiliar,), (doubtful,) = model.rule.unfamiliar, model.rule.doubtful
    for line in lines:
        reason = "ambiguous" if line["scores"]["error_probability"] > doubtful else None
        strange = line["scores"]["unfamiliarity"]
        two = sum(p > SHARED for p in line["probability"].values()) > 1
        if strange > (2 * unfamiliar if two else unfamiliar):
            reason = "unfamiliar"
        elif strange > unfamiliar:
            reason = "ambiguous"
        assert line["reason"] == reason
    assert {line["reason"] for line in lines} >= {None, "ambiguous"}
    folder = write_folder(tmp_path / "some", given)
    ask = ["evaluate", str(calibrated), str(folder), "--max-risk", "0.05", "--json", *fixed[:2]]
    study = tmp_path / "study.json"
    rules = ["--rule", "calibrated", "--rule", "median:0.2"]
    assert main([*ask, *rules, "--study", str(study), "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "--max-risk 0.05" in study.read_text()
    assert told["rule"]["max_risk"] == 0.05
    assert told["rule"]["doubtful"] == list(asdict(model.rule)["doubtful"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--confidence", "0.9"], "--confidence and --max-refusal belong to a --max-risk"),
        (["--max-risk", "0.1", "--rule", "median:0.2"], "--rule median:0.2 asks for another"),
        (["--max-risk", "0.001"], "even without an error 3,195 familiar ones are needed"),
        (["--max-risk", "nan"], "--max-risk must be between 0 and 1"),
    ],
)
def test_promises_that_are_none(
    calibrated: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("predict", "evaluate"):
        assert main([command, str(calibrated), "digits", *options]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert told in err


def test_a_promise_that_no_threshold_keeps(
    classifier: nescio.Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = stripes(300, 63)
    labels = torch.randint(3, (300,), generator=torch.Generator().manual_seed(0))
    guessed = ImageSet("guessed", given.images, labels, given.classes)
    path = tmp_path / "m.nescio"
    calibrate_classifier(classifier, guessed, Promises(), samples=2).save(path)
    assert main(["predict", str(path), "digits", "--max-risk", "0.05", "--samples", "2"]) == 2
    assert "no valid threshold: none promises at most 5 % errors" in capsys.readouterr().err
