"""``predict --out``: the answers of ``predict``, from sources of every kind, in every format."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE, run_job
from scoring_support import assert_alike, read_rows, run, write_idx, write_kinds
from tests_support import stripes

from nescio.names import name_of
from nescio.scoring import pieces, sources
from nescio.scoring.arrays import ArraySource
from nescio.threads import fixed_threads

KINDS = (
    *("folder", "files", "idx", "idx.gz", "npz", "compressed npz", "shards", "parquet"),
    *("parquet with keys", "parquet of Hugging Face", "named", "several"),
)

ALIKE = ("folder", "idx", "idx.gz", "npz", "compressed npz", "named")
"""Those that ``predict --json`` runs in the same batches: the very numbers are the same."""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return write_kinds(tmp_path_factory.mktemp("kinds"), stripes(45, 3))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9,000 images: five pieces."""
    pixels = stripes(9000, 4).images[:, 0].numpy()
    return write_idx(tmp_path_factory.mktemp("many") / "many-images-idx3-ubyte", pixels)


def test_every_kind_is_tried(kinds: dict[str, list[str]]) -> None:
    assert set(kinds) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_those_of_predict_json(  # noqa: PLR0917 - fixtures
    kinds: dict[str, list[str]],
    kind: str,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capsys.readouterr()
    assert run("predict", model_file, *kinds[kind], "--json", "--samples", "20") == 0
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    out = tmp_path / "a.jsonl"
    command = ("predict", model_file, *kinds[kind], "--out", out, "--samples", "20")
    assert run(*command) == 0
    if kind in ALIKE:
        assert read_rows(out) == expected
    told = capsys.readouterr()
    assert told.err == ""
    refused = sum(not each["accepted"] for each in expected)
    assert told.out.startswith(f"{out}: {len(expected)} images: {len(expected) - refused} answered")
    assert told.out.endswith("0 not readable\n")
    assert len(told.out.splitlines()) == 1
    assert_alike(read_rows(out), expected)
    # In smaller pieces, too; and nothing is left behind.
    monkeypatch.setattr(pieces, "PIECE", 16)
    assert run(*command, "--force") == 0
    assert_alike(read_rows(out), expected)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("rule", ["calibrated", "median:0.2"])
def test_tables(kinds: dict[str, list[str]], model_file: Path, tmp_path: Path, rule: str) -> None:
    folder = kinds["folder"][0]
    bad = tmp_path / 'odd "name", 100%\n.png'
    bad.write_bytes(b"no image")
    own, lines = tmp_path / "own.csv", tmp_path / "a.jsonl"
    command = ("predict", model_file, folder, bad, "--rule", rule, "--samples", "20")
    assert run(*command, "--csv", own) == 2
    for suffix in ("csv", "jsonl", "parquet"):
        assert run(*command, "--out", tmp_path / f"a.{suffix}") == 2
    rows = read_rows(tmp_path / "a.csv")
    assert [list(row) for row in rows[:1]] == [list(row) for row in read_rows(own)[:1]]
    assert own.read_bytes().splitlines()[0] == (tmp_path / "a.csv").read_bytes().splitlines()[0]
    assert (tmp_path / "a.csv").read_bytes().count(b"\r\n") == own.read_bytes().count(b"\r\n")
    numbers = [name for name in rows[0] if name.startswith(("probability", "median"))]
    records = read_rows(lines)
    table = read_rows(tmp_path / "a.parquet")
    assert len(rows) == len(records) == len(table) == len(read_rows(own)) == 46
    assert rows[-1]["image"] == records[-1]["image"] == table[-1]["image"] == name_of(bad)
    assert rows[-1]["error"] == records[-1]["error"] == table[-1]["error"]
    assert "not an image" in rows[-1]["error"]
    for row, other, record, typed in zip(rows, read_rows(own), records, table, strict=True):
        for name, value in row.items():
            if name in numbers and value:
                group, label = name.split(" ")
                assert float(value) == pytest.approx(float(other[name]), rel=1e-3, abs=1e-5)
                assert float(value) == record[group][label]
                assert typed[name] == pytest.approx(float(value), rel=1e-6)
            elif name in record.get("scores", ()):
                assert float(value) == record["scores"][name]
                assert typed[name] == pytest.approx(float(value), rel=1e-6)
            elif name not in ("predictive_entropy", "expected_entropy", "mutual_information"):
                assert value == other[name]
        if "error" not in record:
            assert row["proposed"] == "|".join(record["proposed"])
            assert typed["proposed"] == record["proposed"]
            assert (typed["label"], typed["reason"]) == (record["label"], record["reason"])
            assert typed["samples"] == record["samples"] == int(row["samples"])


def test_two_processes_write_what_one_does(model_file: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "1.csv", tmp_path / "2.csv"
    # Two pieces, one for each.
    pixels = stripes(2100, 4).images[:, 0].numpy()
    few = write_idx(tmp_path / "few-images-idx3-ubyte", pixels)
    command = ("predict", model_file, few, "--samples", "2", "--out")
    with fixed_threads(1):  # as each of two processes computes
        assert run(*command, one) == 0
    status, _, err = run_job(("-m", "nescio", *command, two))
    assert status == 0, err
    assert two.read_bytes() == one.read_bytes()
    assert [row["image"] for row in read_rows(two)] == [f"few[{i}]" for i in range(2100)]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_jobs_of_one_and_two_processes_tell_and_write_the_same(
    many: Path, model_file: Path, tmp_path: Path, suffix: str
) -> None:
    found = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.{suffix}"
        job = ("-m", "nescio", "predict", model_file, many, "--out", out, "--samples", "5")
        status, told, err = run_job(job, processes)
        assert status == 0, err
        assert told.count("9,000 images") == 1
        assert "predicting: 9000/9000 images" in err
        assert err.count("done") == 1
        found.append(out.read_bytes())
    assert found[0] == found[1]


@pytest.mark.slow
def test_killed_and_resumed(many: Path, model_file: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "a.jsonl"
    common = ("predict", model_file, many, "--samples", "20", "--samples-fixed")
    assert run(*common, "--out", whole) == 0
    command = [sys.executable, "-m", "nescio", *map(str, common), "--out", str(out)]
    folder = tmp_path / "a.jsonl.parts"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as job:
        begin = time.monotonic()
        while len(list(folder.glob("0*"))) < 2:
            assert time.monotonic() - begin < PATIENCE
            time.sleep(0.005)
        os.killpg(job.pid, signal.SIGKILL)
    done = {each.name: each.stat().st_mtime_ns for each in folder.glob("0*.jsonl")}
    assert 2 <= len(done) <= 5
    assert not out.exists()
    (folder / ".begun.x.part").write_bytes(b"cut")
    (tmp_path / ".a.jsonl.x.part").write_bytes(b"cut as it was joined")
    assert run(*common, "--out", out, "--resume") == 0
    assert_alike(read_rows(out), read_rows(whole))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.jsonl", "whole.jsonl"]


def test_what_is_done_is_not_done_again(
    many: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "a.jsonl"
    command = ("predict", model_file, many, "--samples", "5", "--out", out)
    read = []
    batches = ArraySource.batches

    def counted(self: ArraySource, piece: int):
        read.append(piece)
        if read == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return batches(self, piece)

    monkeypatch.setattr(ArraySource, "batches", counted)
    assert run(*command) == 130
    folder = tmp_path / "a.jsonl.parts"
    assert len(list(folder.glob("0*"))) == 3
    next(folder.glob("00000001.*")).unlink()
    # Another time: the file may have another content, and is read again.
    before = many.stat()
    capsys.readouterr()
    assert run(*command, "--resume") == 0
    assert read[4:] == [1, 3, 4]
    assert "9,000 images" in capsys.readouterr().out
    assert [row["image"] for row in read_rows(out)] == [f"many[{i}]" for i in range(9000)]
    assert many.stat().st_mtime_ns == before.st_mtime_ns


def test_a_piece_whose_file_changed_is_scored_again(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests_support import png

    monkeypatch.setattr(pieces, "PIECE", 2)
    images = stripes(6, 5).images[:, 0].numpy()
    folder = tmp_path / "files"
    folder.mkdir()
    for number, pixels in enumerate(images):
        (folder / f"{number}.png").write_bytes(png(pixels))
    out = tmp_path / "a.csv"
    command = ("predict", model_file, folder, "--out", out, "--samples", "5")
    with monkeypatch.context() as patch:
        patch.setattr("nescio.scoring.formats.Csv.join", lambda *_: 1 / 0)
        with pytest.MonkeyPatch.context():
            assert run(*command) == 1
    parts = tmp_path / "a.csv.parts"
    before = {each.name for each in parts.glob("0*")}
    assert len(before) == 3
    (folder / "3.png").write_bytes(png(images[0]))
    os.utime(folder / "3.png", ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr("nescio.scoring.formats.Csv.join", lambda *_: 1 / 0)
        assert run(*command, "--resume") == 1
    after = {each.name for each in parts.glob("0*")}
    assert len(after) == 3
    assert [name[:8] for name in before - after] == ["00000001"]
    (parts / "notes.txt").write_text("mine")
    assert run(*command, "--resume") == 0
    rows = read_rows(out)
    assert rows[3]["label"] == rows[0]["label"]
    # What a person put there stays.
    assert [each.name for each in parts.iterdir()] == ["notes.txt"]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "a-images-idx3-ubyte", np.zeros((5000, 6, 6), np.uint8))
    from nescio.data import Preprocessing

    plan = sources.open_plan([str(path)], Preprocessing(1, 6, 6))
    assert (len(plan), plan.images) == (3, 5000)
    sizes = [len(batch.names) for piece in range(3) for batch in plan.batches(piece)]
    assert sizes == [2048, 2048, 904]
    large = sources.open_plan([str(path)], Preprocessing(3, 1024, 1024))
    batch = next(large.batches(0))
    assert tuple(batch.images.shape) == (21, 3, 1024, 1024)


def test_ctrl_c_tells_how_to_go_on(
    kinds: dict[str, list[str]],
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nescio.scoring.parts import PartsFolder

    keep = PartsFolder.keep

    def keep_and_stop(self: PartsFolder, *arguments: object) -> None:
        keep(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    out = tmp_path / "o.csv"
    command = ("predict", model_file, *kinds["folder"], "--out", out)
    with monkeypatch.context() as patched:
        patched.setattr(PartsFolder, "keep", keep_and_stop)
        assert run(*command) == 130
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: stopped by Ctrl-C; what is complete stays in ")
    assert "--resume" in told
    assert run(*command, "--resume") == 0
    assert out.exists()
