"""Images that are decoded when they are needed: the same as those in memory, in a like order."""

import gzip
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests_support import Told, png, stripes, write_folder, write_shards, write_tar

from nescio.data import (
    Dataset,
    Reading,
    Rows,
    load,
    pass_order,
    read_ahead,
    read_all,
    shuffled,
    split,
    tell_duplicates,
)
from nescio.data.rows import join
from nescio.errors import DataError, UnreadableImage, UsageError


def streamed(pattern: str | Path, workers: int = 0, buffer: int = 4, **asked: bool) -> Dataset:
    reading = Reading(stream=True, workers=workers, shuffle_buffer=buffer, **asked)
    return load(pattern, reading=reading)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_images_as_in_memory(tmp_path: Path) -> None:
    for data in (
        write_shards(tmp_path, stripes(10, 0)),
        write_folder(tmp_path / "set", stripes(12, 0)),
    ):
        held, lazy = load(data).train, streamed(data).train
        assert isinstance(lazy.images, Rows)
        assert lazy.images.lazy
        assert (lazy.images.shape, lazy.images.dtype) == (held.images.shape, torch.uint8)
        assert torch.equal(read_all(lazy.images), read_all(held.images))
        assert torch.equal(lazy.hashes(), held.hashes())
        assert lazy.fingerprint() == held.fingerprint()
        some = torch.tensor([7, 2, 2])
        assert lazy.subset(some).fingerprint() == held.subset(some).fingerprint()
        assert torch.equal(lazy.subset(some).hashes(), held.subset(some).hashes())
        assert lazy.images[3].shape == held.images[3].shape
        assert len(lazy.images[:0]) == 0


def test_hashes_and_fingerprint_take_one_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = write_shards(tmp_path, stripes(12, 0))
    opened: list[int] = []
    from nescio.data.members import Members

    original = Members.open
    monkeypatch.setattr(
        Members, "open", lambda self, index: opened.append(index) or original(self, index)
    )
    reading = Reading(
        stream=True, image_size=6, colour="grey", value_range=(0, 255), background="black"
    )
    dataset = load(pattern, reading=reading)
    assert opened == []  # all that is found from images is told, so nothing need be looked at
    parts = split(dataset, calibration=0.3, test=0.3)
    tell_duplicates("set", parts, Told())
    parts.train.hashes()
    dataset.train.fingerprint()
    assert sorted(opened) == list(range(12))


def test_joined_with_images_in_memory(tmp_path: Path) -> None:
    lazy, held = streamed(write_shards(tmp_path, stripes(8, 0))).train, stripes(4, 1)
    both = join(lazy.images, held.images)
    assert isinstance(both, Rows)
    assert torch.equal(both.hashes(), torch.cat([lazy.hashes(), held.hashes()]))
    assert torch.equal(both.groups(), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 5]))
    batches = torch.randperm(12, generator=seeded()).split(5)
    for batch, read in zip(batches, read_ahead(both, batches, workers=1), strict=True):
        assert torch.equal(read, both[batch])


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    buffer=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
def test_every_image_comes_once_and_near_to_its_place(
    sizes: list[int], buffer: int, seed: int
) -> None:
    groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = pass_order(groups, buffer, seeded(seed))
    assert torch.equal(order.sort().values, torch.arange(len(groups)))
    assert torch.equal(order, pass_order(groups, buffer, seeded(seed)))
    if buffer < len(groups) and len(sizes) < len(groups):
        # The same draws say in which order the groups came.
        turn = torch.randperm(len(sizes), generator=seeded(seed))
        before = turn[groups].argsort(stable=True)
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        assert int((places[before] - torch.arange(len(order))).abs().max()) < max(buffer, 1)


def test_with_a_buffer_of_one_shards_are_read_from_end_to_end() -> None:
    order = pass_order(torch.tensor([0, 0, 0, 1, 1, 1]), 1, seeded(1)).tolist()
    assert order in ([0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2])


def test_no_image_has_a_part_of_the_pass_of_its_own() -> None:
    """Over many passes each image is about as often in one tenth of the pass as in any other."""
    groups, passes, generator = torch.arange(200) // 10, 2000, seeded()
    tenth = torch.zeros(200, 10)
    for _ in range(passes):
        tenth[pass_order(groups, 50, generator), torch.arange(200) // 20] += 1
    # Noise alone stays below 0.03; where in its shard an image stands may add a little.
    assert float((tenth / passes - 0.1).abs().max()) < 0.04


def test_neighbours_part(tmp_path: Path) -> None:
    """Two neighbours in a shard are about a third of the buffer apart, as two uniform draws are."""
    groups, generator = torch.arange(4000) // 1000, seeded()
    places = pass_order(groups, 300, generator).argsort()
    apart = (places[1:] - places[:-1]).abs().float()
    assert 80 < float(apart[groups[1:] == groups[:-1]].mean()) < 120


def test_a_buffer_as_large_as_the_set_is_the_shuffle_of_images_in_memory(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, stripes(10, 0))
    lazy, held = streamed(pattern, buffer=10).train, load(pattern).train
    assert torch.equal(shuffled(lazy.images, seeded()), shuffled(held.images, seeded()))
    folder = write_folder(tmp_path / "set", stripes(9, 0))
    lazy = streamed(folder, buffer=1).train  # files lie nowhere near each other
    assert torch.equal(shuffled(lazy.images, seeded()), torch.randperm(9, generator=seeded()))


def test_workers_change_nothing_and_end(tmp_path: Path) -> None:
    images = streamed(write_shards(tmp_path, stripes(30, 0)), workers=2).train.images
    batches = shuffled(images, seeded()).split(4)
    state = torch.get_rng_state()
    reads = [list(read_ahead(images, batches, workers)) for workers in (0, 1, 2, None)]
    assert torch.equal(torch.get_rng_state(), state)
    for read in reads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(read, reads[0], strict=True))
    some = read_ahead(images, batches)
    next(some)
    assert len(workers_now()) == 2
    some.close()
    assert not workers_now()
    assert list(read_ahead(images, [])) == []


