"""Files of every kind against pixels computed by hand, and files that nobody should trust."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nescio.decode import DEFAULT, Decoding, decode_image, look_at_image
from nescio.decode.png import PASSES, Png
from nescio.decode.raster import AT_ONCE, FACTOR
from nescio.errors import UnreadableImage

CORNERS = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
"""A grey image in which no two pixels are alike."""


BLACK = Decoding(background="#000000")


def decoded(
    image: Image.Image, kind: str, decoding: Decoding = DEFAULT, **options: object
) -> np.ndarray:
    content = io.BytesIO()
    image.save(content, kind, **options)
    content.seek(0)
    return decode_image(content, "made", decoding=decoding)


ORIENTED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 1),
}
"""How a stored image is to be shown, by its EXIF tag: EXIF 2.32, section 4.6.4."""


@pytest.mark.parametrize("tag", ORIENTED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_orientation(tag: int, kind: str, tmp_path: Path) -> None:
    image = Image.fromarray(CORNERS)
    exif = image.getexif()
    exif[0x0112] = tag
    shown = ORIENTED[tag](CORNERS)
    assert decoded(image, kind, exif=exif).tolist() == shown.tolist()
    image.save(tmp_path / "file", kind, exif=exif)
    seen = look_at_image(tmp_path / "file")
    assert (seen.height, seen.width) == shown.shape
    assert not seen.colour


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_grey_in_both_byte_orders(order: str) -> None:
    deep = np.array([[0, 257, 0x8080], [128, 129, 65535]], f"{order}u2")
    assert decoded(Image.fromarray(deep), "TIFF").tolist() == [[0, 1, 128], [0, 1, 255]]
    assert decoded(Image.fromarray(deep.astype("<u2")), "PNG").tolist() == [
        [0, 1, 128],
        [0, 1, 255],
    ]


def test_sixteen_bits_colour() -> None:
    # Pillow writes none, so the PNG is put together by hand: one pixel of 16-bit RGB.
    def chunk(kind: bytes, content: bytes) -> bytes:
        framed = kind + content
        return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x0101)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels))
    assert decode_image(io.BytesIO(png + chunk(b"IEND", b"")), "made").tolist() == [[[255, 128, 1]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 100.4, 255.0], [0, 100, 255])],
)
def test_floats(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    decoding = Decoding(value_range=(0.0, values[-1]))
    assert decoded(image, "TIFF", decoding).tolist() == [expected]


def test_floats_that_are_no_numbers() -> None:
    image = Image.fromarray(np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(UnreadableImage, match=r"made: .*not numbers"):
        decoded(image, "TIFF")


def test_one_bit() -> None:
    image = Image.fromarray(np.array([[True, False, True]]))
    assert image.mode == "1"
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        assert decoded(image, kind).tolist() == [[255, 0, 255]]


def test_palette_in_colour_in_grey_and_with_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putdata([0, 1, 2])
    image.putpalette([255, 0, 0, 0, 0, 255, 9, 9, 9])
    assert decoded(image, "PNG").tolist() == [[[255, 0, 0], [0, 0, 255], [9, 9, 9]]]
    assert decoded(image, "PNG", BLACK, transparency=1).tolist() == [
        [[255, 0, 0], [0, 0, 0], [9, 9, 9]]
    ]
    image.putpalette([7, 7, 7, 8, 8, 8, 9, 9, 9])
    assert decoded(image, "PNG").tolist() == [[7, 8, 9]]


def test_alpha_over_black() -> None:
    colour = Image.fromarray(np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8))
    assert decoded(colour, "PNG", BLACK).tolist() == [[[200, 100, 50], [0, 0, 0]]]
    half = Image.fromarray(np.array([[[200, 100, 50, 51]]], np.uint8))
    assert decoded(half, "PNG", BLACK).tolist() == [[[40, 20, 10]]]  # a fifth of each
    grey = Image.fromarray(np.array([[[200, 255], [200, 51]]], np.uint8))
    assert grey.mode == "LA"
    assert decoded(grey, "PNG", BLACK).tolist() == [[200, 40]]


def test_cmyk() -> None:
    inks = [(0, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]  # paper, red, black
    image = Image.new("CMYK", (48, 16))
    for place, ink in enumerate(inks):
        image.paste(ink, (16 * place, 0, 16 * place + 16, 16))
    for kind, options in (("TIFF", {}), ("JPEG", {"quality": 100})):
        pixels = decoded(image, kind, **options)
        found = pixels[8, [8, 24, 40]].astype(int)
        assert np.abs(found - [[255] * 3, [255, 0, 0], [0] * 3]).max() <= 3


def test_lab() -> None:
    # CIE L*a*b* of white, black and the sRGB red (53.24, 80.09, 67.20): IEC 61966-2-1, D65.
    lab = np.array([[[255, 0, 0], [0, 0, 0], [136, 80, 67]]], np.uint8)
    image = Image.frombytes("LAB", (3, 1), lab.tobytes())
    pixels = decoded(image, "TIFF").astype(int)
    assert np.abs(pixels[0, :2] - [[255] * 3, [0] * 3]).max() <= 2
    # Profiles adapt to another white (D50), which moves red a little.
    assert np.abs(pixels[0, 2] - [255, 0, 0]).max() <= 30


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (50, 250)]
    pixels = decoded(frames[0], kind, save_all=True, append_images=frames[1:], **_exact(kind))
    assert set(pixels.flatten().tolist()) == {50}


def _exact(kind: str) -> dict[str, bool]:
    return {"lossless": True} if kind == "WEBP" else {}


def test_colour_without_colour_is_grey() -> None:
    assert decoded(Image.new("RGB", (2, 1), (9, 9, 9)), "PNG").tolist() == [[9, 9]]
    assert decoded(Image.new("RGB", (2, 1), (9, 9, 8)), "PNG").shape == (1, 2, 3)


def bomb(side: int) -> bytes:
    """The beginning of a PNG of ``side`` by ``side`` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    framed = b"IHDR" + header
    content = struct.pack(">I", 13) + framed + struct.pack(">I", zlib.crc32(framed))
    data = b"IDAT" + zlib.compress(bytes(100))
    content += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("side", [10_000, 30_000])
