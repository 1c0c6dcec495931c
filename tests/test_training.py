"""What comes after training may fail, and the training is not lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import QUICK, small_network, stripes, write_folder
from torch import Tensor, nn

import nescio
from nescio.classifier import Promises, calibrate_classifier
from nescio.cli import main
from nescio.data import Dataset
from nescio.errors import ArchitectureError, CalibrationError, CalibrationInterrupt

ONCE = replace(QUICK, epochs=1)


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


FAILURES = [
    (ArchitectureError("stage '2' gives\nno numbers; leave it out"), "leave it out"),
    (torch.linalg.LinAlgError("linalg.eigh: did not converge"), "did not converge"),
    (MemoryError(), "out of memory while getting to know the training images; lower --image"),
]


@pytest.mark.parametrize(("cause", "words"), FAILURES)
def test_a_failure_after_training_carries_what_was_fitted(
    monkeypatch: pytest.MonkeyPatch, data: Dataset, cause: Exception, words: str
) -> None:
    whole = nescio.fit(small_network(), data, recipe=ONCE, samples=2)
    monkeypatch.setattr("nescio.training.fit_familiarity", failing(cause))
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
            broken = not self.training and len(x) > 200
            return self.head(self.hidden(self.flat(x)) * (torch.nan if broken else 1.0))

    with pytest.raises(CalibrationError, match="calibration failed after training: ") as caught:
        nescio.fit(Late(), data, recipe=ONCE, samples=2)
    assert len(caught.value.classifier.record.history) == 1


def test_thresholds_can_be_set_later_where_only_calibration_failed(
    monkeypatch: pytest.MonkeyPatch, data: Dataset
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("nescio.training.calibrate_classifier", failing(MemoryError()))
        with pytest.raises(CalibrationError, match="while calibrating; lower --samples"):
            nescio.fit(small_network(), data, recipe=ONCE, samples=2)
        patch.setattr("nescio.training.calibrate_classifier", failing(KeyboardInterrupt()))
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
    monkeypatch.setattr(f"nescio.training.{name}", failing(cause))
    options = ["--network", "mlp", "--epochs", "1", "--samples", "2", "--quiet"]
    assert main(["train", str(folder), "--out", str(out), *options]) == status
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
