"""``nescio calibrate`` and the promises of ``nescio train``."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tests_support import Told, stripes, write_folder

import nescio
from nescio.classifier import (
    Promises,
    calibrate_classifier,
    calibration_set,
    familiar_set,
    read_header,
)
from nescio.cli.app import main
from nescio.cli.options import PromiseOptions
from nescio.data import Dataset, ImageSet
from nescio.errors import DataError, RuleError
from nescio.refusal import conformal_threshold


def test_calibrating_on_images_of_ones_own(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "own", stripes(450, 50))
    target = tmp_path / "new.nescio"
    promise = ["--max-risk", "0.02", "--confidence", "0.9", "--samples", "5"]
    assert main(["calibrate", str(model_file), str(folder), "--out", str(target), *promise]) == 0
    out, _ = capsys.readouterr()
    assert "at most 2 % are wrong, with 90 % confidence" in out
    assert "exchangeable" in out
    model = nescio.load_model(target)
    rule = model.calibrated
    assert rule is not None
    assert rule == model.rule
    assert (rule.max_risk, rule.confidence, rule.calibrated_on.images) == (0.02, 0.9, 450)
    assert rule.calibrated_on.samples == 5
    # The posterior is as it was, and the images now count as seen.
    old = nescio.load_model(model_file)
    assert all(torch.equal(old.guide.loc[n], value) for n, value in model.guide.loc.items())
    with pytest.raises(DataError, match="every one"):
        familiar_set(model, str(folder))


def test_calibrating_again_on_the_part_that_training_kept(
    classifier: nescio.Classifier, data: Dataset
) -> None:
    kept = calibration_set(classifier, data)
    assert len(kept) == 60
    again = calibrate_classifier(classifier, kept, Promises(max_refusal=0.05), samples=20)
    assert again.calibrated == classifier.calibrated
    looser = calibrate_classifier(classifier, kept, Promises(max_refusal=0.5), samples=20)
    assert looser.calibrated is not None
    assert classifier.calibrated is not None
    assert looser.calibrated.unfamiliar < classifier.calibrated.unfamiliar


def test_images_that_were_trained_on(classifier: nescio.Classifier, data: Dataset) -> None:
    fresh = stripes(30, 51)
    images = torch.cat([fresh.images, data.train.images[:50]])
    labels = torch.cat([fresh.require_labels(), data.train.require_labels()[:50]])
    mixed = ImageSet("mixed", images, labels, data.classes)
    with pytest.raises(DataError, match=r"50 of 80 images were used to train .*mixed\[30\]"):
        calibration_set(classifier, mixed)


def test_a_class_without_an_image(classifier: nescio.Classifier) -> None:
    given = stripes(60, 52)
    two = given.subset((given.require_labels() < 2).nonzero().flatten())
    with pytest.raises(DataError, match="class 'top' has no calibration image"):
        calibrate_classifier(classifier, two, Promises(), samples=2)


def test_too_few_images_for_the_promise(classifier: nescio.Classifier) -> None:
    with pytest.raises(RuleError, match="even without an error 3,195 familiar ones are needed"):
        calibrate_classifier(classifier, stripes(600, 53), Promises(max_risk=0.001), samples=2)
    promises = Promises(max_risk=0.05, per_class=True)
    with pytest.raises(RuleError, match="errors for each class"):
        calibrate_classifier(classifier, stripes(60, 53), promises, samples=2)


@pytest.mark.parametrize(
    ("images", "budget"),
    [(0, 0.01), (8, 0.01), (9, 0.1), (19, 0.05), (80, 0.013), (98, 0.011), (99, 0.01), (600, 0.01)],
)
def test_few_images_promise_the_smallest_share_that_they_can(images: int, budget: float) -> None:
    assert Promises().budget(images) == budget
    assert Promises(max_refusal=0.02).budget(images) == 0.02
    threshold = conformal_threshold(torch.arange(float(images)), budget)
    if images < 9:
        assert threshold == math.inf
    elif images < 99:  # no smaller share, in thousandths, has a finite threshold
        assert threshold == images - 1
        assert conformal_threshold(torch.arange(float(images)), budget - 0.001) == math.inf


def test_few_images_are_told_what_is_promised(classifier: nescio.Classifier) -> None:
    few, told = stripes(30, 58), Told()
    given = calibrate_classifier(classifier, few, Promises(), samples=2, reporter=told)
    assert told.notes == [
        "30 calibration images are too few to promise that at most 1 % of familiar images are "
        "refused (99 are needed): at most 3.3 % are promised; give more images, or a --max-refusal"
    ]
    assert given.calibrated is not None
    assert (given.calibrated.max_refusal, given.calibrated.familiarity_gate) == (0.033, True)
    assert "at most 3.3 % of familiar images" in given.calibrated.describe()
    # Who names a share gets that share, or nothing is refused as unfamiliar.
    promises, told = Promises(max_refusal=0.01), Told()
    strict = calibrate_classifier(classifier, few, promises, samples=2, reporter=told)
    assert strict.calibrated is not None
    assert (strict.calibrated.max_refusal, strict.calibrated.familiarity_gate) == (0.01, False)
    assert "(99 are needed): nothing will be refused as unfamiliar" in told.notes[0]
    # For each class its own images count.
    promises = Promises(per_class=True)
    each = calibrate_classifier(classifier, few, promises, samples=2, reporter=told)
    assert each.calibrated is not None
    assert each.calibrated.max_refusal == 0.091


def test_a_model_that_does_not_know_what_is_familiar(data: Dataset) -> None:
    from tests_support import QUICK_ARTICLE

    article = nescio.fit("mlp", data, recipe=QUICK_ARTICLE, samples=2)
    with pytest.raises(RuleError, match="does not know what its training images are like"):
        calibrate_classifier(article, stripes(60, 54), Promises(), samples=2)


def test_no_valid_threshold_is_told_and_nothing_is_written(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = stripes(300, 55)
    shuffled = torch.randint(3, (300,), generator=torch.Generator().manual_seed(0))
    folder = write_folder(tmp_path / "wrong", ImageSet("w", wrong.images, shuffled, wrong.classes))
    target = tmp_path / "new.nescio"
    promise = ["--max-risk", "0.05", "--samples", "5"]
    assert main(["calibrate", str(model_file), str(folder), "--out", str(target), *promise]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "No valid threshold" in err
    assert not target.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--max-risk", "0"), ("--max-risk", "1"), ("--max-refusal", "nan"), ("--confidence", "1.5")],
)
def test_shares_that_cannot_be(
    model_file: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["calibrate", str(model_file), "digits"], ["train", "digits"]):
        assert main([*command, "--out", "x.nescio", option, value]) == 2
        assert f"{option} must be between 0 and 1" in capsys.readouterr().err


def test_training_with_a_promise_and_for_each_class(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "stripes", stripes(330, 56))
    target = tmp_path / "m.nescio"
    options = ["--network", "mlp", "--epochs", "2", "--samples", "5", "--quiet", "--per-class"]
    promise = ["--max-risk", "0.5", "--confidence", "0.5", "--max-refusal", "0.2"]
    assert main(["train", str(folder), "--out", str(target), *options, *promise]) == 0
    rule = json.loads(json.dumps(read_header(target)["rule"]))
    assert len(rule["unfamiliar"]) == len(rule["doubtful"]) == 3
    assert rule["max_risk"] == 0.5


def test_training_fails_before_it_begins_where_the_promise_cannot_be_kept(tmp_path: Path) -> None:
    data = Dataset("stripes", stripes(330, 57))
    with pytest.raises(RuleError, match="no valid threshold: 27 calibration images"):
        nescio.fit("mlp", data, max_risk=0.01)


def test_train_and_calibrate_share_their_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert Promises(**asdict(PromiseOptions())) == Promises()
    for command in ("train", "calibrate"):
        assert main([command, "--help"]) == 0
        told = capsys.readouterr().out
        for option in ("--max-refusal", "--max-risk", "--confidence", "--per-class"):
            assert told.count(f"{option} ") == 1
