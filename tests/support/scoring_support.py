"""Sources of every kind with the same images, and results held against each other."""

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests_support import png, write_tar

from nescio.cli import main
from nescio.data import ImageSet

STEPS = ("unfamiliarity", "familiarity", "error_probability")


def write_idx(path: Path, pixels: np.ndarray) -> Path:
    """``(N, H, W)`` or ``(N,)`` uint8 as an IDX file, compressed where its name says so."""
    content = (
        bytes([0, 0, 8, pixels.ndim]) + np.array(pixels.shape, ">u4").tobytes() + pixels.tobytes()
    )
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def write_parquet(path: Path, columns: dict[str, Any], rows: int = 10) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def write_kinds(folder: Path, images: ImageSet) -> dict[str, list[str]]:
    """The arguments that name these images, by kind of source."""
    pixels = images.images[:, 0].numpy()
    encoded = [png(each) for each in pixels]
    (folder / "files").mkdir()
    for number, content in enumerate(encoded):
        (folder / "files" / f"{number:04d}.png").write_bytes(content)
    write_idx(folder / "a-images-idx3-ubyte", pixels)
    write_idx(folder / "b-images-idx3-ubyte.gz", pixels)
    np.savez(folder / "plain.npz", images=pixels)
    np.savez_compressed(folder / "packed.npz", images=pixels)
    half = len(encoded) // 2
    for number, part in enumerate((encoded[:half], encoded[half:])):
        members = [(f"{i:04d}.png", content) for i, content in enumerate(part)]
        write_tar(folder / f"s-{number}.tar", [*members, ("0000.cls", b"1")])
    write_parquet(folder / "bytes.parquet", {"image": encoded})
    names = [f"{i}.png" for i in range(len(encoded))]
    write_parquet(folder / "keyed.parquet", {"image": encoded, "key": names})
    nested = [{"bytes": b, "path": p} for b, p in zip(encoded, names, strict=True)]
    write_parquet(folder / "nested.parquet", {"image": nested})
    files = sorted(str(each) for each in (folder / "files").iterdir())
    return {
        "folder": [str(folder / "files")],
        "files": files,
        "idx": [str(folder / "a-images-idx3-ubyte")],
        "idx.gz": [str(folder / "b-images-idx3-ubyte.gz")],
        "npz": [str(folder / "plain.npz")],
        "compressed npz": [str(folder / "packed.npz")],
        "shards": [f"{folder}/s-{{0..1}}.tar"],
        "parquet": [str(folder / "bytes.parquet")],
        "parquet with keys": [str(folder / "keyed.parquet")],
        "parquet of Hugging Face": [str(folder / "nested.parquet")],
        "named": ["noise:50"],
        "several": [files[0], files[1], f"{folder}/s-1.tar", str(folder / "plain.npz")],
    }


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--quiet"])


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The answers of a result, as ``predict --json`` says them."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_alike(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """The same answers, numbers up to the rounding of other batches."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, dict):
                assert value.keys() == other[key].keys()
                for name, number in value.items():
                    # Familiarity is counted in images, so rounding moves it by steps.
                    rel, close = (0.1, 0.03) if name in STEPS else (1e-3, 1e-5)
                    if name == "mutual_information":  # a difference, so it is off by what both are
                        close = max(close, 1e-3 * other[key]["predictive_entropy"])
                    assert number == pytest.approx(other[key][name], rel=rel, abs=close), name
            elif not isinstance(value, float):
                assert value == other[key]