def workers_now() -> list[int]:
    """The processes that the server of forks has started, by number."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
    pairs = [line.split() for line in listed.stdout.decode().splitlines()]
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return [int(pid) for pid, parent in pairs if int(parent) == server]


BLACK, WHITE = png(np.zeros((2, 2), np.uint8)), png(np.full((2, 2), 255, np.uint8))


def damaged(folder: Path) -> Path:
    """A shard whose second image looks like one, and cannot be decoded."""
    noise = png(np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8))
    members = [("0.png", BLACK), ("0.cls", b"0"), ("1.png", noise[:600]), ("1.cls", b"1")]
    return write_tar(folder / "a.tar", [*members, ("2.png", WHITE), ("2.cls", b"1")])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_line(tmp_path: Path, workers: int) -> None:
    reading = Reading(stream=True, workers=workers, image_size=2, colour="grey")
    lazy = load(damaged(tmp_path), reading=reading).train
    with pytest.raises(UnreadableImage, match=r"a\.tar/1\.png: .*--skip-unreadable") as caught:
        list(read_ahead(lazy.images, [torch.arange(3)]))
    assert "\n" not in str(caught.value)
    with pytest.raises(UnreadableImage, match=r"a\.tar/1\.png"):
        lazy.hashes()


def test_an_unreadable_image_may_be_left_out(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    told = Told()
    reading = Reading(stream=True, skip_unreadable=True)
    kept = load(path, reading=reading, reporter=told).train
    held = load(path, reading=Reading(skip_unreadable=True)).train
    assert kept.names == held.names == ("a.tar/0.png", "a.tar/2.png")
    assert kept.fingerprint() == held.fingerprint()
    assert torch.equal(kept.hashes(), held.hashes())
    assert told.notes[0] == "a: 1 images cannot be read and are left out:"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_changes_or_goes_is_told(tmp_path: Path, workers: int) -> None:
    members = [("0.png", BLACK), ("0.cls", b"0"), ("1.png", WHITE), ("1.cls", b"1")]
    path = write_tar(tmp_path / "a.tar", members)
    images = streamed(path, workers=workers).train.images
    reads = read_ahead(images, [torch.tensor([i % 2]) for i in range(40)])
    next(reads)
    write_tar(tmp_path / "b.tar", members[::-1]).replace(path)
    with pytest.raises(DataError, match=r"a\.tar: this shard has changed") as caught:
        list(reads)
    assert not isinstance(caught.value, UnreadableImage)  # which could be skipped
    path.unlink()
    with pytest.raises(DataError, match=r"a\.tar: this shard is gone"):
        list(read_ahead(images, [torch.tensor([0])]))


def test_a_killed_worker_is_one_line(tmp_path: Path) -> None:
    images = streamed(write_shards(tmp_path, stripes(30, 0))).train.images
    reads: Iterator[torch.Tensor] = read_ahead(images, torch.arange(30).split(1), workers=1)
    next(reads)
    os.kill(workers_now()[0], signal.SIGKILL)
    with pytest.raises(DataError, match=r"was lost .*--workers 0") as caught:
        list(reads)
    assert "\n" not in str(caught.value)


def test_truncated_shards(tmp_path: Path) -> None:
    """Wherever a shard is cut, it is an error: fewer images would pass for all."""
    members = [("0.png", BLACK), ("0.cls", b"0"), ("1.png", WHITE), ("1.cls", b"1")]
    whole = write_tar(tmp_path / "a.tar", members).read_bytes()
    cut = tmp_path / "cut.tar"
    for length in (*range(0, 5 * 512, 100), *range(512, 8 * 512 + 1, 512)):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.tar: ") as caught:
            load(cut)
        assert "\n" not in str(caught.value)
    cut.write_bytes(whole[: 9 * 512])  # one block of the end's mark is enough
    assert len(load(cut).train) == 2


def test_shards_that_go_on_or_are_damaged_or_compressed(tmp_path: Path) -> None:
    members = [("0.png", BLACK), ("0.cls", b"0"), ("1.png", WHITE), ("1.cls", b"1")]
    whole = write_tar(tmp_path / "a.tar", members).read_bytes()
    twice = tmp_path / "twice.tar"
    twice.write_bytes(whole * 2)
    with pytest.raises(DataError, match=r"twice\.tar: something follows behind its end"):
        load(twice)
    bad = bytearray(whole)
    bad[4 * 512 + 148] ^= 1  # in the checksum of the third header
    (tmp_path / "bad.tar").write_bytes(bad)
    with pytest.raises(DataError, match=r"bad\.tar: it is damaged at byte 2,048"):
        load(tmp_path / "bad.tar")
    (tmp_path / "packed.tar").write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match="not a readable tar file, uncompressed"):
        load(tmp_path / "packed.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert len(archive.getmembers()) == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"workers": -1}, "--workers must be from 0 to 256, got -1"),
        ({"workers": 10**6}, "--workers must be from 0"),
        ({"shuffle_buffer": 0}, "--shuffle-buffer must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_asked(asked: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Reading(stream=True, **asked)  # type: ignore[arg-type]
