"""Parquet files with images, as data to learn from."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoring_support import write_parquet
from tests_support import CLASSES, Told, png, stripes

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
    with pytest.raises(DataError, match=r"no image has a label; expected .* a column 'label'"):
        load(path)
    assert load(path, labelled=False).train.labels is None
    for labels, error in (
        ([1.5] * 25, "class number or name"),
        ([-1] * 25, "no image has a label"),
    ):
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


def test_parts_are_files_named_as_such(tmp_path: Path) -> None:
    for part, some in (("train", slice(0, 12)), ("test", slice(12, 20)), ("valid", slice(20, 25))):
        path = tmp_path / f"set-{part}-00000-of-00001.parquet"
        write_parquet(path, {"image": CONTENT[some], "label": LABELS[some]})
    told = Told()
    dataset = load(tmp_path / "set-*.parquet", reporter=told)
    assert dataset.test is not None
    own = torch.tensor([*range(12), *range(20, 25)])
    assert torch.equal(read_all(dataset.train.images), IMAGES.images[own])
    assert torch.equal(read_all(dataset.test.images), IMAGES.images[12:20])
    assert dataset.validation is not None
    assert dataset.validation.tolist() == [False] * 12 + [True] * 5
    assert told.notes == []
    streamed = load(tmp_path / "set-*.parquet", reading=Reading(stream=True, workers=0))
    assert streamed.train.fingerprint() == dataset.train.fingerprint()
    # To be answered all of them count; of one part alone all are of one set.
    assert len(load(tmp_path / "set-*.parquet", labelled=False).train) == 25
    alone = load(tmp_path / "set-test*.parquet")
    assert (len(alone.train), alone.test) == (8, None)
    write_parquet(tmp_path / "set-more.parquet", {"image": CONTENT[:3], "label": LABELS[:3]})
    with pytest.raises(DataError, match=r"set-test-.* is named as a part, set-more\.parquet is no"):
        load(tmp_path / "set-*.parquet")


def test_parts_without_labels_are_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", {"image": CONTENT[:10], "label": [*LABELS[:9], None]})
    write_parquet(tmp_path / "test.parquet", {"image": CONTENT[10:], "label": [None] * 15})
    told = Told()
    dataset = load(tmp_path / "{train,test}.parquet", reporter=told)
    assert (len(dataset.train), dataset.test) == (9, None)
    assert any("its test part has no labels and is left out" in note for note in told.notes)
    assert any("1 of 25 images have no label and are left out" in note for note in told.notes)
    assert load(tmp_path / "train.parquet", labelled=False).train.labels is None


def test_columns_by_their_usual_names_or_as_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"mask": CONTENT[::-1], "img": CONTENT, "cls": LABELS, "sex": ["f", "m", "f"] * 9}
    write_parquet(path, {name: each[:25] for name, each in columns.items()})
    told = Told()
    found = load(path, reporter=told).train
    assert torch.equal(read_all(found.images), IMAGES.images)
    assert torch.equal(found.require_labels(), IMAGES.require_labels())
    assert any("from the column 'img', not from mask; --image-column" in n for n in told.notes)
    other = load(path, reading=Reading(image_column="mask", label_column="sex")).train
    assert torch.equal(read_all(other.images), IMAGES.images.flip(0))
    assert other.classes == ("f", "m")
    with pytest.raises(DataError, match=r"no column 'x' for --label-column; it has mask, img"):
        load(path, reading=Reading(label_column="x"))
    with pytest.raises(DataError, match=r"'sex' holds bytes of image files"):
        load(path, reading=Reading(image_column="sex"))
    write_parquet(path, {"before": CONTENT, "after": CONTENT, "label": LABELS})
    with pytest.raises(DataError, match=r"images could be in before or after; say which with --im"):
        load(path)


def test_texts_stay_texts(tmp_path: Path) -> None:
    texts = [("0", "1", "01", "2")[i % 4] for i in range(25)]
    write_parquet(tmp_path / "a.parquet", {"image": CONTENT, "label": texts})
    found = load(tmp_path / "a.parquet").train
    assert found.classes == ("0", "01", "1", "2")
    assert [found.classes[i] for i in found.require_labels().tolist()] == texts


def test_columns_are_of_tables_alone() -> None:
    with pytest.raises(UsageError, match="belong to Parquet and hf:, and digits is none of these"):
        load("digits", reading=Reading(label_column="x"))
    assert len(load("noise:3", reading=Reading(label_column="x", labelled=False)).train) == 3
