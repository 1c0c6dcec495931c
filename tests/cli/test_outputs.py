"""What commands write: nothing that is there is written over, and what a dry run tells."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import stripes, write_folder

from nescio.cli.app import main
from nescio.cli.trained import default_out
from nescio.errors import UsageError
from nescio.files import check_output_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "own set.v2", stripes(30, 0))


@pytest.mark.parametrize(
    ("data", "out"),
    [
        ("digits", "digits"),
        ("shapes:400", "shapes"),
        ("some/cats/", "cats"),
        ("arrays.npz", "arrays"),
        ("set-{000..003}.tar", "set"),
        ("data/part-*.parquet", "part"),
        ("hf:rooms", "rooms"),
        ("letters-images-idx3-ubyte.gz", "letters"),
        ("v1.2", "v1.2"),
    ],
)
def test_a_model_is_called_after_its_data(data: str, out: str) -> None:
    assert default_out(data) == Path(f"{out}.nescio")


def test_a_model_of_a_folder_is_called_after_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert default_out(".") == Path("own set.v2.nescio")
    with pytest.raises(UsageError, match=r"\*\.tar: it has no name for the model"):
        default_out("*.tar")


def test_nothing_is_written_over_without_force(
    folder: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    photograph = next((folder / "top").iterdir())
    before = photograph.read_bytes()
    split = tmp_path / "own set.v2.nescio"
    split.write_bytes(b"an earlier model")
    train, images = ["train", str(folder)], str(folder / "left")
    for command in (
        train,
        [*train, "--out", str(photograph)],
        [*train, "--dry-run", "--write-split", str(photograph)],
        ["calibrate", str(model_file), str(folder), "--out", str(photograph)],
        ["calibrate", str(model_file), str(folder), "--out", str(model_file)],
        ["predict", str(model_file), images, "--csv", str(photograph)],
        ["predict", str(model_file), images, "--plot", str(folder)],
        ["predict", str(model_file), images, "--out", str(photograph.with_suffix(".csv"))],
    ):
        photograph.with_suffix(".csv").write_text("earlier answers")
        assert main(command) == 2, command
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = (each for each in err.splitlines() if not each.startswith("note: "))
        assert "--force" in line, command
    assert photograph.read_bytes() == before
    assert split.read_bytes() == b"an earlier model"
    table = tmp_path / "table.csv"
    table.write_text("earlier")
    again = ["predict", str(model_file), images, "--csv", str(table), "--force", "--samples", "2"]
    assert main(again) == 0
    assert table.read_text().startswith("image,label,")
    capsys.readouterr()
    assert main(["predict", str(model_file), images, "--force"]) == 2
    assert "--force to that, --csv or --plot" in capsys.readouterr().err


def test_a_folder_for_files_is_empty_or_named_with_force(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "new", force=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"is not empty; .*--force"):
        check_output_folder(tmp_path, force=False)
    check_output_folder(tmp_path, force=True)
    with pytest.raises(UsageError, match="is a file; name a folder"):
        check_output_folder(tmp_path / "file", force=True)


def test_a_dry_run_tells_what_training_would_be_of(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "notes.txt").write_text("no image")
    assert main(["train", str(folder), "--dry-run", "--network", "mlp"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("own set.v2: nothing was trained (--dry-run)\nnetwork ")
    assert "6x6 grey" in out
    assert "laid on" in out
    assert "train              21 images\n" in out
    assert "1 .txt; the first is notes.txt" in err
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    write_folder(folder.parent / "parts" / "train", stripes(30, 1))
    lacking = replace(stripes(12, 2), name="lacking")
    write_folder(folder.parent / "parts" / "Val", lacking)
    split = tmp_path / "split.csv"
    command = ["train", "parts", "--dry-run", "--json", "--quiet", "--write-split", str(split)]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out)
    assert told["classes"] == ["left", "right", "top"]
    assert told["part_names"] == {"train": "train", "calibration": "Val"}
    assert told["counts"] == {
        "train": dict.fromkeys(told["classes"], 8),
        "calibration": dict.fromkeys(told["classes"], 4),
        "test": dict.fromkeys(told["classes"], 2),
    }
    assert split.read_text().count(",calibration") == 12
    # What would stop a training stops this, too.
    assert main(["train", "parts", "--dry-run", "--network", "resnet"]) == 2
