"""JPEG that lost its middle and kept, or got, a mark of its end: libjpeg fills what is missing."""

import io
import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nescio.decode import Decoding, decode_image
from nescio.errors import UnreadableImage

END = b"\xff\xd9"
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"subsampling": 0},
    {"subsampling": 2},
    {"optimize": True},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
)


def picture(kind: str, mode: str, size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (*size, 3), np.uint8)
    made = {
        "rough": rough,
        "striped": np.sort(rough, axis=0),
        "white": np.full_like(rough, 255),
        "black": np.zeros_like(rough),
        "grey": np.full_like(rough, 128),
    }
    return Image.fromarray(made[kind]).convert(mode)


def written(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def cut(content: bytes, share: float) -> bytes:
    """So much of the data of the last scan, and the mark of the end."""
    begin = content.rindex(b"\xff\xda") + 14
    return content[: begin + int((len(content) - len(END) - begin) * share)] + END


def check(content: bytes, least: tuple[int, int] | None) -> None:
    """Whole it is read, with its end or without; cut it is refused, or nothing is missing."""
    decoding = Decoding(reduce_to=least)
    whole = decode_image(io.BytesIO(content), decoding=decoding)
    assert (decode_image(io.BytesIO(content[: -len(END)]), decoding=decoding) == whole).all()
    grey = np.isin(whole, (127, 128)).all()
    for share in SHARES:
        part = io.BytesIO(cut(content, share))
        if grey and not is_refused(part, decoding):
            continue  # libjpeg fills with just that
        with pytest.raises(UnreadableImage, match="cut off"):
            decode_image(part, decoding=decoding)


def is_refused(file: io.BytesIO, decoding: Decoding) -> bool:
    try:
        decode_image(file, decoding=decoding)
    except UnreadableImage:
        return True
    return False


@pytest.mark.parametrize("least", [None, (8, 8)])
@pytest.mark.parametrize("options", OPTIONS[::2])
def test_what_is_missing_is_noticed(options: dict[str, Any], least: tuple[int, int] | None) -> None:
    check(written(picture("striped", "RGB", (61, 97)), **options), least)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_whatever_the_picture(mode: str, options: dict[str, Any]) -> None:
    for kind, size, least in itertools.product(
        ("rough", "striped", "white", "black", "grey"),
        ((64, 64), (61, 97), (130, 70)),
        (None, (8, 8), (16, 16)),
    ):
        check(written(picture(kind, mode, size), **options), least)


def check_every_cut(image: Image.Image, last: int | None, **options: Any) -> None:
    """Without the mark of its end it is refused, or shows the same, wherever it is cut."""
    content = written(image, **options)
    whole = decode_image(io.BytesIO(content))
    begin = content.rindex(b"\xff\xda") + 10 if last is None else len(content) - last
    for place in range(begin, len(content) - len(END)):
        try:
            found = decode_image(io.BytesIO(content[:place]))
        except UnreadableImage:
            continue
        assert found.shape == whole.shape, place
        assert (found == whole).all(), place


def test_a_cut_in_the_last_blocks_is_noticed() -> None:
    check_every_cut(picture("striped", "RGB", (12, 20)), 40, subsampling=0, quality=90)
    check_every_cut(picture("rough", "L", (12, 20)), 40)


@pytest.mark.slow
@pytest.mark.parametrize("options", [*OPTIONS[:4], {"quality": 95}, {"progressive": True}])
@pytest.mark.parametrize("kind", ["rough", "striped", "white", "black"])
def test_every_cut_is_noticed(kind: str, options: dict[str, Any]) -> None:
    check_every_cut(picture(kind, "RGB", (20, 28)), None, **options)


def test_a_whole_image_may_end_grey() -> None:
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 1}):
        content = written(picture("grey", "RGB", (40, 40)), **options)
        assert (decode_image(io.BytesIO(content)) == 128).all()


def test_a_component_that_is_missing_is_noticed() -> None:
    content = written(picture("striped", "RGB", (40, 40)))
    begin = content.index(b"\xff\xda")
    scan_of_one = bytes((0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0))
    with pytest.raises(UnreadableImage, match="scans are missing"):
        decode_image(io.BytesIO(content[:begin] + scan_of_one + content[begin + 14 :]))
