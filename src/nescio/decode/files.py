"""Decode one image file: whatever it holds, as grey or colour of 8 bits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from nescio.decode.decoding import DEFAULT, Decoding
from nescio.errors import UnreadableImage

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What Pillow may decode; a file cannot choose an exotic decoder."""

ORIENTATION = 0x0112
"""The EXIF tag; from 5 on an image lies on its side."""

COLOURLESS = ("1", "L", "LA", "I", "F")
"""Pillow's modes without colour, and all that begin with ``I;``."""

TRANSPARENT = ("LA", "La", "RGBA", "RGBa", "PA")
"""Pillow's modes with alpha."""

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Look:
    """What the beginning of a file tells; nothing is decoded for it.

    Attributes:
        height: As it will be shown, in pixels.
        width: Likewise.
        colour: Whether it may have colour.
        deep: Whether its pixels have more than 8 bits, or may be negative or floats.
        transparent: Whether parts of it may be transparent.
    """

    height: int
    width: int
    colour: bool
    deep: bool
    transparent: bool


def decode_image(
    source: Path | BinaryIO,
    name: str = "",
    formats: tuple[str, ...] = FORMATS,
    decoding: Decoding = DEFAULT,
) -> Pixels:
    """Decode one file: ``(H, W)`` when grey, ``(H, W, 3)`` when coloured; uint8.

    The EXIF orientation is applied, and of an animation the first frame counts. Palettes, CMYK,
    LAB and other colour spaces become RGB; what has no colour in it is grey, however it was stored.

    Args:
        source: The file, or its content.
        name: What to call it in errors; the path itself when empty.
        formats: Which of :data:`FORMATS` it may have.
        decoding: What becomes of deep images, of transparent parts and of large images.

    Raises:
        UnreadableImage: It cannot be decoded, is empty, or is absurdly large.
    """
    name = name or str(source)
    with _explained(name, decoding), Image.open(source, formats=formats) as image:
        _check_size(image, decoding)
        return _pixels(ImageOps.exif_transpose(image), decoding)


def look_at_image(
    source: Path | BinaryIO,
    name: str = "",
    formats: tuple[str, ...] = FORMATS,
    decoding: Decoding = DEFAULT,
) -> Look:
    """What kind of image :func:`decode_image` will give.

    Only the beginning of the file is read.

    Raises:
        UnreadableImage: It is no image, or absurdly large.
    """
    name = name or str(source)
    with _explained(name, decoding), Image.open(source, formats=formats) as image:
        _check_size(image, decoding)
        size = image.height, image.width
        if isinstance(image, TiffImageFile):  # some versions of Pillow have turned it already
            size = image.tag_v2[IMAGELENGTH], image.tag_v2[IMAGEWIDTH]
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        height, width = size[::-1] if turned else size
        return Look(height, width, _has_colour(image), _is_deep(image), _is_transparent(image))


@dataclass(frozen=True)
class Measure:
    """What a set's range and background are found from.

    Attributes:
        low: The least value of a deep image; 0 of others.
        high: The largest.
        floating: Whether they are floats.
        ink: How bright the visible parts of an image are that is transparent elsewhere, 0 to 255;
            ``None`` where nothing of it is transparent.
    """

    low: float = 0.0
    high: float = 0.0
    floating: bool = False
    ink: float | None = None


def measure_image(
    source: Path | BinaryIO,
    name: str = "",
    decoding: Decoding = DEFAULT,
) -> Measure:
    """Decode one file for its values as they are, and for how bright its visible parts are.

    Raises:
        UnreadableImage: It cannot be decoded.
    """
    name = name or str(source)
    with _explained(name, decoding), Image.open(source, formats=FORMATS) as image:
        _check_size(image, decoding)
        if _is_deep(image):
            values = _values(image)
            return Measure(float(values.min()), float(values.max()), image.mode == "F")
        if not _is_transparent(image):
            return Measure()
        grey, alpha = (
            np.asarray(band, np.float64) for band in image.convert("RGBA").convert("LA").split()
        )
        ink = (
            float((grey * alpha).sum() / alpha.sum()) if alpha.any() and alpha.min() < 255 else None
        )
        return Measure(ink=ink)


@contextmanager
def _explained(name: str, decoding: Decoding) -> Iterator[None]:
    """Every way in which Pillow fails, in one line."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are suspiciously large and refuses larger ones.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    except UnreadableImage as error:
        raise UnreadableImage(f"{name}: {error}") from None
    except FileNotFoundError:
        raise UnreadableImage(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise UnreadableImage(f"{name}: not an image, or its beginning is damaged") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadableImage(
            f"{name}: it has more than the {decoding.max_pixels:,} pixels that are read, so make "
            "it smaller"
        ) from None
    except Exception as error:
        # Decoders fail on hostile files in many ways; each means the same to the user.
        why = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"{name}: not a readable image ({why})") from error


def _check_size(image: Image.Image, decoding: Decoding) -> None:
    """Pillow's own warning comes and goes where several threads set filters."""
    if image.width * image.height > decoding.max_pixels:
        raise Image.DecompressionBombError


def _pixels(image: Image.Image, decoding: Decoding) -> Pixels:
    if image.width == 0 or image.height == 0:
        raise UnreadableImage("it has no pixels")
    if _is_deep(image):
        return _deep(image, decoding)
    if _is_transparent(image):
        under = Image.new("RGBA", image.size, (*decoding.background_rgb, 255))
        image = Image.alpha_composite(under, image.convert("RGBA")).convert("RGB")
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


def _deep(image: Image.Image, decoding: Decoding) -> Pixels:
    """Grey of more than 8 bits."""
    values = _values(image)
    low, high = decoding.value_range or ((0.0, 1.0) if image.mode == "F" else (0.0, 65535.0))
    if decoding.value_range is None and (values.min() < low or values.max() > high):
        raise UnreadableImage(
            f"its values go from {values.min():g} to {values.max():g}, and nothing says which of "
            "them is black and which white; save it as PNG or JPEG, or train with --value-range"
        )
    return np.clip(np.round((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def _values(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise UnreadableImage("some of its pixels are not numbers")
    return values


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in TRANSPARENT or "transparency" in image.info


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None  # noqa: S101 - only a conversion in place gives none
    return converted


def _has_colour(image: Image.Image) -> bool:
    return image.mode not in COLOURLESS and not image.mode.startswith("I;")
