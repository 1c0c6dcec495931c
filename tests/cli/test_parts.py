"""Of a set that comes in parts, every image is answered, or counted as left out."""

import re
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nescio.cli.app import main

COUNTS = {"train": 5, "validation": 3, "test": 2}
"""Images of each part."""

RNG = np.random.default_rng(0)
PIXELS = {part: RNG.integers(0, 255, (count, 12, 12), "u1") for part, count in COUNTS.items()}
LABELS = {part: np.arange(count) % 2 for part, count in COUNTS.items()}


def encoded(pixels: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def medmnist(folder: Path) -> str:
    arrays = {f"{part}_images": own for part, own in PIXELS.items()}
    np.savez(folder / "a.npz", **arrays)
    return str(folder / "a.npz")


def keras(folder: Path) -> str:
    np.savez_compressed(folder / "a.npz", x_train=PIXELS["train"], x_test=PIXELS["test"])
    return str(folder / "a.npz")


def without_test(folder: Path) -> str:
    np.savez(folder / "a.npz", x_train=PIXELS["train"], x_val=PIXELS["validation"])
    return str(folder / "a.npz")


def idx(folder: Path) -> str:
    for name, part in (("train", "train"), ("t10k", "test")):
        for kind, values in (("images-idx3", PIXELS[part]), ("labels-idx1", LABELS[part])):
            header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            content = header + values.astype("u1").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(content)
    return str(folder)


def saved(folder: Path) -> str:
    hf = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    features = hf.Features({"image": hf.Image()})
    parts = {
        part: hf.Dataset.from_dict(
            {"image": [{"bytes": encoded(each), "path": None} for each in own]}, features=features
        )
        for part, own in {**PIXELS, "extra": PIXELS["test"]}.items()
    }
    hf.DatasetDict(parts).save_to_disk(folder / "set")
    return f"hf:{folder}/set"


def parquet(folder: Path) -> str:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow.parquet import write_table

    for part, own in PIXELS.items():
        images = [{"bytes": encoded(each), "path": None} for each in own]
        columns = {"image": images, "label": LABELS[part]}
        write_table(pa.table(columns), folder / f"{part}-00000.parquet")
    return f"{folder}/*.parquet"


def folders(folder: Path) -> str:
    for part, own in PIXELS.items():
        for number, each in enumerate(own):
            path = folder / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(each))
    return str(folder)


@pytest.mark.parametrize(
    "case",
    [
        (medmnist, 10, 2),
        (keras, 7, 2),
        (without_test, 8, 5),
        (idx, 7, 2),
        (saved, 12, 2),
        (parquet, 10, 10),
        (folders, 10, 10),
    ],
    ids=lambda case: case[0].__name__,
)
def test_what_is_answered_and_what_is_told_add_up(
    case: tuple[Callable[[Path], str], int, int],
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, images, answered = case
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data")
    table, page = tmp_path / "answers.csv", tmp_path / "page.html"
    commands = {
        "predict": lambda out: len(out.splitlines()),
        f"predict --out {table}": lambda _: len(table.read_text("utf-8").splitlines()) - 1,
        f"review --out {page}": lambda out: int(re.findall(r"of (\d+) looked through", out)[0]),
    }
    for command, count in commands.items():
        name, *options = command.split(" ", 2)
        assert main([name, str(model_file), data, *options, "--samples", "2"]) == 0
        out, err = capsys.readouterr()
        assert count(out) == answered
        told = re.findall(r"alone count here; (\d+) others are left out \((.+)\); (.+)", err)
        assert sum(int(left) for left, _, _ in told) == images - answered
        assert len(told) == (answered < images)
        for left, parts, mend in told:
            assert sum(map(int, re.findall(r": (\d+)", parts))) == int(left)
            assert "to have th" in mend


def test_a_part_that_is_left_out_is_answered_where_it_is_named(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = saved(tmp_path)
    assert main(["predict", str(model_file), data, "--samples", "2"]) == 0
    mend = re.findall(r"name (hf:\S+) to have those answered", capsys.readouterr().err)
    assert mend == [f"{data}/train"]
    assert main(["predict", str(model_file), *mend, "--samples", "2", "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == COUNTS["train"]


def test_parts_are_told_before_training_and_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The files of a pattern come by name: test before train.
    assert main(["train", parquet(tmp_path), "--dry-run", "--network", "mlp"]) == 0
    out = re.findall(
        r"^(train|calibration|test) +(\d+) images from (\w+)", capsys.readouterr().out, re.M
    )
    assert out == [
        ("train", "5", "train"),
        ("calibration", "3", "validation"),
        ("test", "2", "test"),
    ]
