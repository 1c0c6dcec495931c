"""What the readers of formats give: facts about an image, and its samples, band by band."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageCms

from nescio.decode.exif import SIDEWAYS
from nescio.errors import UnreadableImage

Samples: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

FACTOR = 8
"""The most by which an image is reduced while it is decoded; bands are as many rows, or several
times as many."""

AT_ONCE = 2**20
"""Pixels of a band, so that what is computed of it stays small, and other threads get their turn:
some steps of Pillow hold Python's lock."""


@dataclass(frozen=True)
class Facts:
    """What the beginning of a file tells.

    Attributes:
        height: As it is stored, in pixels.
        width: Likewise.
        colour: Whether it may have colour.
        deep: Whether its samples are others than unsigned of at most 8 bits.
        transparent: Whether parts of it may be transparent.
        orientation: See :func:`nescio.decode.exif.orientation_of`.
        weight: The bytes of a pixel while it is decoded.
        reduced: By how much the decoder itself reduces both sides: 1, 2, 4 or 8.
    """

    height: int
    width: int
    colour: bool
    deep: bool = False
    transparent: bool = False
    orientation: int = 1
    weight: int = 4
    reduced: int = 1

    @property
    def shown(self) -> tuple[int, int]:
        """``(H, W)`` once it is the right way up."""
        if self.orientation in SIDEWAYS:
            return self.width, self.height
        return self.height, self.width

    @property
    def counted(self) -> int:
        """Pixels; one that takes more than eight bytes counts for several."""
        return self.area * max(8, self.weight) // 8

    @property
    def area(self) -> int:
        """Pixels."""
        return self.height * self.width

    def factor(self, least: tuple[int, int] | None) -> int:
        """By how much both sides may be reduced: 1, 2, 4 or 8.

        Args:
            least: ``(H, W)`` that must be left, as it is shown; ``None`` to reduce nothing.
        """
        if least is None:
            return 1
        ratio = min(have // want for have, want in zip(self.shown, least, strict=True))
        return 1 << min(max(1, ratio), FACTOR).bit_length() - 1


@dataclass(frozen=True)
class Band:
    """Some rows of an image.

    Attributes:
        values: ``(h, W)`` or ``(h, W, 3)``, of any type of number; uint8 is what is shown.
        alpha: ``(h, W)`` uint8, 0 where nothing is seen; ``None`` where all is.
        full: The values of black and white if nothing else is known; ``None`` where there are none.
    """

    values: Samples
    alpha: Pixels | None = None
    full: tuple[float, float] | None = None


class Opened(Protocol):
    """A file of one format, of which nothing is decoded yet."""

    @property
    def facts(self) -> Facts:
        """What its beginning tells."""
        ...

    def bands(self) -> Iterator[Band]:
        """Decode it from top to bottom; all bands but the last are of a multiple of 8 rows.

        They are reduced already by what the facts say.
        """
        ...


def check_pixels(area: int, most: int, counted: int | None = None) -> None:
    """See that an image is not absurdly large.

    Args:
        area: Its pixels.
        most: That may be.
        counted: For how many they count, where that is more.

    Raises:
        UnreadableImage: It is.
    """
    counted = counted or area
    if counted > most:
        count_for = f" (of many bytes: they count for {counted:,})" if counted > area else ""
        raise UnreadableImage(
            f"it has {area:,} pixels{count_for}, more than the {most:,} that are read, so make it "
            "smaller, or raise --max-pixels"
        )


def in_bands(
    values: Samples, alpha: Pixels | None, full: tuple[float, float] | None = None
) -> Iterator[Band]:
    """An image that is decoded already, band by band."""
    rows = rows_of(values.shape[1])
    for top in range(0, len(values), rows):
        part = slice(top, top + rows)
        yield Band(values[part], None if alpha is None else alpha[part], full)


def rows_of(width: int) -> int:
    """How many rows of that width make a band."""
    return max(1, AT_ONCE // max(1, width) // FACTOR) * FACTOR


def bands_of(image: Image.Image, *, opaque: bool = False) -> Iterator[Band]:
    """An image of Pillow, decoded, as grey or RGB of 8 bits.

    Args:
        image: Of any mode with 8 bits or fewer.
        opaque: Whether its alpha means nothing.
    """
    rows = rows_of(image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        whole = image.height <= rows
        part = image if whole else image.crop((0, top, image.width, bottom))
        yield _band_of(part, opaque=opaque)


def is_transparent(image: Image.Image) -> bool:
    """Whether parts of it may be."""
    return image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info


def has_colour(image: Image.Image) -> bool:
    """Whether it may have colour."""
    return image.mode not in ("1", "L", "LA", "La", "I", "F") and not image.mode.startswith("I;")


def _band_of(image: Image.Image, *, opaque: bool) -> Band:
    if is_transparent(image):
        rgba = np.asarray(image.convert("RGBA"))
        return Band(rgba[..., :3], None if opaque else rgba[..., 3])
    if image.mode == "LAB":
        image = _lab_to_rgb(image)
    wanted = "RGB" if has_colour(image) else "L"
    return Band(np.asarray(image if image.mode == wanted else image.convert(wanted)))


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None  # noqa: S101 - only a conversion in place gives none
    return converted
