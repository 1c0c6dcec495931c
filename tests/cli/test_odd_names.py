"""File names that no encoding holds, on a terminal of ASCII: every command takes them."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_support import stripes

from nescio.cli.app import main
from nescio.cli.console import set_up_streams
from nescio.data import Preprocessing, load, read_labels, split
from nescio.data.splitfile import read_split, write_split
from nescio.names import name_of, path_of

NAMES = (
    b"gr\xfcn.png",
    b"a\\b.png",
    b"x\ny.png",
    b"\x1b[2J.png",
    b"lit\\xe9.png",
    b"gr\xc3\xbcn.png",
)
CLASSES = (b"caf\xe9", b"dog\x1b[31m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, with images of all those names in each."""
    root = tmp_path_factory.mktemp("odd") / os.fsdecode(b"s\xe9t")
    images = stripes(2 * len(NAMES), 3).images[:, 0].numpy()
    for number, image in enumerate(images):
        file = root / os.fsdecode(CLASSES[number % 2]) / os.fsdecode(NAMES[number // 2])
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            Image.fromarray(np.asarray(image)).save(file)
        except OSError:
            pytest.skip("this file system takes no such names")
    return root


def nescio_in_ascii(*arguments: object, status: int = 0) -> str:
    """What a command prints where stdout takes ASCII and nothing else; it must be clean."""
    out, error = (io.TextIOWrapper(io.BytesIO(), "ascii", errors="strict") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(error):
        set_up_streams()
        done = main([*map(str, arguments)])
    shown = []
    for stream in (out, error):
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        shown.append(stream.buffer.getvalue().decode("ascii"))
    check(done, status, *shown)
    return shown[0]


def check(done: int, status: int, out: str, error: str) -> None:
    assert done == status, out + error
    assert "Traceback" not in error
    assert not re.search(r"[^\n\t -~]", out + error)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "info"])
def test_a_process_of_its_own_is_as_clean(folder: Path, model_file: Path, command: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}
    arguments = [command, str(model_file), *([str(folder)] if command == "predict" else [])]
    done = subprocess.run(
        [sys.executable, "-m", "nescio", *arguments],
        capture_output=True,
        encoding="ascii",
        env=environment,
        check=False,
    )
    check(done.returncode, 0, done.stdout, done.stderr)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_lines_name_each_file(folder: Path, model_file: Path) -> None:
    lines = nescio_in_ascii("predict", model_file, folder, folder / "no\x1b\udce9.png", status=2)
    names = [line.split("\t")[0] for line in lines.splitlines()]
    assert {Path(path_of(name)) for name in names[:-1]} == set(files(folder))
    assert names[-1].endswith(r"no\x1b\xe9.png")


def test_json_and_tables_name_each_file(folder: Path, model_file: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    lines = nescio_in_ascii("predict", model_file, folder, "--json", "--csv", table).splitlines()
    told = [json.loads(line)["image"] for line in lines]
    with table.open(newline="", encoding="utf-8") as file:
        assert [row["image"] for row in csv.DictReader(file)] == told
    assert {Path(path_of(name)) for name in told} == set(files(folder))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_results_name_each_file(
    folder: Path, model_file: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"o.{ending}"
    if ending == "parquet":
        pyarrow = pytest.importorskip("pyarrow.parquet")
    nescio_in_ascii("predict", model_file, folder, "--out", out, "--quiet")
    if ending == "parquet":
        names = pyarrow.read_table(out)["image"].to_pylist()
    elif ending == "csv":
        with out.open(newline="", encoding="utf-8") as file:
            names = [row["image"] for row in csv.DictReader(file)]
    else:
        names = [json.loads(line)["image"] for line in out.read_text("utf-8").splitlines()]
    assert {Path(path_of(name)) for name in names} == set(files(folder))


def test_a_page_of_refusals_names_each_file(folder: Path, model_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    nescio_in_ascii("review", model_file, folder, "--all", "--out", page)
    assert r"gr\\xfcn.png" in page.read_text("utf-8")  # in JSON, which doubles backslashes
    assert "not in UTF-8" not in page.read_text("utf-8")


def test_pictures_are_drawn(folder: Path, model_file: Path, tmp_path: Path) -> None:
    nescio_in_ascii("predict", model_file, folder, "--plot", tmp_path / "p", "--max-plots", 2)
    assert len(list((tmp_path / "p").iterdir())) == 2


def test_a_split_is_read_back(folder: Path, tmp_path: Path) -> None:
    data = load(folder)
    assert data.classes == (r"caf\xe9", r"dog\x1b[31m")
    assert data.name == r"s\xe9t"
    parts = split(data, calibration=0.3, test=0.2)
    write_split(tmp_path / "split.csv", data, parts)
    again, _ = read_split(tmp_path / "split.csv", data)
    assert again.train.names == parts.train.names
    assert again.calibration.names == parts.calibration.names
    assert again.test.names == parts.test.names


def test_labels_lead_to_their_files(folder: Path, tmp_path: Path) -> None:
    chosen = sorted(files(folder))
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label"))
        writer.writerows((name_of(path), name_of(path.parent.name)) for path in chosen)
    read = read_labels(tmp_path / "labels.csv", load(folder).classes, Preprocessing(1, 12, 12))
    assert [Path(path_of(name)) for name in read.names] == chosen
