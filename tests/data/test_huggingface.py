"""Folders that Hugging Face's ``datasets`` saved; read from the disk, without a network."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests_support import Told, stripes

from nescio.data import ImageSet, Reading, Rows, load, read_all
from nescio.errors import DataError, UnreadableImage, UsageError


@pytest.fixture
def hf() -> Any:
    return pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def table(hf: Any, images: ImageSet, labels: list[Any] | None = None, kind: Any = None) -> Any:
    columns: dict[str, Any] = {
        "image": [{"bytes": png(image[0].numpy()), "path": None} for image in images.images]
    }
    features = {"image": hf.Image()}
    if labels is not None:
        columns["label"], features["label"] = labels, kind
    return made(hf, columns, features)


def made(hf: Any, columns: dict[str, Any], features: dict[str, Any]) -> Any:
    return hf.Dataset.from_dict(columns, features=hf.Features(features))


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'nescio\[hf\]'"):
        load(f"hf:{tmp_path}")


def test_class_labels_and_parts(hf: Any, tmp_path: Path) -> None:
    train, test, validation = stripes(9, 0), stripes(6, 1), stripes(3, 2)
    kind = hf.ClassLabel(names=list(train.classes))
    parts = {
        name: table(hf, images, images.require_labels().tolist(), kind)
        for name, images in (
            ("train", train),
            ("test", test),
            ("validation", validation),
            ("unsupervised", test),
        )
    }
    hf.DatasetDict(parts).save_to_disk(tmp_path / "set")
    told = Told()
    dataset = load(f"hf:{tmp_path}/set", reporter=told)
    assert (dataset.name, dataset.classes) == ("set", train.classes)
    assert dataset.test is not None
    both = torch.cat([train.images, validation.images])
    labels = torch.cat([train.require_labels(), validation.require_labels()])
    assert torch.equal(read_all(dataset.train.images), both)
    assert torch.equal(dataset.train.require_labels(), labels)
    assert torch.equal(read_all(dataset.test.images), test.images)
    assert torch.equal(dataset.test.require_labels(), test.require_labels())
    assert dataset.train.image_name(9) == "set/validation[0]"
    assert dataset.test.image_name(2) == "set/test[2]"
    assert any("(unsupervised: 6)" in note for note in told.notes)
    assert dataset.validation is not None
    assert dataset.validation.tolist() == [False] * 9 + [True] * 3
    assert len(load(f"hf:{tmp_path}/set", labelled=False).train) == 6


def test_one_part_with_names_and_on_the_disk(
    hf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    images = stripes(9, 0)
    names = [images.classes[i] for i in images.require_labels().tolist()]
    table(hf, images, names, hf.Value("string")).save_to_disk(tmp_path / "set")
    plain = load(f"hf:{tmp_path}/set").train
    assert plain.classes == images.classes
    assert torch.equal(plain.require_labels(), images.require_labels())
    kept = load(f"hf:{tmp_path}/set", reading=Reading(memory=0)).train
    assert isinstance(kept.images, Rows)
    assert kept.fingerprint() == plain.fingerprint()


def test_what_cannot_be_used(hf: Any, tmp_path: Path) -> None:
    images = stripes(4, 0)
    with pytest.raises(DataError, match="no such folder"):
        load(f"hf:{tmp_path}/nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="not a folder of save_to_disk"):
        load(f"hf:{tmp_path}/empty")
    table(hf, images).save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(DataError, match="no image has a label; expected a column of ClassLabel"):
        load(f"hf:{tmp_path}/unlabelled")
    assert load(f"hf:{tmp_path}/unlabelled", labelled=False).train.labels is None
    made(hf, {"label": [0, 1]}, {"label": hf.Value("int64")}).save_to_disk(tmp_path / "blind")
    with pytest.raises(DataError, match="it has no images"):
        load(f"hf:{tmp_path}/blind")
    table(hf, images, [0.5, 1.5, 0.5, 1.5], hf.Value("float32")).save_to_disk(tmp_path / "floats")
    with pytest.raises(DataError, match="must be a class number or name"):
        load(f"hf:{tmp_path}/floats")
    broken = [{"bytes": b"x", "path": None}, None]
    features = {"image": hf.Image(), "label": hf.Value("int64")}
    made(hf, {"image": broken, "label": [0, 1]}, features).save_to_disk(tmp_path / "broken")
    with pytest.raises(UnreadableImage, match=r"broken/train\[0\]: not an image"):
        load(f"hf:{tmp_path}/broken")
    with pytest.raises(UnreadableImage, match="none of 2 image files can be read"):
        load(f"hf:{tmp_path}/broken", reading=Reading(skip_unreadable=True))


def test_the_usual_columns_and_labels_that_are_missing(hf: Any, tmp_path: Path) -> None:
    images = stripes(6, 0)
    encoded = [{"bytes": png(image[0].numpy()), "path": None} for image in images.images]
    columns = {
        "mask": encoded[::-1],
        "image": encoded,
        "gender": [0, 1] * 3,
        "label": [2, 0, None, 2, -1, 0],
    }
    kind, sex = hf.ClassLabel(names=["left", "right", "top"]), hf.ClassLabel(names=["f", "m"])
    features = {"mask": hf.Image(), "image": hf.Image(), "gender": sex, "label": kind}
    made(hf, columns, features).save_to_disk(tmp_path / "set")
    told = Told()
    found = load(f"hf:{tmp_path}/set", reporter=told).train
    # The class that nobody has is told, and those without a label are left out.
    assert found.classes == ("left", "top")
    assert found.require_labels().tolist() == [1, 0, 1, 0]
    assert torch.equal(read_all(found.images), images.images[[0, 1, 3, 5]])
    for words in (
        "from the column 'image', not from mask",
        "from the column 'label', not from gender",
        "1 class named in it without an image: right",
        "2 of 6 images have no label and are left out (the first is set/train[2])",
    ):
        assert any(words in note for note in told.notes), told.notes
    other = load(f"hf:{tmp_path}/set", reading=Reading(label_column="gender")).train
    assert other.classes == ("f", "m")
    assert len(load(f"hf:{tmp_path}/set", labelled=False).train) == 6


def test_a_part_without_labels_is_told(hf: Any, tmp_path: Path) -> None:
    images, kind = stripes(4, 0), hf.ClassLabel(names=["a", "b"])
    parts = {"train": [0, 1, 0, 1], "test": [-1] * 4}
    sets = {name: table(hf, images, labels, kind) for name, labels in parts.items()}
    hf.DatasetDict(sets).save_to_disk(tmp_path / "set")
    told = Told()
    dataset = load(f"hf:{tmp_path}/set", reporter=told)
    assert (len(dataset.train), dataset.test) == (4, None)
    assert "set: its test part has no labels and is left out (4 images)" in told.notes
