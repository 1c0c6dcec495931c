"""Arrays of images larger than memory shall hold: mapped, or decoded once into the cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring_support import write_idx

from nescio.data import Reading, Rows, load, read_all
from nescio.data.idx import find_idx_images
from nescio.data.npz import find_npz_images
from nescio.errors import DataError

GREY = np.random.default_rng(0).integers(0, 256, (50, 5, 6), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (20, 5, 6, 3), np.uint8)
FLOATS = np.random.default_rng(2).random((20, 5, 6), np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


@pytest.mark.parametrize("name", ["a-images-idx3-ubyte", "a-images-idx3-ubyte.gz"])
def test_idx(tmp_path: Path, cache: Path, name: str) -> None:
    path = write_idx(tmp_path / name, GREY)
    whole = load(path, labelled=False).train
    for _ in range(2):
        mapped = load(path, labelled=False, reading=Reading(memory=0)).train
        assert isinstance(mapped.images, Rows)
        assert torch.equal(read_all(mapped.images), read_all(whole.images))
        assert mapped.fingerprint() == whole.fingerprint()
    assert cache.exists() == name.endswith(".gz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("images", [GREY, COLOUR, FLOATS, FLOATS.astype(">f8")])
def test_npz(tmp_path: Path, cache: Path, save, images: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    save(path, other=np.arange(3), images=images, labels=np.arange(len(images)) % 3)
    whole, mapped = (load(path, reading=Reading(memory=most)).train for most in (2**30, 0))
    assert isinstance(whole.images, torch.Tensor)
    assert isinstance(mapped.images, Rows)
    assert mapped.fingerprint() == whole.fingerprint()
    plain = save is np.savez and images is GREY
    assert cache.exists() == (not plain)
    raw = find_npz_images(path)
    assert raw is not None
    assert (raw.offset is not None) == (save is np.savez)
    if raw.offset is not None:
        assert torch.equal(raw.read(3, 9), whole.images[3:9])


def test_what_is_mapped_stays_as_it_is(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "a-images-idx3-ubyte", GREY)
    before = path.read_bytes()
    mapped = load(path, labelled=False, reading=Reading(memory=0)).train.images
    assert isinstance(mapped, Rows)
    mapped.parts[0].fill_(0)
    assert path.read_bytes() == before


def test_arrays_that_are_not_read_where_they_lie(tmp_path: Path) -> None:
    for number, images in enumerate((np.asfortranarray(GREY), GREY.astype(np.int32), GREY[0])):
        np.savez(tmp_path / f"{number}.npz", images=images)
        assert find_npz_images(tmp_path / f"{number}.npz") is None
    (tmp_path / "b.npz").write_bytes(b"no archive")
    assert find_npz_images(tmp_path / "b.npz") is None
    np.savez(tmp_path / "c.npz", pictures=GREY)
    assert find_npz_images(tmp_path / "c.npz") is None
    fortran = load(tmp_path / "0.npz", labelled=False, reading=Reading(memory=0)).train
    assert torch.equal(read_all(fortran.images)[:, 0], torch.from_numpy(GREY))


def test_files_that_are_cut(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "a-images-idx3-ubyte", GREY)
    raw = find_idx_images(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match="its header promises 1500 bytes, there are 1493"):
        find_idx_images(path)
    with pytest.raises(DataError, match="it ends before its last image"):
        raw.read(40, 50)
    packed = write_idx(tmp_path / "b-images-idx3-ubyte.gz", GREY)
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(DataError, match="a damaged gzip file"):
        load(packed, labelled=False, reading=Reading(memory=0))
    np.savez(tmp_path / "c.npz", images=FLOATS * 2)
    with pytest.raises(DataError, match=r"float images must lie in \[0, 1\]"):
        load(tmp_path / "c.npz", labelled=False, reading=Reading(memory=0))


def test_memory_is_kept_to_in_a_folder_of_idx_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a path and of a named set alike, train and test."""
    labels = np.arange(50, dtype=np.uint8) % 10
    monkeypatch.setenv("NESCIO_DATA", str(tmp_path))
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte", GREY)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    for source in ("mnist", folder):
        mapped = load(source, reading=Reading(memory=GREY.nbytes - 1))
        whole = load(source, reading=Reading(memory=GREY.nbytes))
        assert mapped.test is not None
        assert isinstance(mapped.train.images, Rows)
        assert isinstance(mapped.test.images, Rows)
        assert isinstance(whole.train.images, torch.Tensor)
        assert mapped.train.fingerprint() == whole.train.fingerprint()


@pytest.mark.parametrize("memory", [0, 50 * 9 * 8])
def test_mapped_images_are_resized_when_they_are_read(tmp_path: Path, memory: int) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=GREY, labels=np.arange(50) % 3)
    whole = load(path, image_size=(9, 8)).train
    reading = Reading(memory=memory, image_size=(9, 8))
    kept = load(path, reading=reading).train
    # Larger as mapped than as wanted it may be; then it is held.
    small = load(path, reading=replace(reading, memory=50 * 4, image_size=2)).train
    assert isinstance(small.images, torch.Tensor)
    assert isinstance(kept.images, Rows) == (memory == 0)
    assert kept.images.shape == whole.images.shape == (50, 1, 9, 8)
    assert torch.equal(read_all(kept.images), read_all(whole.images))
    assert kept.fingerprint() == whole.fingerprint()
    assert torch.equal(kept.hashes(), whole.hashes())
    order = torch.tensor([3, 1, 40])
    assert torch.equal(kept.subset(order).hashes(), whole.subset(order).hashes())
