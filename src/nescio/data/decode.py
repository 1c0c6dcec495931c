"""Decode one image file: whatever it holds, as grey or colour of 8 bits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from nescio.errors import UnreadableImage

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What Pillow may decode; a file cannot choose an exotic decoder."""

ORIENTATION = 0x0112
"""The EXIF tag; from 5 on an image lies on its side."""

COLOURLESS = ("1", "L", "LA", "I", "F")
"""Pillow's modes without colour, and all that begin with ``I;``."""

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


def decode_image(
    source: Path | BinaryIO, name: str = "", formats: tuple[str, ...] = FORMATS
) -> Pixels:
    """Decode one file: ``(H, W)`` when grey, ``(H, W, 3)`` when coloured; uint8.

    The EXIF orientation is applied, transparency shows black, 16 bits become 8, and of
    an animation the first frame counts. Palettes, CMYK, LAB and other colour spaces become RGB;
    what has no colour in it is grey, however it was stored.

    Args:
        source: The file, or its content.
        name: What to call it in errors; the path itself when empty.
        formats: Which of :data:`FORMATS` it may have.

    Raises:
        UnreadableImage: It cannot be decoded, is empty, or is absurdly large.
    """
    name = name or str(source)
    with _explained(name), Image.open(source, formats=formats) as image:
        _check_size(image)
        return _pixels(ImageOps.exif_transpose(image))


def look_at_image(
    source: Path | BinaryIO, name: str = "", formats: tuple[str, ...] = FORMATS
) -> tuple[tuple[int, int], bool]:
    """The size ``(H, W)`` that :func:`decode_image` will give, and whether it may have colour.

    Only the beginning of the file is read.

    Raises:
        UnreadableImage: It is no image, or absurdly large.
    """
    name = name or str(source)
    with _explained(name), Image.open(source, formats=formats) as image:
        _check_size(image)
        size = image.height, image.width
        if isinstance(image, TiffImageFile):  # some versions of Pillow have turned it already
            size = image.tag_v2[IMAGELENGTH], image.tag_v2[IMAGEWIDTH]
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return size[::-1] if turned else size, _has_colour(image)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Every way in which Pillow fails, in one line."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are suspiciously large and refuses larger ones.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    except FileNotFoundError:
        raise UnreadableImage(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise UnreadableImage(f"{name}: not an image, or its beginning is damaged") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"than the {Image.MAX_IMAGE_PIXELS:,} " if Image.MAX_IMAGE_PIXELS else ""
        raise UnreadableImage(
            f"{name}: it has more {limit}pixels that are read, so make it smaller"
        ) from None
    except Exception as error:
        # Decoders fail on hostile files in many ways; each means the same to the user.
        why = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"{name}: not a readable image ({why})") from error


def _check_size(image: Image.Image) -> None:
    """Pillow's own warning comes and goes where several threads set filters."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise Image.DecompressionBombError


def _pixels(image: Image.Image) -> Pixels:
    if image.width == 0 or image.height == 0:
        raise UnreadableImage("it has no pixels")
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image)
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        over = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")
    if image.mode == "LAB":
        image = _lab_to_rgb(image)
    pixels = np.asarray(image.convert("RGB" if _has_colour(image) else "L"), np.uint8)
    if (
        pixels.ndim == 3
        and np.array_equal(pixels[..., 0], pixels[..., 1])
        and np.array_equal(pixels[..., 1], pixels[..., 2])
    ):
        return pixels[..., 0]
    return pixels


def _deep(image: Image.Image) -> Pixels:
    """Grey of more than 8 bits: whole numbers of 16, or floats in [0, 1], [0, 255] or 16 bits."""
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise UnreadableImage("some of its pixels are not numbers")
    scale = 257.0
    if image.mode == "F":
        most = values.max()
        scale = 1 / 255 if most <= 1 else 1.0 if most <= 255 else 257.0
    return np.clip(np.round(values / scale), 0, 255).astype(np.uint8)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None  # noqa: S101 - only a conversion in place gives none
    return converted


def _has_colour(image: Image.Image) -> bool:
    return image.mode not in COLOURLESS and not image.mode.startswith("I;")
