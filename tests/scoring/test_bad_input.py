"""``predict --out`` given what it cannot use: one line says so, and nothing done is lost."""

import json
import os
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from processes import run_job
from scoring_support import read_rows, run, write_idx, write_parquet
from tests_support import png, stripes, write_tar

from nescio.cli import main
from nescio.data import Preprocessing
from nescio.files import claimed
from nescio.scoring import pieces, sources
from nescio.scoring.arrays import ArraySource
from nescio.scoring.parts import Counts, Part

SHAPE = Preprocessing(1, 6, 6)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    pixels = stripes(12, 6).images[:, 0].numpy()
    return write_idx(tmp_path / "few-images-idx3-ubyte", pixels)


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    status = run("predict", *arguments, "--samples", "4")
    told = capsys.readouterr()
    assert status == 2, told.err
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    return told.err


def test_options_that_do_not_fit(
    model_file: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.csv"
    for more in (["--json"], ["--csv", tmp_path / "b.csv"], ["--plot", tmp_path]):
        assert "leave out --json" in fails(capsys, model_file, images, "--out", out, *more)
    for more in (["--resume"], ["--force"]):
        assert "belongs to --out FILE" in fails(capsys, model_file, images, *more)
    both = fails(capsys, model_file, images, "--out", out, "--resume", "--force")
    assert "leave one of them out" in both
    for name in ("a.txt", "a", "a.json"):
        told = fails(capsys, model_file, images, "--out", tmp_path / name)
        assert "a file named .csv, .jsonl or .parquet" in told
    assert "no such file" in fails(capsys, model_file, tmp_path / "none", "--out", out)
    assert sorted(each.name for each in tmp_path.iterdir()) == [images.name]


def test_two_runs_do_not_write_one_result(
    model_file: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.csv"
    with claimed(out, tmp_path / ".a.csv.lock"):  # as a run that is under way
        for more in ([], ["--resume"], ["--force"]):
            told = fails(capsys, model_file, images, "--out", out, *more)
            assert f"{out}: another run is writing there; wait for it, or name another" in told
    assert sorted(each.name for each in tmp_path.iterdir()) == [images.name]
    assert run("predict", model_file, images, "--out", out, "--samples", "4") == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", images.name]


def test_what_is_there_is_named(
    model_file: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, parts = tmp_path / "a.csv", tmp_path / "a.csv.parts"
    command = ("predict", model_file, images, "--samples", "4", "--out", out)
    assert run(*command) == 0
    told = fails(capsys, model_file, images, "--out", out)
    assert str(out) in told
    assert str(parts) in told
    assert "--resume" in told
    assert "nothing is left to resume" in fails(
        capsys, model_file, images, "--out", out, "--resume"
    )
    out.unlink()
    parts.mkdir()
    (parts / "mine").touch()
    for more in ([], ["--resume"], ["--force"]):
        told = fails(capsys, model_file, images, "--out", out, *more)
        assert "is no folder of parts" in told
    assert [each.name for each in parts.iterdir()] == ["mine"]
    shutil.rmtree(parts)
    parts.mkdir()
    assert "exists" in fails(capsys, model_file, images, "--out", out)
    assert run(*command, "--force") == 0
    assert len(read_rows(out)) == 12


def test_parts_of_another_run(
    model_file: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, parts = tmp_path / "a.csv", tmp_path / "a.csv.parts"
    with monkeypatch.context() as patch:
        patch.setattr("nescio.scoring.formats.Csv.join", lambda *_: 1 / 0)
        assert run("predict", model_file, images, "--samples", "4", "--out", out) == 1
    command = (model_file, images, "--out", out, "--resume")
    assert "its rule is " in fails(capsys, *command, "--rule", "none")
    assert "its seed is 0, not 7" in fails(capsys, *command, "--seed", "7")
    assert "its adaptive is true, not false" in fails(capsys, *command, "--samples-fixed")
    assert "its sources is " in fails(capsys, model_file, "noise:3", "--out", out, "--resume")
    about = json.loads((parts / "about.json").read_text())
    (parts / "about.json").write_text(json.dumps({**about, "model": "0" * 64, "nescio": "0"}))
    told = fails(capsys, *command)
    assert "its model is 000" in told
    assert "its nescio is 0, not " in told
    for damaged in ("{", "[]"):
        (parts / "about.json").write_text(damaged)
        assert "about.json is damaged" in fails(capsys, *command)
    (parts / "about.json").write_text(json.dumps(about))
    part = next(parts.glob("0*"))
    whole = part.read_bytes()
    part.write_bytes(whole[: whole.rindex(b"few[11]")])
    told = fails(capsys, *command)
    assert "it has 11 answers, not 12 as its name says; remove it" in told
    part.unlink()
    assert run("predict", *command, "--samples", "4") == 0
    assert len(read_rows(out)) == 12


def test_bad_images_are_rows(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [png(each) for each in stripes(3, 7).images[:, 0].numpy()]
    write_tar(tmp_path / "a.tar", [("0.png", good[0]), ("1.png", b"x" * 99), ("2.png", good[2])])
    nested = [{"bytes": good[0], "path": "p"}, {"bytes": None, "path": "q"}, None]
    write_parquet(tmp_path / "a.parquet", {"image": nested})
    missing = tmp_path / "missing.png"
    for suffix in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"out.{suffix}"
        capsys.readouterr()
        status = run(
            "predict", model_file, tmp_path / "a.tar", missing, tmp_path / "a.parquet",
            "--samples", "4", "--out", out,
        )  # fmt: skip
        told = capsys.readouterr()
        assert status == 2
        assert told.err == (
            "error: a.tar/1.png: not an image that can be read (a text file; leave it out) and 3 "
            "more; the other images were answered\n"
        )
        assert "7 images: " in told.out
        assert "4 not readable" in told.out
        rows = read_rows(out)
        assert [row["image"] for row in rows] == [
            *("a.tar/0.png", "a.tar/1.png", "a.tar/2.png", str(missing), "p", "q"),
            "a.parquet[2]",
        ]
        assert [bool(row.get("error")) for row in rows] == [False, True, False, True, False] + [
            True
        ] * 2


@pytest.mark.parametrize(
    ("keep", "names", "error"),
    [
        (512 + 300, ["0.png"], "it ends within '0.png'"),
        (1024 + 512 + 20, ["0.png", "1.png"], "it ends within '1.png'"),
        (1024 + 100, ["0.png", ""], "it was cut off, the mark of its end is missing"),
        (2048, ["0.png", "1.png", ""], "it was cut off, the mark of its end is missing"),
        (100, [""], "not a readable tar file, uncompressed"),
    ],
)
def test_a_tar_file_that_is_cut(tmp_path: Path, keep: int, names: list[str], error: str) -> None:
    content = png(np.arange(36, dtype=np.uint8).reshape(6, 6)) + bytes(300)
    path = write_tar(tmp_path / "a.tar", [("0.png", content), ("1.png", content)])
    path.write_bytes(path.read_bytes()[:keep])
    plan = sources.open_plan([str(path)], SHAPE)
    found = list(plan.batches(0))
    told = [name for batch in found for name in batch.names]
    assert told == [f"a.tar/{name}" if name else str(path) for name in names]
    assert list(found[-1].errors) == [0]
    assert error in found[-1].errors[0]
    assert sum(len(batch.errors) for batch in found) == 1


def test_parquet_that_cannot_be_used(
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, path = tmp_path / "out.csv", tmp_path / "a.parquet"
    command = (model_file, path, "--out", out)
    for column in ([1, 2], ["a", "b"], [{"path": "a"}] * 2):
        write_parquet(path, {"image": column, "label": [1, 2]})
        told = fails(capsys, *command)
        assert "no column holds bytes of image files" in told
        assert "label (int64)" in told
    write_parquet(path, {"before": [b"", b""], "after": [b"", b""]})
    assert "could be in before or after; say which with --image-column" in fails(capsys, *command)
    assert "there is no column 'x'" in fails(capsys, *command, "--image-column", "x")
    path.write_bytes(b"PAR1 no")
    assert "not a readable Parquet file" in fails(capsys, *command)
    assert "there is no such shard" in fails(capsys, model_file, "none-*.parquet", "--out", out)
    write_parquet(path, {"image": pa.array([], pa.binary())})
    assert "there is no image in it" in fails(capsys, *command)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        for arguments in (command, (model_file, "noise:2", "--out", tmp_path / "out.parquet")):
            assert "pip install 'nescio[parquet]'" in fails(capsys, *arguments)


def test_a_damaged_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 10)
    rng = np.random.default_rng(0)
    content = [png(rng.integers(0, 255, (30, 30), np.uint8)) for _ in range(40)]
    path = write_parquet(tmp_path / "a.parquet", {"image": content})
    whole = bytearray(path.read_bytes())
    # In the middle of the second row group.
    middle = len(whole) * 3 // 8
    start = whole.index(content[12][:40])
    assert start < middle
    whole[start - 60 : start + 600] = bytes(660)
    path.write_bytes(whole)
    plan = sources.open_plan([str(path)], SHAPE)
    assert (len(plan), plan.images) == (4, 40)
    names, errors = [], 0
    for piece in range(4):
        for batch in plan.batches(piece):
            names += batch.names
            errors += len(batch.errors)
    assert names == [f"a.parquet[{i}]" for i in range(40)]
    assert 1 <= errors <= 10


def test_floats_that_are_no_pixels(tmp_path: Path) -> None:
    images = np.zeros((5, 4, 4), np.float32)
    images[2, 1, 1], images[4, 0, 0] = 7, np.nan
    np.savez(tmp_path / "a.npz", images=images)
    plan = sources.open_plan([str(tmp_path / "a.npz")], SHAPE)
    (batch,) = plan.batches(0)
    assert batch.readable == [0, 1, 3]
    assert tuple(batch.images.shape) == (3, 1, 6, 6)
    assert "a[2]: " in batch.errors[2]
    assert "float images must lie in [0, 1]" in batch.errors[4]


def test_a_full_disk(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's own error: no file may be longer than the first part."""
    pixels = stripes(40, 8).images[:, 0].numpy()
    small = write_idx(tmp_path / "a-images-idx3-ubyte", pixels[:10])
    large = write_idx(tmp_path / "b-images-idx3-ubyte", pixels)
    out, parts = tmp_path / "a.jsonl", tmp_path / "a.jsonl.parts"
    command = (model_file, small, large, "--out", out)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, limits[1]))
    try:
        told = fails(capsys, *command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.strerror(27) in told  # EFBIG, as ENOSPC is told
    assert "go on with --resume" in told
    assert not out.exists()
    assert [Part.parse(each.name) is None for each in sorted(parts.iterdir())] == [False, True]
    assert run("predict", *command, "--samples", "4", "--resume") == 0
    assert len(read_rows(out)) == 50


def test_a_file_that_changes_while_it_is_read(
    model_file: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = ArraySource.batches

    def changing(self: ArraySource, piece: int) -> object:
        os.utime(images, ns=(1, 1))
        return own(self, piece)

    monkeypatch.setattr(ArraySource, "batches", changing)
    told = fails(capsys, model_file, images, "--out", tmp_path / "a.csv")
    assert "with few[11]: its files changed while they were read" in told


@pytest.mark.slow
def test_several_processes(model_file: Path, images: Path, tmp_path: Path) -> None:
    status, told, err = run_job(["-m", "nescio", "predict", model_file, images])
    assert status != 0
    assert told == ""
    assert err.count("error: ") == 1
    assert "several processes write one result: name it with --out FILE" in err


JOB = """
import os, sys
from nescio.cli import main
rank = int(os.environ["RANK"])
model, one, other, out = sys.argv[1:]
sys.exit(main(["predict", model, [one, other][rank], "--out", out, "--samples", "4", "--quiet"]))
"""


@pytest.mark.slow
def test_processes_that_are_given_different_things(
    model_file: Path, images: Path, tmp_path: Path
) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB)
    out = tmp_path / "a.csv"
    status, told, err = run_job([job, model_file, images, "noise:5", out])
    assert status != 0
    assert told == ""
    assert "error: process 1 has other sources than process 0" in err
    status, told, err = run_job([job, model_file, images, tmp_path / "none", out])
    assert status != 0
    assert "process 1 of 2: " in err
    assert "no such file" in err
    assert not out.exists()


def test_names_of_parts() -> None:
    part = Part(12, "ab12cd34ef", Counts(1990, 40, 15, 3), ".jsonl")
    assert part.name == "00000012.1990-40-15-3.ab12cd34ef.jsonl"
    assert Part.parse(part.name) == part
    assert part.counts.images == 2048
    for other in ("about.json", "done.0", ".begun.x.part", "00000012.1.ab.jsonl", "1.csv"):
        assert Part.parse(other) is None


def test_every_member_of_a_shard_is_accounted_for(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [png(each) for each in stripes(2, 0).images[:, 0].numpy()]
    members = [("a.png", good[0]), ("b.0.png", good[1]), ("a.cls", b"0"), ("c.txt", b"")]
    path, out = write_tar(tmp_path / "a.tar", members), tmp_path / "a.jsonl"
    assert main(["predict", *map(str, (model_file, path, "--samples", "4", "--out", out))]) == 2
    told = capsys.readouterr()
    assert "note: not answered, for they are no images: 1 .txt" in told.err
    assert "'b.0.png' has a dot before its ending" in told.err
    assert [row["image"] for row in read_rows(out)] == ["a.tar/a.png", "a.tar/b.0.png"]
    write_tar(path, [("c.txt", b""), ("d.txt", b"")])
    empty = fails(capsys, model_file, path, "--out", tmp_path / "b.jsonl")
    assert "there is no image in it; it holds 2 .txt, 1 shards without an image" in empty
    assert "no images in these 1 shards; they hold 2 .txt" in fails(capsys, model_file, path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.jsonl", "a.tar"]
