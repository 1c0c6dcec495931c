"""What files of a set have in common: the range of deep images, the background of transparent ones.

Both are found once, from the set that is trained on, and recorded, so that an image means the same
whatever it stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nescio.data.reading import Reading
from nescio.decode import COLOURS, Decoding, Measure, ValueRange, name_of
from nescio.errors import DataError
from nescio.progress import Reporter

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that sensors have; a file has room for 16."""

OUTLIERS = 20
"""One image in so many may have extreme values that do not count."""

FAR = 3.0
"""How many widths of the others' range away values do not count, if they are that few."""


def value_range_of(measures: Sequence[Measure]) -> ValueRange:
    """The range of deep images that hold ``measures``.

    The smallest usual one that all lie in: of whole numbers from 0 to what 8, 10, 12, 14 or 16 bits
    hold, of floats [0, 1], [-1, 1] or [0, 255]; else from the least to the largest value of all.
    Values of one image in twenty that lie far from all others are left out of account, so that a
    few broken pixels do not make all else black.

    Raises:
        DataError: Some are whole numbers and some floats.
    """
    floating = sum(each.floating for each in measures)
    if 0 < floating < len(measures):
        raise DataError(
            f"{len(measures) - floating} images hold whole numbers of more than 8 bits and "
            f"{floating} hold floats, so no range suits all; convert some, or name --value-range"
        )
    low, high = _extremes(measures)
    if floating:
        usual: list[ValueRange] = [(0, 1), (-1, 1), (0, 255)]
    else:
        told = {each.full for each in measures if each.full}
        usual = [(0, most) for most in sorted({*told, *(2**bits - 1 for bits in DEPTHS)})]
    for least, most in usual:
        # Values that use little of a range tell nothing in 8 bits.
        if least <= low and high <= most and (not floating or high - low >= (most - least) / 4):
            return float(least), float(most)
    return low, high if high > low else low + 1


def find_decoding(
    deep: Sequence[Measure], transparent: Sequence[Measure], reading: Reading, reporter: Reporter
) -> Decoding:
    """How the files of a set are to be decoded.

    Args:
        deep: Its deep images.
        transparent: Some of its transparent ones.
        reading: What the user asked for comes first.
        reporter: Told of what was found.

    Raises:
        DataError: See :func:`value_range_of`.
    """
    decoding = reading.decoding
    if deep and reading.value_range is None:
        decoding = replace(decoding, value_range=value_range_of(deep))
        low, high = decoding.value_range or (0, 0)
        reporter.note(
            f"{len(deep):,} images of more than 8 bits: {low:g} becomes black and {high:g} white "
            "in all of them; --value-range LOW:HIGH names another range"
        )
    inks = [each.ink for each in transparent if each.ink is not None]
    if inks and reading.background == "auto":
        dark = sum(inks) / len(inks) < 127.5
        decoding = replace(decoding, background=COLOURS["white" if dark else "black"])
        reporter.note(
            f"{len(inks):,} transparent images were looked at: what is seen of them is "
            f"{'dark' if dark else 'bright'}, so all are laid on {name_of(decoding.background)}; "
            "--background names another"
        )
    return decoding


def _extremes(measures: Sequence[Measure]) -> ValueRange:
    """The least and the largest value, but for a few images that lie far from all others."""
    lows, highs = (
        sorted(values) for values in zip(*((m.low, m.high) for m in measures), strict=True)
    )
    few = len(measures) // OUTLIERS
    low, high = lows[few], highs[len(highs) - 1 - few]
    width = high - low
    return (
        lows[0] if low - lows[0] <= FAR * width else low,
        highs[-1] if highs[-1] - high <= FAR * width else high,
    )
