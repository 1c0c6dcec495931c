"""What an error advises can be done: each option that it names is one of the command that told it,
or of another command that it names."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odd_files import chunk
from PIL import Image
from tests_support import stripes, write_folder
from trees import refusing

from nescio.cli.app import app, main

OPTION = re.compile(r"--[a-z][a-z-]+")

COMMANDS = {
    "train": ("train", "DATA", "--out", "OUT.nescio", "--epochs", "1"),
    "evaluate": ("evaluate", "MODEL", "DATA"),
    "compare": ("compare", "MODEL", "MODEL", "DATA"),
    "calibrate": ("calibrate", "MODEL", "DATA", "--out", "OUT.nescio"),
    "predict": ("predict", "MODEL", "DATA"),
    "predict --out": ("predict", "MODEL", "DATA", "--out", "OUT.csv"),
    "review": ("review", "MODEL", "DATA", "--out", "OUT.html"),
    "export": ("export", "MODEL", "--onnx", "--check", "DATA", "--out", "OUT.onnx"),
    "reproduce": ("reproduce", "DATA"),
}
"""Every command that reads images."""


def damaged(folder: Path) -> Path:
    write_folder(folder, stripes(24, 0))
    image = next(folder.rglob("*.png"))
    image.write_bytes(image.read_bytes()[:40])
    return folder


def closed(folder: Path) -> Path:
    write_folder(folder, stripes(24, 0))
    next(each for each in folder.iterdir() if each.is_dir()).chmod(0)
    return folder


def an_empty_class(folder: Path) -> Path:
    write_folder(folder, stripes(24, 0))
    (folder / "none").mkdir()
    return folder


def a_rare_class(folder: Path) -> Path:
    write_folder(folder, stripes(24, 0))
    (folder / "rare").mkdir()
    Image.new("L", (8, 8)).save(folder / "rare" / "one.png")
    return folder


def too_large(folder: Path) -> Path:
    write_folder(folder, stripes(24, 0))
    header = (30_000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x")
    next(folder.rglob("*.png")).write_bytes(file)
    return folder


def of_no_range(folder: Path) -> Path:
    write_folder(folder, stripes(24, 0))
    image = next(folder.rglob("*.png"))
    Image.fromarray(np.full((8, 8), 70000, np.int32)).save(image.with_suffix(".tif"))
    return folder


def of_other_columns(folder: Path) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = folder.with_suffix(".parquet")
    parquet.write_table(arrow.table({"a": [b"1", b"2"], "b": [b"3", b"4"]}), path)
    return path


def out_of_distribution(_: Path) -> Path:
    return Path("checkerboard")


FAULTS: dict[Callable[[Path], Path], tuple[str, ...]] = {
    damaged: (),
    closed: (),
    too_large: (),
    of_other_columns: (),
    an_empty_class: ("export",),
    a_rare_class: ("export",),
    out_of_distribution: ("export",),
    of_no_range: ("export", "train", "reproduce"),
}
"""With the commands for which it is none, and which would do all their work."""


def options_of(command: str) -> set[str]:
    arguments = app[command].assemble_argument_collection()
    return {name for argument in arguments for name in argument.names}


def advised(told: str, command: str) -> tuple[set[str], set[str]]:
    """The options that a message names, and those that it may name."""
    named = {
        word for word in re.findall("[a-z]+", told) if word in {c.split()[0] for c in COMMANDS}
    }
    return set(OPTION.findall(told)), set[str]().union(*map(options_of, {command, *named}))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_errors_advise_can_be_done(
    fault: Callable[[Path], Path],
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnx")
    with refusing():
        data = fault(tmp_path / "set")
        told = {}
        for name, words in COMMANDS.items():
            if name in FAULTS[fault]:
                continue
            places = {"DATA": str(data), "MODEL": str(model_file)}
            arguments = [places.get(w, w.replace("OUT", str(tmp_path / "out"))) for w in words]
            assert main([*arguments, "--quiet"]) in (0, 2)
            told[name] = capsys.readouterr().err
    for folder in tmp_path.glob("set/*"):
        folder.chmod(0o700)
    assert any(told.values())
    for name, message in told.items():
        assert "Traceback" not in message
        for line in message.splitlines():
            options, known = advised(line, name.split()[0])
            assert options <= known, line
