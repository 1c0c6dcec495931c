"""Commands where the memory does not hold an image: one line, and no image is called bad."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests_support import stripes, write_folder

from nescio.cli import main
from nescio.decode.png import Png


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "stripes", stripes(12, 2))


def no_memory(_: Png) -> Iterator[None]:
    raise MemoryError


COMMANDS: dict[str, Callable[[Path, Path, Path], list[object]]] = {
    "train": lambda folder, _, out: [
        "train",
        folder,
        "--out",
        out / "m.nescio",
        "--network",
        "mlp",
    ],
    "dry-run": lambda folder, _, out: ["train", folder, "--dry-run", "--skip-unreadable"],
    "predict": lambda folder, model, _: ["predict", model, folder],
    "skip": lambda folder, model, _: ["predict", model, folder, "--skip-unreadable"],
    "predict-out": lambda folder, model, out: ["predict", model, folder, "--out", out / "a.csv"],
    "evaluate": lambda folder, model, _: ["evaluate", model, folder],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_one_line_and_no_image_is_bad(
    command: str,
    folder: Path,
    model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Png, "bands", no_memory)
    arguments = COMMANDS[command](folder, model_file, folder.parent)
    assert main([str(each) for each in arguments]) == 2
    told = capsys.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert ".png: the memory does not hold it while it is decoded; free some" in errors[0]
    assert "Traceback" not in told
    assert "readable" not in told.replace("--skip-unreadable", "")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_a_lack_that_nobody_explains_is_told_in_one_line(
    error: Exception,
    folder: Path,
    model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("nescio.scoring.find_image_files", fail)
    assert main(["predict", str(model_file), str(folder)]) == 2
    told = capsys.readouterr().err
    assert "no memory left for what was asked" in told
    assert "Traceback" not in told
