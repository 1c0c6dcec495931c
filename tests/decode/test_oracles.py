"""Decoding held to independent readers: tifffile, OpenCV and Pillow, over all that they write.

Each file is written from pixels that are known, read back by the oracle, brought to 8 bits by the
formula that the documents state, and compared with what is decoded here. What is refused must be
among the kinds that are meant to be.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nescio.decode import Decoding, decode_image, look_at_image
from nescio.errors import UnreadableImage

ROUNDING = 1
"""Levels by which 8 bits may differ: halves, and alpha."""

JPEG_ROUNDING = 4
"""Decoders of JPEG may round differently (T.83), and turn YCbCr into RGB differently."""

SIZE = 21, 37
BACKGROUND = "#206040"
TYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")

ORIENTED: dict[int, Any] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def pixels(dtype: str, channels: int, seed: int = 0) -> np.ndarray:
    """Smooth and rough parts, with the extreme values of the type; floats from -1 to 1."""
    rng = np.random.default_rng(seed)
    share = rng.random((*SIZE, channels))
    share[:8] = np.sort(share[:8], axis=1)
    share[0, 0], share[0, 1] = 0, 1
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (2 * share - 1).astype(kind)
    info = np.iinfo(kind)
    whole = np.round(info.min + share * (float(info.max) - float(info.min)))
    return np.clip(whole, info.min, info.max).astype(kind)


def range_of(dtype: np.dtype) -> tuple[float, float]:
    if dtype.kind == "f":
        return -1.0, 1.0
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


def to_bytes(values: np.ndarray) -> np.ndarray:
    low, high = range_of(values.dtype)
    return np.round((values.astype(np.float64) - low) / (high - low) * 255)


def composed(values: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """8 bits ``(H, W, 3)`` on the background; ``alpha`` from 0 to 1."""
    colours = np.repeat(values, 3, -1) if values.shape[-1] == 1 else values
    if alpha is None:
        return colours
    under = np.array([*bytes.fromhex(BACKGROUND[1:])], np.float64)
    return colours * alpha[..., None] + under * (1 - alpha[..., None])


def check(path: Path, expected: np.ndarray, decoding: Decoding, rounding: float = ROUNDING) -> None:
    """Compare with ``(H, W, 3)``."""
    found = decode_image(path, decoding=decoding)
    seen = look_at_image(path)
    assert (seen.height, seen.width) == found.shape[:2], path
    colours = found if found.ndim == 3 else np.repeat(found[..., None], 3, -1)
    assert colours.shape == expected.shape, path
    assert np.abs(colours.astype(float) - expected).max() <= rounding, path


LAYOUTS = {
    "grey": (1, "minisblack", ()),
    "white": (1, "miniswhite", ()),
    "rgb": (3, "rgb", ()),
    "rgba": (4, "rgb", ("unassalpha",)),
    "rgb-premultiplied": (4, "rgb", ("assocalpha",)),
    "grey-alpha": (2, "minisblack", ("unassalpha",)),
    "rgb-unspecified": (4, "rgb", ("unspecified",)),
    "grey-unspecified": (2, "minisblack", ("unspecified",)),
}
"""Channels, photometric kind and extra samples of TIFF files."""


def refused(dtype: str, layout: str) -> bool:
    """What could be read in two ways."""
    kind = np.dtype(dtype).kind
    return (
        (layout == "white" and kind != "u")
        or layout.endswith("unspecified")
        or (kind == "i" and LAYOUTS[layout][2] != ())
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_tifffile_writes_and_reads(dtype: str, layout: str, tmp_path: Path) -> None:
    channels, photometric, extra = LAYOUTS[layout]
    given = pixels(dtype, channels)
    if extra and given.dtype.kind == "f":
        given[..., -1] = np.abs(given[..., -1])
    count = 0
    for compression, predictor, order, tile, planar in itertools.product(
        (None, "zlib", "lzw", "packbits", "zstd"),
        (False, True),
        "<>",
        (None, (16, 32)),
        ("contig", "separate"),
    ):
        if predictor and compression not in ("zlib", "lzw"):
            continue
        big = count % 2 == 1
        stored = given if planar == "contig" else np.moveaxis(given, -1, 0)
        if channels == 1:
            stored = given[..., 0]
        path = tmp_path / f"{count}.tif"
        tifffile.imwrite(
            path,
            stored,
            photometric=photometric,
            planarconfig=planar if channels > 1 else None,
            extrasamples=extra,
            compression=compression,
            predictor=predictor,
            byteorder=order,
            tile=tile,
            bigtiff=big,
            rowsperstrip=None if tile else 8,
        )
        read = tifffile.imread(path)
        assert np.array_equal(read, stored)
        check_tiff(path, given, layout)
        count += 1
    assert count >= 12


def check_tiff(path: Path, given: np.ndarray, layout: str) -> None:
    extra = LAYOUTS[layout][2]
    decoding = Decoding(range_of(given.dtype), BACKGROUND)
    if refused(given.dtype.str[1:], layout):
        with pytest.raises(UnreadableImage, match="save it as PNG or JPEG"):
            decode_image(path, decoding=decoding)
        return
    values, alpha = given, None
    if layout == "white":
        values = np.iinfo(given.dtype).max - given
    if extra:
        high = range_of(given.dtype)[1]
        alpha = given[..., -1].astype(np.float64) / high
        values = given[..., :-1]
    if layout == "rgb-premultiplied":
        share = np.where(alpha > 0, alpha, 1)[..., None] if alpha is not None else 1
        values = values / share
        top = range_of(given.dtype)[1]
        values = values if given.dtype.kind == "f" else np.minimum(np.round(values), top)
        values = values.astype(given.dtype)
    shown = np.clip(to_bytes(values), 0, 255)
    check(path, composed(shown, alpha), decoding, ROUNDING + 0.5)


def test_a_few_of_them_at_once(tmp_path: Path) -> None:
    """Kinds that Pillow alone reads wrongly or not at all."""
    for number, (dtype, layout, planar) in enumerate(
        [
            ("u2", "rgb", "separate"),
            ("u2", "white", None),
            ("u4", "grey", None),
            ("i1", "grey", None),
            ("i2", "grey", None),
            ("u2", "rgba", "contig"),
            ("f4", "rgb-premultiplied", "separate"),
            ("u1", "grey-unspecified", "contig"),
        ]
    ):
        channels, photometric, extra = LAYOUTS[layout]
        given = pixels(dtype, channels)
        if extra and given.dtype.kind == "f":
            given[..., -1] = np.abs(given[..., -1])
        stored = np.moveaxis(given, -1, 0) if planar == "separate" else given
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(
            path,
            stored if channels > 1 else given[..., 0],
            photometric=photometric,
            planarconfig=planar,
            extrasamples=extra,
        )
        check_tiff(path, given, layout)


CV_WRITES = {
    ".png": ("u1", "u2"),
    ".tif": ("u1", "i1", "u2", "i2", "i4", "f4", "f8"),
    ".bmp": ("u1",),
    ".webp": ("u1",),
    ".jpg": ("u1",),
    ".ppm": ("u1", "u2"),
    ".pgm": ("u1", "u2"),
}


def cv_cases() -> list[tuple[str, str, int]]:
    cases = [(e, t, c) for e, types in CV_WRITES.items() for t in types for c in (1, 3, 4)]
    grey, colour, alpha = (".pgm",), (".ppm",), (".png", ".tif", ".webp", ".bmp")
    return [
        (ending, dtype, channels)
        for ending, dtype, channels in cases
        if not (ending in grey and channels != 1)
        and not (ending in colour and channels != 3)
        and not (channels == 4 and ending not in alpha)
        and not (ending == ".webp" and channels == 1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "dtype", "channels"), cv_cases())
def test_what_opencv_writes_and_reads(
    ending: str, dtype: str, channels: int, tmp_path: Path
) -> None:
    given = pixels(dtype, channels)
    if channels == 4 and given.dtype.kind == "f":
        given[..., 3] = np.abs(given[..., 3])
    path = tmp_path / f"file{ending}"
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else []
    assert cv2.imwrite(str(path), given, options)
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    read = read.reshape(*read.shape[:2], -1)
    values, alpha = read[..., :3][..., ::-1], None
    if read.shape[-1] == 4:
        alpha = read[..., 3].astype(np.float64) / range_of(read.dtype)[1]
    decoding = Decoding(range_of(read.dtype), BACKGROUND)
    if ending == ".tif" and channels == 4:  # it does not say what the fourth is
        with pytest.raises(UnreadableImage, match="save it as PNG or JPEG"):
            decode_image(path, decoding=decoding)
        return
    rounding = JPEG_ROUNDING if ending == ".jpg" else ROUNDING + 0.5
    check(path, composed(to_bytes(values), alpha), decoding, rounding)


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")
"""Of Pillow."""

WRITERS: dict[str, tuple[dict[str, Any], ...]] = {
    "PNG": ({}, {"bits": 4}, {"optimize": True}),
    "TIFF": tuple(
        {"compression": each}
        for each in (
            "raw",
            "tiff_lzw",
            "tiff_adobe_deflate",
            "packbits",
            "jpeg",
            "group4",
            "zstd",
            "lzma",
        )
    ),
    "JPEG": ({"quality": 95}, {"progressive": True}, {"subsampling": 0, "quality": 100}),
    "WEBP": ({"lossless": True}, {"lossless": True, "exact": True}),
    "BMP": ({},),
    "GIF": ({}, {"interlace": 0}),
    "PPM": ({},),
}


def of_mode(mode: str) -> Image.Image:
    rgba = Image.fromarray(pixels("u1", 4), "RGBA")
    if mode == "RGBA":
        return rgba
    if mode == "I;16":
        return Image.fromarray(pixels("u2", 1)[..., 0])
    if mode == "I":
        return Image.fromarray(pixels("u2", 1)[..., 0].astype(np.int32))
    if mode == "F":
        return Image.fromarray(pixels("f4", 1)[..., 0])
    if mode == "LA":
        return rgba.convert("LA")
    return rgba.convert("RGB").convert(mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", WRITERS)
def test_what_pillow_writes_and_reads(kind: str, mode: str, tmp_path: Path) -> None:
    image, written = of_mode(mode), 0
    for number, (options, turn) in enumerate(itertools.product(WRITERS[kind], ORIENTED)):
        path = tmp_path / f"{number}.{kind.lower()}"
        exif = Image.Exif()
        exif[0x0112] = turn
        tells = kind in ("PNG", "TIFF", "JPEG", "WEBP")
        try:
            image.save(path, kind, **options, **({"exif": exif} if tells else {}))
        except (OSError, ValueError, KeyError, RuntimeError, SystemError):
            continue  # Pillow writes no such file
        written += 1
        if is_refused(kind, mode, options.get("compression")):
            with pytest.raises(UnreadableImage, match=r"save it as PNG or JPEG|not an image that"):
                decode_image(path)
        else:
            check_pillow(path, kind, ORIENTED[turn] if tells else ORIENTED[1])
    if written == 0:
        pytest.skip(f"Pillow writes no {kind} of mode {mode}")


def is_refused(kind: str, mode: str, compression: str | None) -> bool:
    """JPEG in TIFF with alpha or inks, YCbCr whose subsampling is left open, and PFM."""
    if kind != "TIFF":
        return kind == "PPM" and mode == "F"
    if compression == "jpeg":
        return mode in ("LA", "RGBA", "CMYK")
    return mode == "YCbCr"


def check_pillow(path: Path, kind: str, turned: Any) -> None:
    # From memory: Pillow misreads sideways TIFF files that it maps.
    with Image.open(io.BytesIO(path.read_bytes())) as read:
        read.load()
    if kind == "TIFF":
        turned = ORIENTED[1]  # Pillow turns it itself
    if read.mode.startswith("I"):
        top = 65535.0
        decoding = Decoding((0.0, top), BACKGROUND)
        shown, alpha = np.round(np.asarray(read, np.float64)[..., None] / top * 255), None
    elif read.mode == "F":
        decoding = Decoding((-1.0, 1.0), BACKGROUND)
        shown, alpha = to_bytes(np.asarray(read)[..., None]), None
    else:
        decoding = Decoding(None, BACKGROUND)
        rgba = np.asarray(read.convert("RGBA"), np.float64)
        shown, alpha = rgba[..., :3], rgba[..., 3] / 255
    check(path, turned(composed(shown, alpha)), decoding, ROUNDING + 0.5)
