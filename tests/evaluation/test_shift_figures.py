"""benchmarks/shifts.py and its picture, on small data."""

import json
from pathlib import Path

import pytest
import shift_tables
import shifts
from tests_support import stripes, write_folder

import nescio
from nescio.data import CORRUPTIONS
from nescio.evaluation import exact_share


def test_figures_of_every_shift(
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_folder(tmp_path / "new", stripes(60, 9))
    monkeypatch.setattr(shifts, "STRANGE", ("noise:7", "blank", "checkerboard:3"))
    out = tmp_path / "shifts.json"
    shifts.main(
        [
            *(str(model_file), "--data", str(folder), "--images", "20"),
            *("--samples", "2", "--all-samples"),
            *("--out", str(out)),
        ]
    )
    record = json.loads(out.read_text())
    assert "nescio" not in out.read_text().replace('"nescio":', "")  # no path of a model
    (judged,) = record["models"]
    assert (judged["images"], judged["seed"]) == (20, 0)
    assert {name: other["n"] for name, other in judged["ood"].items()} == {
        "noise": 7, "blank": 1, "checkerboard": 3,
        "new@inverted": 20, "new@turned": 20, "new@pairs": 20,
    }  # fmt: skip
    assert list(judged["corruptions"]) == list(CORRUPTIONS)
    for grades in judged["corruptions"].values():
        assert [grade["severity"] for grade in grades] == [1, 2, 3, 4, 5]
        for grade in grades:
            answered = exact_share(20 - grade["refused"], 20)
            assert answered is not None
            assert grade["coverage"] == answered.to_json()
    table = capsys.readouterr().out
    assert "| noise | 7 |" in table
    assert "| zoom 5 |" in table
    figure = shift_tables.draw({**record, "models": [judged, judged]})
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == list(CORRUPTIONS)
    figure.savefig(tmp_path / "c.png")


def test_curves_begin_with_what_was_not_corrupted() -> None:
    share = exact_share(1, 2)
    assert share is not None
    clean, none = {"coverage": share.to_json()}, {"coverage": None}
    model = {"clean": clean, "corruptions": {"blur": [clean, none, none, none, clean]}}
    values = shift_tables.curve(model, "blur", "coverage")
    assert [value for value in values if value == value] == [50.0] * 3  # noqa: PLR0124 - not NaN
    assert nescio.Interval(**clean["coverage"]).percent(0) == "50 % [1, 99]"
