"""Images that are not in memory answer as those that are; what is kept is kept whole or not."""

import shutil
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests_support import QUICK, Told, small_network, stripes, write_folder
from torch import Tensor

import nescio
from nescio.cli import main
from nescio.data import Dataset, ImageSet, Reading, Rows, encoded, load, read_all, split, to_float
from nescio.data.decoder import Adapted
from nescio.data.rows import join, take
from nescio.data.store import fetch_stored, store_folder, stored_files
from nescio.errors import DataError

ALWAYS = Reading(memory=0)
"""Even the smallest set is kept on the disk."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    return store_folder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", stripes(60, 0))


@given(st.data())
def test_rows_answer_as_a_tensor_does(data: st.DataObject) -> None:
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 2, 4)
    rows, plain = Rows.of(images), images
    numbers = st.integers(0, 9)
    for _ in range(data.draw(st.integers(0, 2))):
        index = torch.tensor(data.draw(st.lists(numbers, min_size=1, max_size=10))) % len(rows)
        rows, plain = rows.take(index), plain[index]
        if data.draw(st.booleans()):
            joined = join(rows, images)
            assert isinstance(joined, Rows)
            rows, plain = joined, torch.cat([plain, images])
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == (
        plain.shape,
        4,
        torch.uint8,
        len(plain),
    )
    assert torch.equal(read_all(rows), plain)
    assert torch.equal(rows[-1], plain[-1])
    assert torch.equal(rows[1:4], plain[1:4])
    assert torch.equal(rows[torch.tensor([0, 0])], plain[[0, 0]])
    size = data.draw(st.integers(1, 12))
    parts = rows.split(size)
    assert [len(part) for part in parts] == [len(part) for part in plain.split(size)]
    assert torch.equal(torch.cat([part[:] for part in parts]), plain)
    assert torch.equal(to_float(rows.to("cpu")), to_float(plain))


def test_to_take_and_join_read_nothing() -> None:
    class Unread(Tensor):
        def __getitem__(self, index: object) -> Tensor:
            raise AssertionError("read")

    rows = Rows((torch.zeros(4, 1, 2, 2, dtype=torch.uint8).as_subclass(Unread),), torch.arange(4))
    chosen = take(join(rows, rows).to("cpu"), torch.tensor([7, 0]))
    assert isinstance(chosen, Rows)
    assert len(chosen.split(1)) == 2
    images = ImageSet("s", rows, torch.tensor([0, 1, 0, 1]), ("a", "b"))
    assert len(images.subset(torch.tensor([3]))) == 1
    with pytest.raises(AssertionError, match="read"):
        chosen[0]


def test_a_set_on_the_disk_is_the_set_in_memory(cache: Path, folder: Path) -> None:
    told = Told()
    kept, plain = load(folder, reading=ALWAYS, reporter=told), load(folder)
    assert isinstance(kept.train.images, Rows)
    assert isinstance(plain.train.images, Tensor)
    assert torch.equal(read_all(kept.train.images), plain.train.images)
    assert kept.train.names == plain.train.names
    assert kept.train.fingerprint() == plain.train.fingerprint()
    assert torch.equal(kept.train.hashes(), plain.train.hashes())
    assert f"60 decoded images are kept in {cache}" in told.notes[0]
    parts, same = (split(each, calibration=0.2, test=0.2) for each in (kept, plain))
    assert isinstance(parts.train.images, Rows)
    assert torch.equal(read_all(parts.train.images), read_all(same.train.images))


def test_it_is_decoded_once_and_again_when_a_file_changes(
    cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder, reading=ALWAYS).train
    decode = encoded.decode_one
    read: list[str] = []

    def watched(source: Path, name: str, *how: Any) -> Adapted:
        read.append(name)
        return decode(source, name, *how)

    monkeypatch.setattr(encoded, "decode_one", watched)
    assert load(folder, reading=ALWAYS).train.fingerprint() == first.fingerprint()
    assert read == []
    changed = folder / "left" / "0000.png"
    changed.write_bytes((folder / "top" / "0002.png").read_bytes())
    again = load(folder, reading=ALWAYS).train.fingerprint()
    assert len(read) == 60
    assert again == load(folder).train.fingerprint() != first.fingerprint()
    # A file that somebody cut short does not count.
    for path in cache.glob("*.images"):
        path.write_bytes(path.read_bytes()[:-1])
    assert load(folder, reading=ALWAYS).train.fingerprint() == again
    for path in cache.glob("*.json"):
        path.write_text('{"errors": []}')
    assert load(folder, reading=ALWAYS).train.fingerprint() == again


def test_unreadable_files_are_remembered(cache: Path, folder: Path) -> None:
    (folder / "left" / "0003.png").write_bytes(b"broken")
    reading = replace(ALWAYS, skip_unreadable=True)
    plain = load(folder, reading=Reading(skip_unreadable=True)).train.images
    for _ in range(2):
        told = Told()
        kept = load(folder, reading=reading, reporter=told).train
        assert len(kept) == 59
        assert torch.equal(read_all(kept.images), read_all(plain))
        assert any("1 images cannot be read" in note for note in told.notes)
    with pytest.raises(DataError, match=r"0003\.png.*--skip-unreadable"):
        load(folder, reading=ALWAYS)


def test_all_or_nothing(cache: Path) -> None:
    def broken() -> Iterator[Tensor | str]:
        yield torch.zeros(1, 2, 2, dtype=torch.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_stored("key", 3, (1, 2, 2), broken)
    assert stored_files() == []

    def whole() -> Iterator[Tensor | str]:
        yield "unreadable"
        yield torch.ones(1, 2, 2, dtype=torch.uint8)
        yield "unreadable"

    stored = fetch_stored("key", 3, (1, 2, 2), whole)
    assert stored.images.tolist() == [[[[1, 1], [1, 1]]]]
    assert list(stored.errors) == [0, 2]
    # What is done to the tensor does not reach the file.
    stored.images.zero_()
    assert int(fetch_stored("key", 3, (1, 2, 2), broken).images.sum()) == 4
    none = fetch_stored("none", 1, (1, 2, 2), lambda: iter(["unreadable"]))
    assert none.images.shape == (0, 1, 2, 2)


def test_no_room_is_told_before_work_is_done(
    cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100))
    with pytest.raises(DataError, match=r"decoded, the images take 0\.0 GB.*make room"):
        load(folder, reading=ALWAYS)
    assert stored_files() == []


def test_a_fit_from_the_disk_is_the_fit_from_memory(cache: Path, folder: Path) -> None:
    recipe = replace(QUICK, epochs=2)
    extra = stripes(6, 77)
    models = [
        nescio.fit(
            small_network(), load(folder, reading=reading), extra=extra, recipe=recipe,
            samples=3, max_refusal=0.2,
        )
        for reading in (ALWAYS, Reading())
    ]  # fmt: skip
    for name, mean in models[1].guide.loc.items():
        assert torch.equal(models[0].guide.loc[name], mean)
    assert torch.equal(models[0].record.seen, models[1].record.seen)
    kept, plain = load(folder, reading=ALWAYS), load(folder)
    told = [
        model.evaluate(each, ood=[each.train], samples=3).to_json()
        for model, each in zip(models, (kept, plain), strict=True)
    ]
    for each in told:
        del each["seconds"]
    assert told[0] == told[1]
    assert torch.equal(
        models[0].predict_samples(kept.train, samples=2),
        models[0].predict_samples(plain.train, samples=2),
    )
    same, decided = (
        models[0].decide(each.train, adaptive=True, samples=5) for each in (plain, kept)
    )
    assert [each.label for each in decided] == [each.label for each in same]


def test_the_cache_is_shown_and_cleared(
    cache: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache"]) == 0
    assert "0 sets of decoded images" in capsys.readouterr().out
    Dataset("d", load(folder, reading=ALWAYS).train)
    (cache / ".left.part").write_bytes(b"of a broken run")
    assert main(["cache"]) == 0
    assert "1 sets of decoded images" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert "removed" in capsys.readouterr().out
    assert list(cache.iterdir()) == []