@pytest.mark.parametrize("look", [decode_image, look_at_image])
def test_a_bomb_is_one_clear_line(side: int, look: Callable[..., object]) -> None:
    with pytest.raises(UnreadableImage) as caught:
        look(io.BytesIO(bomb(side)), "bomb.png")
    assert str(caught.value) == (
        f"bomb.png: it has {side**2:,} pixels, more than the 89,478,485 that are read, so make it "
        "smaller, or raise --max-pixels"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", b"\xff\xd8\xff\xe0", b"II*\0\xff\xff\xff\xff", b"RIFF\0\0\0\0WEBPVP8 "],
)
def test_broken_beginnings(content: bytes) -> None:
    with pytest.raises(UnreadableImage, match=r"^broken: ") as caught:
        decode_image(io.BytesIO(content), "broken")
    assert "\n" not in str(caught.value)


def test_formats_that_are_not_asked_for(tmp_path: Path) -> None:
    Image.fromarray(CORNERS).save(tmp_path / "a.png", "TGA")
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(tmp_path / "a.png")


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_large_png_comes_in_bands_that_are_small(interlaced: bool) -> None:
    """Other threads wait for each: some steps of Pillow hold Python's lock."""
    side = 1200
    values = np.arange(side * side, dtype=np.uint32).astype(np.uint8).reshape(side, side)
    file = io.BytesIO(png_file(values, interlaced=interlaced))
    bands = [band.values for band in Png.open(file).bands()]
    assert len(bands) > 1
    assert all(band.size <= AT_ONCE for band in bands)
    assert all(len(band) % FACTOR == 0 for band in bands[:-1])
    assert (np.concatenate(bands) == values).all()


def png_file(values: np.ndarray, *, interlaced: bool) -> bytes:
    """Grey pixels ``(H, W)`` uint8, without filters."""
    passes = PASSES if interlaced else ((0, 1, 0, 1),)
    parts = [values[top::down, left::right] for top, down, left, right in passes]
    lines = b"".join(b"\0" + row.tobytes() for part in parts for row in part if row.size)
    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def test_a_tiff_with_a_wrong_checksum_is_refused() -> None:
    content = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    Image.fromarray(values).save(content, "TIFF", compression="tiff_adobe_deflate")
    whole = bytearray(content.getvalue())
    with Image.open(content) as image:
        place = image.tag_v2[273][0]
    assert (decode_image(io.BytesIO(whole)) == values).all()
    whole[place + 100] ^= 1
    with pytest.raises(UnreadableImage, match="a strip or tile is damaged"):
        decode_image(io.BytesIO(whole), "x.tif")
