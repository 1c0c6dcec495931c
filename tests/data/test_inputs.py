"""What people hold in Python, as sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as torch_data
from PIL import Image, PngImagePlugin
from tests_support import CLASSES, stripes

import nescio
from nescio.data import Dataset, ImageSet, Preprocessing, Reading, read_data_like, sources_of
from nescio.data.encoded import Files, read_encoded
from nescio.errors import DataError, NescioError, UsageError

SET = stripes(40, 3)
GREY = SET.images[:, 0]
LABELS = SET.require_labels()
FLOATS = GREY.float() / 255


class Items(torch_data.Dataset[Any]):
    """A set of PyTorch, as torchvision's are."""

    def __init__(self, items: list[Any], classes: Any = None) -> None:
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Endless(torch_data.IterableDataset[Any]):
    """One that counts nothing."""

    def __iter__(self) -> Iterator[Any]:
        yield from zip(FLOATS[:, None], LABELS, strict=True)


def pictures() -> list[Image.Image]:
    return [Image.fromarray(image.numpy()) for image in GREY]


TENSORS = torch_data.TensorDataset(FLOATS[:, None], LABELS)
PAIRS = list(zip(FLOATS[:, None], LABELS.tolist(), strict=True))
NAMED = [CLASSES[label] for label in LABELS.tolist()]
SAME: dict[str, Any] = {
    "arrays": (GREY.numpy(), LABELS.numpy()),
    "tensors": (FLOATS, LABELS.int()),
    "channels first": (FLOATS[:, None], LABELS[:, None].double()),
    "channels last": (GREY[..., None].numpy(), LABELS.tolist()),
    "one-hot": (FLOATS.double().numpy(), np.eye(3)[LABELS]),
    "lists": (FLOATS.tolist(), LABELS.tolist()),
    "a list of arrays": (list(GREY.numpy()), LABELS),
    "a list of tensors": (list(FLOATS[:, None]), LABELS),
    "an array of objects": (pictures(), LABELS),
    "pictures": (pictures(), LABELS),
    "pairs": PAIRS,
    "pairs of pictures": list(zip(pictures(), LABELS.tolist(), strict=True)),
    "TensorDataset": TENSORS,
    "Dataset": Items(PAIRS),
    "Dataset of pictures": Items(list(zip(pictures(), LABELS.tolist(), strict=True))),
    "Dataset of mappings": Items([{"image": a, "label": b} for a, b in PAIRS]),
    "Subset": torch_data.Subset(torch_data.ConcatDataset([TENSORS] * 2), range(40)),
    "IterableDataset": Endless(),
    "loader": torch_data.DataLoader(TENSORS, batch_size=16),
    "loader that shuffles and drops": torch_data.DataLoader(
        Items(PAIRS), batch_size=16, shuffle=True, drop_last=True
    ),
    "loader of some": torch_data.DataLoader(
        torch_data.ConcatDataset([TENSORS, TENSORS]),
        sampler=torch_data.SubsetRandomSampler(range(40)),
    ),
    "loader of images": torch_data.DataLoader(TENSORS, batch_size=None, shuffle=True),
    "loader of endless": torch_data.DataLoader(Endless(), batch_size=7),
    "loader of lists": torch_data.DataLoader(
        Items(list(zip(pictures(), LABELS.tolist(), strict=True))),
        batch_size=9,
        collate_fn=lambda items: tuple(zip(*items, strict=True)),
    ),
    "loader of items": torch_data.DataLoader(
        Items(list(zip(pictures(), LABELS.tolist(), strict=True))), batch_size=9, collate_fn=list
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", SAME)
def test_the_same_images_in_every_form(form: str) -> None:
    expected = ImageSet("images", SET.images, SET.labels, ("0", "1", "2"))
    read = read_data_like(SAME[form], Reading()).train
    assert read.fingerprint() == expected.fingerprint()
    assert torch.equal(read.hashes(), SET.hashes())


@pytest.mark.parametrize("form", ["pictures", "Dataset", "loader of endless", "arrays"])
def test_names_of_classes(form: str) -> None:
    """Texts, what a set of PyTorch says, and what numbers stand for to a model."""
    held = SAME[form]
    if isinstance(held, tuple):
        for labels in (NAMED, np.array(NAMED), np.array(NAMED, object)):
            read = read_data_like((held[0], labels), Reading()).train
            assert [read.classes[i] for i in read.require_labels().tolist()] == NAMED
        asked = nescio.image_set(held[0], held[1], classes=CLASSES, name="mine")
        assert (asked.name, asked.classes) == ("mine", CLASSES)
    read = read_data_like(held, Reading(), classes=CLASSES).train
    assert [read.classes[i] for i in read.require_labels().tolist()] == NAMED
    # Where a number is the name of a class, it is that one.
    years = read_data_like(held, Reading(), classes=("2", "1", "0")).train
    assert set(years.classes) == {"0", "1", "2"}
    told = torch_data.Subset(Items(PAIRS, list(CLASSES)), range(40))
    for source in (told, torch_data.DataLoader(told, batch_size=4)):
        assert read_data_like(source, Reading()).train.classes == CLASSES


def save(image: Image.Image, path: Path, **options: Any) -> Image.Image:
    image.save(path, **options)
    return Image.open(path)


def made(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    if mode in ("I;16", "I", "F"):
        high = {"I;16": 65535, "I": 65535, "F": 1}[mode]
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray((rng.random((20, 12)) * high).astype(kind))
    image = (
        Image.fromarray(rng.integers(0, 256, (20, 12, 4), "u1"), "RGBA")
        if mode in ("RGBA", "LA")
        else Image.fromarray(rng.integers(0, 256, (20, 12, 3), "u1"))
    )
    return image.convert(mode) if mode != image.mode else image


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F", "CMYK"])
def test_a_picture_is_what_its_file_is(mode: str, tmp_path: Path) -> None:
    ending = {"F": "tiff", "CMYK": "tiff"}.get(mode, "png")
    path, image = tmp_path / f"a.{ending}", made(mode)
    opened = save(image, path)
    wanted = Preprocessing(3, 20, 12)
    expected = read_encoded(Files([path]), wanted).images
    assert len(expected) == 1
    for picture in (image, opened):
        read = nescio.image_set(picture, reading=Reading(preprocessing=wanted))
        if mode == "CMYK":  # Pillow's own conversion may round otherwise than the file's
            assert int((read.images.int() - expected[:].int()).abs().max()) <= 1
        else:
            assert torch.equal(read.images[:], expected[:])


def test_a_picture_is_turned_and_laid_on_a_background(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(made("RGB"), tmp_path / "a.jpg", exif=exif, quality=95)
    assert nescio.image_set(turned).images.shape == (1, 3, 12, 20)
    info = PngImagePlugin.PngInfo()
    keyed = save(made("P"), tmp_path / "b.png", transparency=0, pnginfo=info)
    assert keyed.info["transparency"] == 0
    for background in ("black", "white"):
        read = nescio.image_set(keyed, reading=Reading(background=background))
        path = read_encoded(Files([tmp_path / "b.png"]), read.preprocessing).images
        assert torch.equal(read.images[:], path[:])
    # Dark ink on nothing, and nothing told of a background: it is found from all of them.
    ink = Image.fromarray(np.dstack([np.zeros((9, 9, 3), "u1"), np.eye(9, dtype="u1") * 255]))
    assert nescio.image_set([ink, ink]).images.unique().tolist() == [0, 255]


def test_sizes_and_colours_that_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 256, (30, 20, 3), "u1"), rng.integers(0, 256, (10, 10), "u1")
    Image.fromarray(two).save(tmp_path / "two.png")
    forms: list[Any] = [
        [one, two],
        [torch.from_numpy(one), two],
        [Image.fromarray(one), tmp_path / "two.png"],
        [one, str(tmp_path / "two.png")],
        np.array([one, two], dtype=object),
        Items([(one, 0), (two, 1)]),
    ]
    wanted = Reading(preprocessing=Preprocessing(3, 16, 16))
    first = nescio.image_set(forms[0], reading=wanted).images
    for held in forms:
        assert torch.equal(nescio.image_set(held, reading=wanted).images[:], first[:])
        assert nescio.image_set(held).images.shape == (2, 3, 20, 20)  # as of a folder
    large = [np.zeros((80, 90), "u1")] * 2
    for same in (large, np.stack(large), [Image.fromarray(large[0])] * 2):
        assert nescio.image_set(same).images.shape[2:] == (80, 90)
        small = read_data_like(same, Reading(image_size=9, fit="crop")).train
        shape = nescio.data.as_asked(Dataset("s", small), Reading(image_size=9, fit="crop"))
        found = shape.train.preprocessing
        assert (found.channels, found.height, found.width, found.fit) == (1, 9, 9, "crop")


def test_axes_may_be_told() -> None:
    both = torch.zeros(3, 28, 28, dtype=torch.uint8)
    assert len(nescio.image_set(both, axes="NHW")) == 3
    assert len(nescio.image_set(both, axes="CHW")) == 1
    assert len(nescio.image_set(both, labels=[0, 1, 2])) == 3
    for wrong in (pictures(), nescio.image_set(both), "digits"):
        with pytest.raises(UsageError, match=r"axes are|already"):
            nescio.image_set(wrong, axes="NHW")


def weighted() -> Any:
    return torch_data.DataLoader(TENSORS, sampler=torch_data.WeightedRandomSampler([1.0] * 40, 40))


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, r"got nothing \(None\); a set without a test split"),
    (lambda: 3, "got an object of type int"),
    (object, "got an object of type object"),
    (lambda: {"x": FLOATS}, "got an object of type dict"),
    (lambda: [], "there is no image"),
    (lambda: Items([]), "there is no image"),
    (lambda: (FLOATS, LABELS[:-1]), "40 images need 40 labels, got shape"),
    (lambda: (FLOATS * 2 - 1, LABELS), "leave out the normalisation"),
    (lambda: (FLOATS.reshape(40, -1), LABELS), "rows of pixels"),
    (lambda: (FLOATS, LABELS + 0.5), "labels"),
    (lambda: [FLOATS[0], None], r"images\[1\] is no picture but nothing"),
    (lambda: [FLOATS[0], FLOATS], "from image 1 on: images must have shape"),
    (lambda: [(FLOATS[0], 1), FLOATS[0]], "image 1 has no label, and others have one"),
    (lambda: Items([{"x": FLOATS[0]}]), "an item has x; its image is looked for as image, img"),
    (weighted, "draws images at random"),
    (lambda: torch_data.DataLoader(Items([])), "gives no batch"),
    (
        lambda: torch_data.DataLoader(Items([(picture, 0) for picture in pictures()])),
        "cannot put its items together .*PIL.*; give the Dataset itself",
    ),
    (lambda: ["no-such-file.png"], "no-such-file.png"),
    (lambda: "no-such-folder", "no such file or folder"),
]


@pytest.mark.parametrize(("held", "told"), WRONG)
def test_what_cannot_be_used_is_one_line(held: Callable[[], Any], told: str) -> None:
    with pytest.raises(NescioError, match=told) as raised:
        read_data_like(held(), Reading(labelled=False))
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, DataError | UsageError)


