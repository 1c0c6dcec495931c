"""What may join training, and what comes after it: that may fail, and no training is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import QUICK, small_network, stripes, write_folder
from torch import Tensor, nn

import nescio
import nescio.training.fitting
from nescio.classifier import Promises, calibrate_classifier, describe_model, familiar_set
from nescio.cli import main
from nescio.data import Dataset, ImageSet, parse_shift
from nescio.data.shifts import shift_dataset
from nescio.errors import (
    ArchitectureError,
    CalibrationError,
    CalibrationInterrupt,
    UsageError,
)
from nescio.inference import Checkpoints, Fit, Job

ONCE = replace(QUICK, epochs=1)


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


FAILURES = [
    (ArchitectureError("stage '2' gives\nno numbers; leave it out"), "leave it out"),
    (torch.linalg.LinAlgError("linalg.eigh: did not converge"), "did not converge"),
    (MemoryError(), "out of memory while fitting the familiarity model; lower --image"),
]


@pytest.mark.parametrize(("cause", "words"), FAILURES)
def test_a_failure_after_training_carries_what_was_fitted(
    monkeypatch: pytest.MonkeyPatch, data: Dataset, cause: Exception, words: str
) -> None:
    whole = nescio.fit(small_network(), data, recipe=ONCE, samples=2)
    monkeypatch.setattr("nescio.training.fitting.fit_familiarity", failing(cause))
    with pytest.raises(CalibrationError, match="calibration failed after training: ") as caught:
        nescio.fit(small_network(), data, recipe=ONCE, samples=2)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = caught.value.classifier
    assert (kept.familiarity, kept.calibrated) == (None, None)
    assert all(torch.equal(kept.guide.loc[n], value) for n, value in whole.guide.loc.items())
    assert kept.decide(stripes(5, 3), samples=2).accepted.all()
    assert len(kept.decide(stripes(5, 3), rule="median:0.2", samples=2)) == 5


def test_a_network_whose_features_fail_only_after_training(data: Dataset) -> None:
    class Late(nn.Module):
        """Its hidden features are numbers until many images come in evaluation mode."""

        def __init__(self) -> None:
            super().__init__()
            self.flat, self.hidden, self.head = nn.Flatten(), nn.Linear(36, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            broken = not self.training and len(x) > 150
            return self.head(self.hidden(self.flat(x) * (torch.nan if broken else 1.0)))

    with pytest.raises(CalibrationError, match="calibration failed after training: ") as caught:
        nescio.fit(Late(), data, recipe=ONCE, samples=2)
    assert len(caught.value.classifier.record.history) == 1


def test_thresholds_can_be_set_later_where_only_calibration_failed(
    monkeypatch: pytest.MonkeyPatch, data: Dataset
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("nescio.training.fitting.calibrate_classifier", failing(MemoryError()))
        with pytest.raises(CalibrationError, match="while calibrating; lower --samples"):
            nescio.fit(small_network(), data, recipe=ONCE, samples=2)
        patch.setattr("nescio.training.fitting.calibrate_classifier", failing(KeyboardInterrupt()))
        with pytest.raises(CalibrationInterrupt) as caught:
            nescio.fit(small_network(), data, recipe=ONCE, samples=2)
    assert isinstance(caught.value, KeyboardInterrupt)
    kept = calibrate_classifier(caught.value.classifier, stripes(60, 9), Promises(), samples=2)
    assert kept.rule == kept.calibrated


@pytest.mark.parametrize(
    "case",
    [
        ("fit_familiarity", FAILURES[0][0], 2, "use it with --rule median:0.2"),
        ("fit_familiarity", KeyboardInterrupt(), 130, "calibration was stopped; the trained model"),
        ("calibrate_classifier", KeyboardInterrupt(), 130, "nescio calibrate"),
    ],
)
def test_the_command_keeps_the_trained_model(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, BaseException, int, str],
) -> None:
    name, cause, status, words = case
    folder = write_folder(tmp_path / "data", stripes(90, 2))
    out = tmp_path / "m.nescio"
    out.write_bytes(b"the old model")
    monkeypatch.setattr(f"nescio.training.fitting.{name}", failing(cause))
    options = ["--network", "mlp", "--epochs", "1", "--samples", "2", "--quiet"]
    assert main(["train", str(folder), "--out", str(out), "--force", *options]) == status
    said, told = capsys.readouterr()
    assert said == ""
    assert len(told.splitlines()) == 1
    assert told.startswith("error: calibration ")
    assert words in told
    assert out.read_bytes() == b"the old model"
    kept = nescio.load_model(f"{out}.partial")
    assert kept.calibrated is None
    assert kept.rule == nescio.NeverRefuse()
    assert (kept.familiarity is None) == (name == "fit_familiarity")
    assert len(kept.record.history) == 1


@pytest.fixture(scope="module")
def extra() -> ImageSet:
    return stripes(12, 41, "extra")


@pytest.fixture(scope="module")
def with_extra(data: Dataset, extra: ImageSet) -> nescio.Classifier:
    return nescio.fit(small_network(), data, extra=extra, recipe=ONCE, samples=2)


def test_extra_images_are_trained_on_and_recorded(
    data: Dataset, extra: ImageSet, with_extra: nescio.Classifier
) -> None:
    without = nescio.fit(small_network(), data, recipe=ONCE, samples=2)
    plain, record = without.record, with_extra.record
    assert (plain.extra_images, plain.extra_fingerprint) == (0, "")
    assert (record.extra_images, record.extra_fingerprint) == (12, extra.fingerprint())
    assert record.train_images == plain.train_images + 12
    assert record.calibration_images == plain.calibration_images
    assert record.fingerprint == plain.fingerprint
    assert torch.isin(extra.hashes(), record.seen).all()
    assert len(record.seen) == record.train_images + record.calibration_images
    changed = [
        not torch.equal(value, without.guide.loc[name])
        for name, value in with_extra.guide.loc.items()
    ]
    assert any(changed)
    # They are familiar now, and thresholds still come from the set's own calibration images.
    assert with_extra.reference is not None
    assert len(with_extra.reference) == record.calibration_images


def test_a_test_split_is_judged_without_extra_images(
    extra: ImageSet, with_extra: nescio.Classifier
) -> None:
    test = ImageSet(
        "other",
        torch.cat([stripes(6, 42).images, extra.images]),
        torch.cat([stripes(6, 42).require_labels(), extra.require_labels()]),
        extra.classes,
    )
    other = Dataset("other", stripes(30, 43), test)
    judged = familiar_set(with_extra, other)
    assert torch.equal(judged.images, stripes(6, 42).images)
    inverted = shift_dataset(other, parse_shift("inverted"))
    assert torch.equal(familiar_set(with_extra, inverted).images, 255 - stripes(6, 42).images)


def test_the_model_file_keeps_what_was_extra(tmp_path: Path, with_extra: nescio.Classifier) -> None:
    path = tmp_path / "m.nescio"
    with_extra.save(path)
    loaded = nescio.load_model(path, small_network())
    assert loaded.record.extra_images == 12
    assert loaded.record.extra_fingerprint == with_extra.record.extra_fingerprint
    told = describe_model(path)
    assert told["extra images"].startswith("12 of the training images, not from stripes; promises")
    assert told["extra fingerprint"] == with_extra.record.extra_fingerprint


def test_the_command_takes_extra_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: ImageSet
) -> None:
    folder, more = (
        write_folder(tmp_path / name, images)
        for name, images in (("data", stripes(90, 2)), ("more", extra))
    )
    labels, out = tmp_path / "labels.csv", tmp_path / "m.nescio"
    files = sorted(more.rglob("*.png"))
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}\n" for file in files]
    labels.write_text("image,label\n" + "".join(rows))
    options = ["--network", "mlp", "--epochs", "1", "--samples", "2", "--max-refusal", "0.5"]
    command = ["train", str(folder), "--out", str(out), "--extra-labels", str(labels), *options]
    assert main(command) == 0
    assert " training (12 of them extra) and " in capsys.readouterr().out
    # The same split is made of DATA again, extra images or not.
    assert main(["evaluate", str(out), str(folder), "--samples", "2", "--quiet"]) == 0
    assert "12 test images" in capsys.readouterr().out

    before = out.read_bytes()
    labels.write_text("image,label\n" + rows[0] + f"{files[1]},puma\n")
    assert main([*command, "--force", "--quiet"]) == 2
    said, told = capsys.readouterr()
    assert said == ""
    assert told.startswith(f"error: {labels}, line 3: 'puma' is not one of the 3 classes (left, ")
    assert len(told.splitlines()) == 1
    assert out.read_bytes() == before


def test_nothing_need_be_left_out_for_a_test() -> None:
    record = nescio.fit(small_network(), stripes(60, 0), recipe=ONCE, samples=2, test=0.0).record
    assert record.train_images + record.calibration_images == 60
    assert record.test_fraction == 0.0
    for share in (1.0, -0.1):
        with pytest.raises(UsageError, match="left out for test must be at least 0 and below 1"):
            nescio.fit(small_network(), stripes(60, 0), recipe=ONCE, test=share)


def test_whoever_resumes_computes_with_as_many_threads(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves, used = tmp_path / "saves", list[int]()
    computed = nescio.training.fitting.fit_posterior

    def watched(job: Job) -> Fit:
        used.append(torch.get_num_threads())
        return computed(job)

    monkeypatch.setattr("nescio.training.fitting.fit_posterior", watched)
    monkeypatch.setattr("nescio.threads.ThreadTuner.fastest", lambda _: 2)
    first = nescio.fit(small_network(), data, recipe=ONCE, samples=2, checkpoint=saves)
    # Asked again, the machine would say something else.
    monkeypatch.setattr("nescio.threads.ThreadTuner.fastest", lambda _: 1)
    again = nescio.fit(small_network(), data, recipe=ONCE, samples=2, checkpoint=saves, resume=True)
    assert used == [2, 2]
    assert Checkpoints(saves, resume=True).recorded("number of threads") == "2"
    assert all(torch.equal(again.guide.loc[n], value) for n, value in first.guide.loc.items())
