import contextlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nescio.data import load
from nescio.data.npz import read_npz
from nescio.errors import DataError

IN_TMP = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@IN_TMP
@given(
    images=hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    )
)
def test_round_trip(tmp_path: Path, images: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=images)
    assert np.array_equal(read_npz(path).images[:, 0].numpy(), images)


@IN_TMP
@given(cut=st.floats(0, 1), place=st.floats(0, 1), value=st.integers(0, 255))
def test_damage_is_a_data_error_or_harmless(
    tmp_path: Path, cut: float, place: float, value: int
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 3, 3), np.uint8), labels=np.array([0, 1]))
    whole = bytearray(path.read_bytes())
    for content in (whole[: int(cut * len(whole))], whole):
        if content is whole:
            whole[min(int(place * len(whole)), len(whole) - 1)] = value
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            assert read_npz(path).images.dtype == torch.uint8


def test_colour_and_float(tmp_path: Path) -> None:
    path = tmp_path / "colour.npz"
    np.savez(path, images=np.full((2, 4, 5, 3), 0.5), labels=np.array(["cat", "dog"]))
    images = load(path).train
    assert images.name == "colour"
    assert images.images.shape == (2, 3, 4, 5)
    assert torch.unique(images.images).tolist() == [128]
    assert images.classes == ("cat", "dog")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.5])
def test_floats_outside(tmp_path: Path, value: float) -> None:
    images = np.zeros((3, 4, 4))
    images[1, 2, 2] = value
    np.savez(tmp_path / "a.npz", images=images)
    with pytest.raises(DataError, match=r"a\.npz.*\[0, 1\], image 1"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pictures": np.zeros((2, 2, 2), np.uint8)}, "expected an array 'images'"),
        ({"images": np.zeros((0, 2, 2), np.uint8)}, "at least 1"),
        ({"images": np.zeros((2, 2), np.uint8)}, "must have shape"),
        ({"images": np.zeros((2, 2, 2, 4), np.uint8)}, "must have shape"),
        ({"images": np.zeros((2, 2, 2), np.int64)}, "uint8, or float"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.zeros(3, int)}, "labels"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.array([0, -1])}, "labels are -1"),
        (
            {"images": np.zeros((2, 2, 2), np.uint8), "labels": np.array([0.5, 1])},
            "class number or name",
        ),
        ({"images": np.array([object()] * 2)}, "plain arrays"),
    ],
)
def test_wrong_content(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=words):
        read_npz(tmp_path / "a.npz")


def test_labels_outside_the_named_classes(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        images=np.zeros((2, 2, 2), np.uint8),
        labels=np.array([0, 2]),
        classes=np.array(["a", "b"]),
    )
    with pytest.raises(DataError, match="label 2 is outside the 2 classes"):
        read_npz(tmp_path / "a.npz")


def test_not_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DataError):
        read_npz(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", "nonsense")
    with pytest.raises(DataError):
        read_npz(tmp_path / "b.npz")
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "none.npz")
