"""Parquet files with images, as data to learn from."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoring_support import write_parquet
from tests_support import CLASSES, png, stripes

from nescio.data import Reading, Rows, load, read_ahead, read_all, shuffled
from nescio.errors import DataError, UnreadableImage, UsageError

IMAGES = stripes(25, 0)
CONTENT = [png(each) for each in IMAGES.images[:, 0].numpy()]
LABELS = IMAGES.require_labels().tolist()


@pytest.mark.parametrize("labels", [LABELS, [CLASSES[label] for label in LABELS]])
def test_images_and_labels_come_back(tmp_path: Path, labels: list[object]) -> None:
    for number, part in enumerate((slice(0, 12), slice(12, 25))):
        columns = {"image": CONTENT[part], "label": labels[part]}
        write_parquet(tmp_path / f"set-{number}.parquet", columns, rows=5)
    for pattern in ("set-*.parquet", "set-{0..1}.parquet"):
        dataset = load(f"{tmp_path}/{pattern}")
        assert dataset.name == "set"
        assert dataset.classes == (("0", "1", "2") if labels is LABELS else CLASSES)
        assert torch.equal(read_all(dataset.train.images), IMAGES.images)
        assert torch.equal(dataset.train.require_labels(), IMAGES.require_labels())
        assert dataset.train.image_name(13) == "set-1.parquet[1]"


def test_as_hugging_face_writes_it(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(25)]
    nested = [{"bytes": b, "path": p} for b, p in zip(CONTENT, names, strict=True)]
    features = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    noted = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": nested, "label": LABELS}).replace_schema_metadata(noted)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    dataset = load(tmp_path / "a.parquet")
    assert dataset.classes == CLASSES
    assert dataset.train.names == tuple(names)
    assert torch.equal(read_all(dataset.train.images), IMAGES.images)


def test_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    path = write_parquet(tmp_path / "a.parquet", {"image": CONTENT, "label": LABELS})
    kept = load(path, reading=Reading(memory=0)).train
    assert isinstance(kept.images, Rows)
    assert kept.fingerprint() == load(path).train.fingerprint()


@pytest.mark.parametrize("workers", [0, 1])
def test_streamed(tmp_path: Path, workers: int) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": CONTENT, "label": LABELS}, rows=6)
    reading = Reading(stream=True, workers=workers, shuffle_buffer=4)
    lazy = load(path, reading=reading).train
    assert lazy.fingerprint() == load(path).train.fingerprint()
    order = shuffled(lazy.images, torch.Generator().manual_seed(0))
    # Row groups lie together, so their images stay near each other.
    assert sorted(order.tolist()) == list(range(25))
    assert len({int(place) // 6 for place in order[:6]}) <= 3
    read = torch.cat(list(read_ahead(lazy.images, order.split(10))))
    assert torch.equal(read, IMAGES.images[order])


def test_what_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": CONTENT})
    with pytest.raises(DataError, match=r"a\.parquet\[0\] has no label; a column 'label'"):
        load(path)
    assert load(path, labelled=False).train.labels is None
    for labels, error in (([1.5] * 25, "class number or name"), ([-1] * 25, "every label is -1")):
        write_parquet(path, {"image": CONTENT, "label": labels})
        with pytest.raises(DataError, match=error):
            load(path)
    write_parquet(path, {"image": [*CONTENT[:-1], b"no image"], "label": LABELS})
    with pytest.raises(UnreadableImage, match=r"a\.parquet\[24\]: not an image"):
        load(path)
    skipped = load(path, reading=Reading(skip_unreadable=True)).train
    assert len(skipped) == 24
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'nescio\[parquet\]'"):
        load(path)
