"""From samples to what is shown: 8 bits, nothing transparent, the right way up, not too large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nescio.decode.decoding import Decoding, ValueRange
from nescio.decode.raster import Band, Facts, Opened, Pixels, Samples, rows_of
from nescio.errors import UnreadableImage

LARGE = 2**22
"""Images of no more pixels are reduced by the decoder or not at all."""

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey, by ITU-R BT.601."""


@dataclass(frozen=True)
class Decoded:
    """An image, with what should be said of it.

    Attributes:
        pixels: ``(H, W)`` when grey, ``(H, W, 3)`` when coloured.
        outside: Whether some of its values lay outside the range, and were cut.
        emptied: Whether something was to be seen in it, and nothing is on its background.
        assumed: Whether it is deep and its own white was taken, since no range is known.
    """

    pixels: Pixels
    outside: bool = False
    emptied: bool = False
    assumed: bool = False


@dataclass(frozen=True)
class Measure:
    """What a set's range and background are found from.

    Attributes:
        low: The least value of a deep image; 0 of others.
        high: The largest.
        floating: Whether they are floats.
        full: What its file says is white; 0 where it says nothing.
        ink: How bright the visible parts of an image are that is transparent elsewhere, 0 to 255;
            ``None`` where nothing of it is transparent.
    """

    low: float = 0.0
    high: float = 0.0
    floating: bool = False
    full: float = 0.0
    ink: float | None = None


def finish(opened: Opened, decoding: Decoding) -> Decoded:
    """Decode a file, band by band, into what is shown.

    Raises:
        UnreadableImage: It cannot be decoded, or nothing says which of its values are black and
            white.
    """
    facts = opened.facts
    factor = _factor_after(facts, decoding)
    parts, outside, clear, varied = list[Pixels](), False, False, False
    for band in opened.bands():
        shown, cut = _to_bytes(band, decoding.value_range)
        outside |= cut
        if band.alpha is not None and band.alpha.min() < 255:
            clear = True
            varied |= not (_is_constant(band.alpha) and _is_constant(band.values))
            shown = _laid_on(shown, band.alpha, decoding)
        if factor > 1:
            shown = np.asarray(Image.fromarray(np.ascontiguousarray(shown)).reduce(factor))
        parts.append(shown)
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    pixels = _turned(_as_grey(whole), facts.orientation)
    emptied = clear and varied and _is_constant(pixels)
    return Decoded(pixels, outside, emptied, facts.deep and decoding.value_range is None)


def bytes_of(facts: Facts, decoding: Decoding) -> int:
    """What a file takes while it is decoded, about."""
    decoded = facts.area // facts.reduced**2
    shown = decoded // _factor_after(facts, decoding) ** 2
    return (facts.weight - 4) * facts.area + 4 * (decoded + shown)


def _factor_after(facts: Facts, decoding: Decoding) -> int:
    """By how much bands are reduced that the decoder has not reduced: 1, 2, 4 or 8.

    It is the same for all images of one size and format, wherever they are read.
    """
    if facts.reduced > 1 or facts.area <= LARGE:
        return 1
    return facts.factor(decoding.reduce_to)


def measure(opened: Opened) -> Measure:
    """The least and the largest value of a deep image, and how bright ink is.

    Raises:
        UnreadableImage: It cannot be decoded.
    """
    lows, highs, floating, full = list[float](), list[float](), False, 0.0
    weighed = weights = 0.0
    clear = False
    for band in opened.bands():
        values, alpha = band.values, band.alpha
        if opened.facts.deep:
            floating, full = values.dtype.kind == "f", band.full[1] if band.full else 0.0
            _require_finite(values)
            seen = values if alpha is None else values[alpha > 0]
            if seen.size:
                lows.append(float(seen.min()))
                highs.append(float(seen.max()))
        elif alpha is not None and alpha.min() < 255:
            clear = True
            grey = _luma(values)
            weighed += float((grey * alpha).sum())
            weights += float(alpha.sum())
    ink = weighed / weights if clear and weights else None
    return Measure(min(lows, default=0.0), max(highs, default=0.0), floating, full, ink)


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Pixels ``(H, W)`` or ``(H, W, 3)`` as ``(H, W, K)``.

    Colour becomes grey by ITU-R 601 luma, grey becomes colour by repetition.
    """
    if pixels.ndim == 2:
        return pixels[..., None] if channels == 1 else np.repeat(pixels[..., None], channels, -1)
    if channels == 3:
        return pixels
    grey = np.empty((*pixels.shape[:2], 1), np.uint8)
    rows = rows_of(pixels.shape[1])
    for top in range(0, len(pixels), rows):
        part = slice(top, top + rows)
        grey[part, :, 0] = np.round(_luma(pixels[part]))
    return grey


def _luma(pixels: Samples) -> Samples:
    """Grey ``(H, W)`` float32; what has none is grey already."""
    if pixels.ndim == 2:
        return pixels.astype(np.float32)
    grey = pixels[..., 0] * np.float32(LUMA[0])
    for channel in (1, 2):
        grey += pixels[..., channel] * np.float32(LUMA[channel])
    return grey


def _to_bytes(band: Band, value_range: ValueRange | None) -> tuple[Pixels, bool]:
    """Values as 0 to 255, and whether some were cut."""
    values = band.values
    if values.dtype == np.uint8:
        return values, False
    _require_finite(values)
    least, most = float(values.min()), float(values.max())
    known = value_range or band.full
    if known is None or (value_range is None and not known[0] <= least <= most <= known[1]):
        raise UnreadableImage(
            f"its values ({values.dtype.name}, from {least:g} to {most:g}) have no known range, so "
            "nothing says which are black and white; save it as PNG or JPEG, or train with "
            "--value-range LOW:HIGH"
        )
    low, high = known
    if values.dtype == np.uint16:
        return _scaled(np.arange(65536), low, high)[values], not low <= least <= most <= high
    return _scaled(values, low, high), not low <= least <= most <= high


def _scaled(values: Samples, low: float, high: float) -> Pixels:
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def _require_finite(values: Samples) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableImage("some of its pixels are not numbers")


def _laid_on(shown: Pixels, alpha: Pixels, decoding: Decoding) -> Pixels:
    """Pixels over the background."""
    colours = shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, -1)
    over = Image.fromarray(np.dstack([colours, alpha]), "RGBA")
    under = Image.new("RGBA", over.size, (*decoding.background_rgb, 255))
    return np.asarray(Image.alpha_composite(under, over).convert("RGB"))


def _as_grey(pixels: Pixels) -> Pixels:
    """What has no colour in it, without colour."""
    if pixels.ndim == 2:
        return pixels
    steps = [side // 16 + 1 for side in pixels.shape[:2]]
    for part in (pixels[:: steps[0], :: steps[1]], pixels):  # most colour shows at once
        if not (part[..., :1] == part[..., 1:]).all():
            return pixels
    return np.ascontiguousarray(pixels[..., 0])


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """As it is meant to be shown: EXIF 2.32, section 4.6.4."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _is_constant(values: Samples) -> bool:
    first = values[:1, :1]
    return bool((values == first).all())