def test_memory_bounds_what_is_gathered() -> None:
    """Images that do not fit are refused before all are read, with what to do."""
    read = list[int]()

    class Large(Items):
        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return torch.zeros(1, 100, 100), 0

    reading = Reading(memory=50_000)
    for held in (Large([None] * 1000), torch_data.DataLoader(Large([None] * 1000), batch_size=4)):
        read.clear()
        with pytest.raises(
            DataError, match=r"more than 50,000 bytes of memory.*Reading\(memory=\)"
        ):
            read_data_like(held, reading)
        assert len(read) < 20
    small = replace(reading, preprocessing=Preprocessing(1, 2, 2))
    loader = torch_data.DataLoader(Large([None] * 20), batch_size=4)
    assert len(read_data_like(loader, small).train) == 20


def test_sets_that_are_to_be_refused() -> None:
    assert sources_of("noise") == ["noise"]
    assert sources_of(["noise", GREY]) == ["noise", GREY]
    for alone in (GREY, GREY.numpy(), SET, Dataset("s", SET), TENSORS, pictures()[0]):
        assert sources_of(alone)[0] is alone
    named = sources_of({"a": GREY, "b": TENSORS})
    assert [each.name for each in named] == ["a", "b"]
    with pytest.raises(UsageError, match="ood must be data sets"):
        sources_of(3)
