import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nescio.data import load
from nescio.data.idx import read_idx, read_idx_set
from nescio.data.idx_names import IdxName, find_idx_parts
from nescio.errors import DataError

IN_TMP = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_set(folder: Path, name: str, images: np.ndarray, labels: np.ndarray | None) -> Path:
    path = folder / f"{name}-images-idx3-ubyte"
    path.write_bytes(idx_bytes(images))
    if labels is not None:
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    return path


def test_reads_bytes_in_order(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "x-ubyte").write_bytes(idx_bytes(array))
    assert torch.equal(read_idx(tmp_path / "x-ubyte"), torch.arange(24).view(2, 3, 4).byte())


@IN_TMP
@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), compressed=st.booleans())
def test_round_trip(tmp_path: Path, shape: list[int], compressed: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape)
    path = tmp_path / ("a.gz" if compressed else "a")
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert np.array_equal(read_idx(path).numpy(), array)


@IN_TMP
@given(cut=st.integers(0, 39), place=st.integers(0, 15), value=st.integers(0, 255))
def test_damage_is_a_data_error_or_harmless(
    tmp_path: Path, cut: int, place: int, value: int
) -> None:
    whole = idx_bytes(np.arange(24).reshape(2, 3, 4))
    (tmp_path / "cut").write_bytes(whole[:cut])
    with pytest.raises(DataError):
        read_idx(tmp_path / "cut")
    flipped = bytearray(whole)
    flipped[place] = value
    (tmp_path / "flipped").write_bytes(flipped)
    try:
        result = read_idx(tmp_path / "flipped")
    except DataError:
        return
    assert result.numel() == 24


def test_a_huge_header_asks_for_no_memory(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + np.array([2**31, 2**31, 2**31], ">u4").tobytes()
    (tmp_path / "huge").write_bytes(header + b"few")
    with pytest.raises(DataError, match="only 3"):
        read_idx(tmp_path / "huge")


def test_damaged_gzip(tmp_path: Path) -> None:
    content = gzip.compress(idx_bytes(np.arange(100)))
    (tmp_path / "a.gz").write_bytes(content[:-12])
    with pytest.raises(DataError, match="gzip"):
        read_idx(tmp_path / "a.gz")


def test_set_with_labels_is_named_after_its_file(tmp_path: Path) -> None:
    path = write_set(tmp_path, "shapes", np.zeros((4, 5, 6)), np.array([0, 2, 1, 0]))
    images = load(path).train
    assert images.name == "shapes"
    assert images.images.shape == (4, 1, 5, 6)
    assert images.classes == ("0", "1", "2")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 2, 1, 0]


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    path = write_set(tmp_path, "shapes", np.zeros((4, 5, 6)), np.array([0, 1]))
    with pytest.raises(DataError, match="4 images need as many labels"):
        read_idx_set(path)


def test_folder_in_mnist_layout(tmp_path: Path) -> None:
    write_set(tmp_path, "train", np.ones((6, 5, 5)), np.arange(6) % 3)
    write_set(tmp_path, "t10k", np.zeros((3, 5, 5)), np.arange(3))
    assert [*find_idx_parts(tmp_path)] == ["test", "train"]
    dataset = load(tmp_path)
    assert dataset.name == tmp_path.name
    assert dataset.test is not None
    assert (len(dataset.train), len(dataset.test)) == (6, 3)


@pytest.mark.mnist
def test_mnist(own_data: Path) -> None:
    mnist = load("mnist")
    assert mnist.test is not None
    assert mnist.train.images.shape == (60_000, 1, 28, 28)
    assert mnist.train.require_labels()[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.require_labels()[:5].tolist() == [7, 2, 1, 0, 4]
    # The mean of MNIST's training pixels is a well-known constant.
    assert float(mnist.train.images.float().mean() / 255) == pytest.approx(0.1307, abs=5e-5)


SPELLINGS = {
    "train-images-idx3-ubyte": ("train", "train", ""),
    "t10k-images.idx3-ubyte.gz": ("t10k", "test", ""),
    "train-images.idx": ("train", "train", ""),
    "Train_Images.IDX3.ubyte": ("Train", "train", ""),
    "emnist-letters-test-images-idx3-ubyte": ("emnist-letters-test", "test", "emnist-letters"),
    "shapes-images-idx3-ubyte.idx": ("shapes", None, "shapes"),
    "images-idx3-ubyte": ("", None, ""),
}


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_names_as_people_spell_them(tmp_path: Path, spelled: str) -> None:
    name = IdxName.of(Path(spelled))
    assert name is not None
    assert (name.set, name.part, name.base) == SPELLINGS[spelled]
    assert name.images
    images, labels = np.arange(18).reshape(2, 3, 3), np.array([[26], [1]])
    other = spelled.replace("images", "labels").replace("Images", "Labels").replace("idx3", "idx1")
    for path, array in ((tmp_path / spelled, images), (tmp_path / other, labels)):
        content = idx_bytes(array)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    for source in (tmp_path / spelled, tmp_path):  # of EMNIST's letters, which count from 1
        found = load(source).train
        assert found.classes == ("1", "26")
        assert found.require_labels().tolist() == [1, 0]
    with pytest.raises(DataError, match="it holds labels; name the file of the images beside it"):
        load(tmp_path / other)


def test_what_is_no_idx_is_not_taken_for_it() -> None:
    for name in ("images.png", "train-images.zip", "labels.csv", "images", "train-images"):
        assert IdxName.of(Path(name)) is None


def test_the_folder_that_torchvision_is_given(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    write_set(raw, "train", np.ones((6, 5, 5)), np.arange(6) % 3)
    write_set(raw, "t10k", np.zeros((3, 5, 5)), np.array([0, 1, 4]))
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(b"the same, packed")
    for folder in (tmp_path, tmp_path / "MNIST", raw):
        dataset = load(folder)
        assert dataset.test is not None
        assert (len(dataset.train), len(dataset.test)) == (6, 3)
        assert dataset.test.classes == ("0", "1", "2", "4")
    other = tmp_path / "KMNIST" / "raw"
    other.mkdir(parents=True)
    write_set(other, "train", np.ones((6, 5, 5)), np.arange(6) % 3)
    with pytest.raises(DataError, match=r"several IDX sets \(KMNIST/raw/train-images.*name one"):
        load(tmp_path)


def test_no_label_is_needed_to_answer(tmp_path: Path) -> None:
    path = write_set(tmp_path, "shapes", np.zeros((4, 5, 6)), np.array([0, 1]))
    assert load(path, labelled=False).train.labels is None
