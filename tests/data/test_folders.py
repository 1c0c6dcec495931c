import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_support import Told

from nescio.data import Decoding, Preprocessing, decode_image, list_images, load, read_images, split
from nescio.data.class_numbers import natural_key
from nescio.errors import DataError, UnreadableImage


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def grey(value: int = 100, side: int = 4) -> np.ndarray:
    return np.full((side, side), value, np.uint8)


def test_classes_in_natural_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("class10", "class9", ".hidden"):
        save(tmp_path / name / "a.png", grey())
    save(tmp_path / "class9" / ".b.png", grey())
    dataset = load(tmp_path)
    assert dataset.classes == ("class9", "class10")
    assert len(dataset.train) == 2
    assert dataset.train.image_name(0).endswith("class9/a.png")


def test_train_and_test_folders(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for name in ("a", "b"):
            for i in range(count):
                save(tmp_path / part / name / f"{i}.png", grey())
    dataset = load(tmp_path)
    assert dataset.test is not None
    assert (len(dataset.train), len(dataset.test)) == (6, 4)
    assert dataset.train.require_labels().tolist() == [0, 0, 0, 1, 1, 1]
    save(tmp_path / "test" / "_c" / "0.png", grey())
    told = Told()
    dataset = load(tmp_path, reporter=told)
    assert dataset.test is not None
    assert dataset.classes == ("a", "b")
    # A class that training never sees comes last, whatever its name.
    assert dataset.test.classes == ("a", "b", "_c")
    assert sorted(dataset.test.require_labels().tolist()) == [0, 0, 1, 1, 2]
    assert any("class '_c' is in the test folder alone" in note for note in told.notes)
    shutil.rmtree(tmp_path / "test" / "b")
    told = Told()
    parts = split(load(tmp_path, reporter=told), calibration=0.3, test=0.0)
    assert sorted(parts.test.require_labels().tolist()) == [0, 0, 2]
    assert any("class 'b' has no images in the test folder" in note for note in told.notes)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "set" / "a" / f"{i}.png", grey())
    for name in ("b", "c"):
        for i in range(3):
            save(tmp_path / "elsewhere" / name / f"{i}.png", grey())
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "set" / "a" / "back").symlink_to(tmp_path / "set")
    dataset = load(tmp_path / "set")
    assert dataset.classes == ("a", "b", "c")
    assert dataset.train.require_labels().tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    (tmp_path / "set" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UnreadableImage, match=r"gone.png: no such file; .*--skip-unreadable"):
        load(tmp_path / "set")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("bus", "train"):
            save(tmp_path / part / name / "0.png", grey())
    dataset = load(tmp_path)
    assert dataset.test is not None
    assert dataset.train.require_labels().tolist() == [0, 1]
    assert dataset.test.require_labels().tolist() == [0, 1]


def test_empty_folder_one_class_and_empty_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in this folder"):
        load(tmp_path)
    save(tmp_path / "a" / "0.png", grey())
    with pytest.raises(DataError, match="at least two classes, found only the class 'a'"):
        load(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="the class 'b' has no images; add some or remove"):
        load(tmp_path)
    assert len(load(tmp_path, labelled=False).train) == 1


def test_flat_folder_without_labels(tmp_path: Path) -> None:
    save(tmp_path / "0.png", grey())
    with pytest.raises(DataError, match="no class folders"):
        load(tmp_path)
    images = load(tmp_path, labelled=False).train
    assert images.labels is None


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_bad_file_is_named(tmp_path: Path, content: bytes) -> None:
    save(tmp_path / "a" / "0.png", grey())
    save(tmp_path / "b" / "0.png", grey())
    bad = tmp_path / "b" / "1.png"
    bad.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"1\.png.*remove or replace it"):
        load(tmp_path)


def test_reading_goes_on_past_a_truncated_file(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{i}.png", grey(10 * i, 40)) for i in range(3)]
    files[1].write_bytes(files[1].read_bytes()[:60])
    result = read_images(files, Preprocessing(1, 40, 40))
    assert result.indices == (0, 2)
    assert result.images.shape == (2, 1, 40, 40)
    assert int(result.images[1, 0, 0, 0]) == 20
    assert [failure.index for failure in result.failures] == [1]
    assert "1.png" in result.failures[0].error


def test_orientation_palette_alpha_and_sixteen_bits(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert decode_image(tmp_path / "turned.png").tolist() == [[0], [255]]

    palette = Image.fromarray(np.full((2, 2, 3), (255, 0, 0), np.uint8)).convert("P")
    palette.save(tmp_path / "palette.png")
    assert decode_image(tmp_path / "palette.png")[0, 0].tolist() == [255, 0, 0]

    alpha = np.full((2, 2, 4), (200, 200, 200, 0), np.uint8)
    save(tmp_path / "alpha.png", alpha)
    assert decode_image(tmp_path / "alpha.png").tolist() == [[255, 255], [255, 255]]

    save(tmp_path / "deep.png", np.array([[0, 65535, 257]], np.uint16))
    assert decode_image(tmp_path / "deep.png").tolist() == [[0, 255, 1]]


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "large.png", grey(0, 100))
    few = Decoding(max_pixels=1000)
    with pytest.raises(
        UnreadableImage, match=r"large\.png: it has 10,000 pixels, more than the 1,000"
    ):
        decode_image(path, decoding=few)
    assert decode_image(path, decoding=Decoding(max_pixels=10_000)).shape == (100, 100)


def test_listing_and_natural_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.JPG", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert found == ["a.JPG", "b/2.png", "b/10.png"]
    assert natural_key("x9") < natural_key("x10")


@pytest.mark.mnist
def test_notmnist(own_data: Path) -> None:
    if not (own_data / "notmnist").is_dir():
        pytest.skip("NESCIO_DATA has no notmnist")
    images = load("notmnist", labelled=False).train
    assert len(images) == 459
    assert images.classes == tuple("ABCDEFGHIJ")
    # An I is taller than it is wide; transposed, as the article's loader had it, it is not.
    letter_i = images.images[images.require_labels() == 8].float().mean(0)[0]
    assert float(letter_i.mean(0).std()) > float(letter_i.mean(1).std())
