"""One range for the deep images of a set, one background for its transparent ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_support import Told

import nescio
from nescio.data.ranges import value_range_of
from nescio.decode import OLDER, Decoding, Measure, parse_background, parse_value_range
from nescio.errors import DataError, UnreadableImage, UsageError


def whole(*pairs: tuple[float, float]) -> list[Measure]:
    return [Measure(low, high) for low, high in pairs]


def floats(*pairs: tuple[float, float]) -> list[Measure]:
    return [Measure(low, high, floating=True) for low, high in pairs]


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        (whole((3, 4000), (0, 900)), (0, 4095)),
        (whole((3, 200)), (0, 255)),
        (whole((0, 4096)), (0, 16383)),
        (whole((0, 65535)), (0, 65535)),
        (whole((-1024, 3071), (-1000, 900)), (-1024, 3071)),
        (whole((0, 70_000), (5, 1_000_000)), (0, 1_000_000)),
        (whole((7, 7)), (0, 255)),
        (floats((0.1, 0.97), (0.0, 1.0)), (0, 1)),
        (floats((0.1, 0.97), (0.0, 1.02)), (0, 1.02)),
        (floats((-1.0, 1.0), (0, 0.3)), (-1, 1)),
        (floats((0.0, 255.0)), (0, 255)),
        (floats((0.0, 0.1)), (0, 0.1)),
        (floats((280.0, 310.0)), (280, 310)),
        (floats((2.0, 2.0)), (2, 3)),
    ],
)
def test_one_range_for_a_set(measures: list[Measure], expected: tuple[float, float]) -> None:
    assert value_range_of(measures) == expected


def test_a_few_broken_pixels_do_not_decide() -> None:
    sound = floats(*[(0.0, 0.9)] * 59)
    assert value_range_of([*sound, *floats((0.0, 70.0))]) == (0, 1)
    assert value_range_of([*sound, *floats(*[(0.0, 70.0)] * 9)]) == (0, 255)
    assert value_range_of(whole(*[(0, 4000)] * 39, (0, 65535))) == (0, 4095)


def test_whole_numbers_and_floats_have_no_range_in_common() -> None:
    with pytest.raises(DataError, match=r"1 images hold whole numbers .* 2 hold floats"):
        value_range_of([*whole((0, 9)), *floats((0, 1), (0, 1))])


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("memory", [2**30, 0])
def test_a_hot_pixel_changes_itself_alone(
    stream: bool, memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("a", "b"):
        for number in range(3):
            pixels = np.linspace(0, 0.97, 16, dtype=np.float32).reshape(4, 4)
            save(tmp_path / f"set/{name}/{number}.tif", pixels)
    told = Told()
    reading = nescio.Reading(memory=memory, stream=stream, image_size=4, colour="grey")
    images = nescio.load(tmp_path / "set", reading=reading, reporter=told).train
    assert images.decoding.value_range == images.preprocessing.decoding.value_range == (0, 1)
    assert "6 images of more than 8 bits: 0 becomes black and 1 white" in " ".join(told.notes)
    hot = np.linspace(0, 0.97, 16, dtype=np.float32).reshape(4, 4)
    hot[0, 0] = 1.02
    save(tmp_path / "new/hot.tif", hot)
    new = nescio.load(tmp_path / "new", labelled=False, preprocessing=images.preprocessing).train
    first, other = images.images[:1][0, 0].numpy(), new.images[:1][0, 0].numpy()
    assert other[0, 0] == 255
    assert first.flatten()[1:].tolist() == other.flatten()[1:].tolist()


def test_a_range_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}/0.png", np.full((4, 4), 1000, np.uint16))
        save(tmp_path / f"{name}/1.png", np.full((4, 4), 100, np.uint8))
    reading = nescio.Reading(value_range=(0.0, 2000.0))
    images = nescio.load(tmp_path, reading=reading).train
    assert images.decoding.value_range == (0, 2000)
    assert [int(image.max()) for image in images.images] == [128, 100] * 2  # 8 bits stay


def test_without_a_range_what_is_not_sure_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "ct.tif", np.array([[-1000, 400]], np.int32))
    with pytest.raises(UnreadableImage, match=r"ct\.tif: its values \(int32, from -1000 to 400\)"):
        nescio.load(tmp_path, labelled=False, preprocessing=nescio.Preprocessing(1, 4, 4))


def test_what_is_said_of_images_that_are_unlike_those_trained_on(tmp_path: Path) -> None:
    save(tmp_path / "deep.png", np.array([[0, 3000]], np.uint16))
    save(tmp_path / "plain.png", np.array([[0, 200]], np.uint8))
    unknown = nescio.Preprocessing(1, 4, 4)
    told = Told()
    nescio.load(tmp_path, labelled=False, preprocessing=unknown, reporter=told)
    (note,) = told.notes
    assert "1 image has more than 8 bits, for which no range is known" in note
    assert "deep.png" in note
    known = nescio.Preprocessing(1, 4, 4, decoding=Decoding((0.0, 2000.0)))
    told = Told()
    nescio.load(tmp_path, labelled=False, preprocessing=known, reporter=told)
    (note,) = told.notes
    assert "1 image has values outside 0 to 2000, which were cut" in note


def test_a_range_that_changes_nothing_is_told(tmp_path: Path) -> None:
    save(tmp_path / "plain.png", np.array([[0, 200]], np.uint8))
    told = Told()
    reading = nescio.Reading(value_range=(0.0, 2000.0), labelled=False)
    nescio.load(tmp_path, reading=reading, reporter=told)
    assert any("so that --value-range changes none" in note for note in told.notes)


def test_why_none_can_be_read_is_told(tmp_path: Path) -> None:
    save(tmp_path / "large.png", np.zeros((40, 40), np.uint8))
    few = nescio.Reading(max_pixels=100, skip_unreadable=True, labelled=False)
    with pytest.raises(UnreadableImage, match=r"none of 1 .*large\.png: it has 1,600 pixels"):
        nescio.load(tmp_path, reading=few)


@pytest.mark.parametrize(("ink", "expected"), [(0, "#ffffff"), (250, "#000000")])
def test_ink_stays_visible(ink: int, expected: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        drawn = np.full((4, 4, 4), (ink, ink, ink, 0), np.uint8)
        drawn[1, :, 3] = 255
        save(tmp_path / f"{name}/0.png", drawn)
    images = nescio.load(tmp_path).train
    assert images.decoding.background == expected
    assert images.images[0, 0, 1].unique().tolist() == [ink]
    assert images.images[0, 0, 0].unique().tolist() == [255 - 255 * (ink > 127)]


def test_a_background_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}/0.png", np.zeros((4, 4, 4), np.uint8))
    images = nescio.load(tmp_path, reading=nescio.Reading(background="#FF8000")).train
    assert images.images[0, :, 0, 0].tolist() == [255, 128, 0]


def test_options_in_words() -> None:
    assert parse_value_range("-1024:3071") == (-1024, 3071)
    assert parse_value_range(None) is None
    for text in ("1", "1:1", "2:1", "a:b", "0:nan", "0:inf"):
        with pytest.raises(UsageError, match="--value-range must be LOW:HIGH"):
            parse_value_range(text)
    assert [parse_background(text) for text in ("auto", "Black", "#FFaa00")] == [
        None,
        "#000000",
        "#ffaa00",
    ]
    with pytest.raises(UsageError, match="--background must be"):
        parse_background("green")


def test_older_models_lay_on_black_and_reduce_nothing() -> None:
    older = nescio.Preprocessing.from_json({"channels": 1, "height": 8, "width": 8, "fit": "pad"})
    assert older.decoding == OLDER == Decoding(background="#000000")
    new = nescio.Preprocessing(1, 8, 8, decoding=Decoding((0.0, 4095.0), reduce_to=(16, 16)))
    assert Decoding.from_json(new.decoding.to_json()) == new.decoding
