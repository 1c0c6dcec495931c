"""WebP, AVIF and JPEG as other libraries write and read them, and what arithmetic codes say."""

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from nescio.decode import decode_image

ROUNDING = 1.5
"""Levels by which alpha may round otherwise."""

LOSSY = 4
"""Levels by which arithmetic codes of quality 90 are away from what was written."""

HEIGHT, WIDTH = 21, 37


def pixels(channels: int) -> np.ndarray:
    """``(H, W, C)`` uint8, smooth and with edges."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = x * 7, y * 11, (x + y) * 5, x * 6 + 40
    return (np.stack(planes[:channels], -1) % 256).astype(np.uint8)


def on_white(values: np.ndarray, most: int = 255) -> np.ndarray:
    """What an oracle read, as 8 bits ``(H, W, 3)``."""
    shown = values.astype(float) * (255 / most)
    shown = shown[..., None] if shown.ndim == 2 else shown
    if shown.shape[-1] in (2, 4):
        alpha = shown[..., -1:] / 255
        shown = np.round(shown[..., :-1]) * alpha + 255 * (1 - alpha)
    return np.repeat(shown, 3, -1) if shown.shape[-1] == 1 else shown


def check(content: bytes, expected: np.ndarray, rounding: float = ROUNDING) -> None:
    found = decode_image(io.BytesIO(content))
    colours = found if found.ndim == 3 else np.repeat(found[..., None], 3, -1)
    assert colours.shape == expected.shape
    assert np.abs(colours.astype(float) - expected).max() <= rounding


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


ARITHMETIC = {
    "sequential": """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQ
ERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU
FBQUFBQUFBQUFBQUFBT/yQARCAAMABQDAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ANyz52JrIUwQqIWZ
urosssOVyof9iHOTy6vJL3BjkeAF/QB1PFyWKfVxs6nSPJFzDl3HHOmCkyzrYHGeTDUBTrnAJ8S/H8//ADxIMNBHBVCz1dm7
9tlKSjUaSzC7W3/HVnUOA23WKKHlUP/Z
""",
    "progressive": """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQ
ERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU
FBQUFBQUFBQUFBQUFBT/ygARCAAMABQDAREAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8AuWfY8z28/rbtZdmpH3Qo
/wDC8Gcgqmj/zAAEEAX/2gAIAQEAAQUCFZt5iqWgJh8MN2sfmIgs37D/zAAEEQX/2gAIAQMBAT8BFZxipNh/biGGgV7TArtH
+nidE58U/8wABBEF/9oACAECAQE/ARfBwP6CO4cG4sD/zAAEEAX/2gAIAQEABj8CYcQ1ov/MAAQQBf/aAAgBAQABPyEnWtF9
2P/aAAwDAQACAAMAAAAQ7sGg/8wABBEF/9oACAEDAQE/ENdCEEe3oP/MAAQRBf/aAAgBAgEBPxCmG8x1Zf/MAAQQBf/aAAgB
AQABPxBRZ+O2ltG0Rv/Z
""",
}
"""12 rows of 20 pixels, written by cjpeg -arithmetic -quality 90 -sample 1x1."""


@pytest.mark.skipif(not features.check("jpg"), reason="this Pillow reads no JPEG")
@pytest.mark.parametrize("kind", ARITHMETIC)
def test_arithmetic_codes(kind: str) -> None:
    y, x = np.mgrid[:12, :20]
    content = base64.b64decode(ARITHMETIC[kind])
    check(content, np.stack([x * 12, y * 20, (x + y) * 7], -1), LOSSY)


def test_of_a_moving_webp_the_first_picture_laid_on_the_background() -> None:
    other = Image.new("RGBA", (WIDTH, HEIGHT), (1, 2, 3, 255))
    content = written(
        Image.fromarray(pixels(4)),
        "WEBP",
        lossless=True,
        exact=True,
        save_all=True,
        append_images=[other],
    )
    check(content, on_white(pixels(4)))


def webps() -> Iterator[bytes]:
    for channels in (3, 4):
        image = Image.fromarray(pixels(channels))
        for options in ({"lossless": True}, {"lossless": True, "exact": True}, {"quality": 80}):
            for more in ((), (Image.new(image.mode, image.size),)):
                yield written(image, "WEBP", save_all=bool(more), append_images=more, **options)


@pytest.mark.slow
def test_webp() -> None:
    codecs = pytest.importorskip("imagecodecs")
    for content in webps():
        read = codecs.webp_decode(content)
        check(content, on_white(read[0] if read.ndim == 4 else read))
    for channels in (3, 4):
        for options in ({"lossless": True}, {"level": 70}):
            content = codecs.webp_encode(pixels(channels), **options)
            check(content, on_white(codecs.webp_decode(content)))


@pytest.mark.slow
@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif() -> None:
    codecs = pytest.importorskip("imagecodecs")
    for bits in (8, 10, 12):
        most = 2**bits - 1
        for channels in (1, 3, 4):
            given = np.round(pixels(channels) * (most / 255)).astype("u1" if bits == 8 else "u2")
            given = given[..., 0] if channels == 1 else given
            content = codecs.avif_encode(given, level=100, bitspersample=bits)
            check(content, on_white(codecs.avif_decode(content), most))
    for channels in (1, 2, 3, 4):
        given = pixels(channels)
        image = Image.fromarray(given[..., 0] if channels == 1 else given)
        for more in ((), (Image.new(image.mode, image.size),)):
            content = written(image, "AVIF", save_all=bool(more), append_images=more)
            read = codecs.avif_decode(content)
            check(content, on_white(read[0] if more else read))


TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    3: lambda a: np.rot90(a, 2),
    6: lambda a: np.rot90(a, -1),
    8: np.rot90,
}


@pytest.mark.slow
@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("tag", TURNED)
def test_avif_is_shown_the_right_way_up(tag: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    image = Image.fromarray(pixels(3))
    content = written(image, "AVIF", exif=exif, quality=100, subsampling="4:4:4")
    check(content, TURNED[tag](pixels(3)), LOSSY)


@pytest.mark.slow
def test_jpeg() -> None:
    codecs = pytest.importorskip("imagecodecs")
    for kind in ("YCBCR", "RGB"):
        for subsampling in ("444", "422", "420") if kind == "YCBCR" else ("444",):
            content = codecs.jpeg8_encode(
                pixels(3), level=90, outcolorspace=kind, subsampling=subsampling
            )
            check(content, codecs.jpeg8_decode(content).astype(float))
    for options in ({}, {"progressive": True}, {"subsampling": 2, "progressive": True}):
        for channels in (1, 3):
            given = pixels(channels)
            image = Image.fromarray(given[..., 0] if channels == 1 else given)
            content = written(image, "JPEG", **options)
            check(content, on_white(codecs.jpeg8_decode(content)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["CMYK", "YCCK"])
def test_inks_are_stored_inverted(kind: str) -> None:
    codecs = pytest.importorskip("imagecodecs")
    given = pixels(4)
    content = codecs.jpeg8_encode(given, level=98, colorspace="CMYK", outcolorspace=kind)
    light = codecs.jpeg8_decode(content).astype(float)  # how little of each ink, as stored
    assert np.abs(light - given).mean() < LOSSY
    check(content, light[..., :3] * light[..., 3:] / 255)
