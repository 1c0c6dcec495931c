"""TIFF: samples of many types, and what they mean.

Whole bytes are read by :mod:`nescio.decode.tiff_chunks`, as the file has them. Fewer bits, JPEG and
fax compression and L*a*b* are left to Pillow. What could be read in two ways is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from nescio.decode.libtiff import damage_heard
from nescio.decode.raster import Band, Facts, Pixels, Samples, bands_of, in_bands
from nescio.decode.tags import Tag, Tags
from nescio.decode.tiff_chunks import KINDS, MEND, NONE, layout_of, read_samples
from nescio.errors import UnreadableImage

JPEG = 7
"""The compression."""

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
"""How samples are meant."""

CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}

UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
"""What extra samples are: nobody says; alpha that colours are multiplied by; alpha alone."""


@dataclass(frozen=True)
class Tiff:
    """A TIFF file.

    Attributes:
        file: From which it is read.
        tags: Of its first image.
        facts: What they tell.
    """

    file: BinaryIO
    tags: Tags
    facts: Facts

    @classmethod
    def open(cls, file: BinaryIO) -> Tiff:
        """Read the tags.

        Raises:
            UnreadableImage: They are damaged, or tell of an image that could be read in two ways.
        """
        tags = Tags.read(file)
        height, width = tags.one(Tag.HEIGHT), tags.one(Tag.WIDTH)
        if height < 1 or width < 1:
            raise UnreadableImage("it has no pixels")
        photometric = tags.one(Tag.PHOTOMETRIC)
        if photometric not in CHANNELS:
            raise UnreadableImage(f"a TIFF of photometric kind {photometric}; {MEND}")
        orientation = tags.one(Tag.ORIENTATION, 1)
        extra = tags.all(Tag.EXTRA_SAMPLES)
        facts = Facts(
            height,
            width,
            colour=CHANNELS[photometric] > 1 or photometric == PALETTE,
            deep=_is_deep(tags),
            transparent=any(each in (ASSOCIATED, UNASSOCIATED) for each in extra),
            orientation=orientation if 1 <= orientation <= 8 else 1,
            weight=max(4, tags.one(Tag.SAMPLES, 1) * tags.one(Tag.BITS, 1) // 8),
        )
        return cls(file, tags, facts)

    def bands(self) -> Iterator[Band]:
        """Decode it from top to bottom.

        Raises:
            UnreadableImage: It is damaged, or of a kind that is not read.
        """
        if _is_for_pillow(self.tags):
            yield from bands_of(_opened_by_pillow(self.file, self.tags))
            return
        layout = layout_of(self.tags)
        yield from _meant(read_samples(self.file, layout), self.tags)


def _is_deep(tags: Tags) -> bool:
    form = KINDS.get(tags.one(Tag.SAMPLE_FORMAT, 1))
    of_colour = tags.one(Tag.PHOTOMETRIC) in (CMYK, YCBCR, LAB)
    return not of_colour and (form != "u" or tags.one(Tag.BITS, 1) > 8)


def _is_for_pillow(tags: Tags) -> bool:
    """Whether it is of a kind that Pillow is known to read rightly.

    Raises:
        UnreadableImage: It is neither that nor one that is read here.
    """
    bits, compression = tags.one(Tag.BITS, 1), tags.one(Tag.COMPRESSION, NONE)
    photometric = tags.one(Tag.PHOTOMETRIC)
    samples = tags.one(Tag.SAMPLES, 1)
    packed = (
        bits in (1, 2, 4)
        and samples == 1
        and photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE)
    )
    coded = (
        compression == JPEG
        and bits == 8
        and (samples, photometric)
        in (
            (1, BLACK_IS_ZERO),
            (3, RGB),
            (3, YCBCR),
        )
    )
    others = photometric == LAB and bits == 8 and samples == 3
    plain = tags.one(Tag.PLANAR, 1) == 1 and tags.all(Tag.SAMPLE_FORMAT, (1,))[0] in (1, 4)
    if (packed or coded or others) and plain:
        return True
    if compression == JPEG or photometric in (YCBCR, LAB) or bits < 8:
        raise UnreadableImage(
            f"a TIFF of a kind that is not read ({samples} samples of {bits} bits, compression "
            f"{compression}, photometric kind {photometric}); {MEND}"
        )
    return False


class _Stored(TiffImageFile):
    """As it is stored: turning it is done elsewhere, and its size was looked at."""

    def load_prepare(self) -> None:
        self._size = self._tile_size
        self.im = Image.new(self.mode, self._tile_size).im

    def load_end(self) -> None:
        pass


def _opened_by_pillow(file: BinaryIO, tags: Tags) -> Image.Image:
    if tags.one(Tag.PHOTOMETRIC) == PALETTE:
        _colour_map(tags)  # refuses what Pillow would take for black
    file.seek(0)
    with damage_heard():
        image = _Stored(file)
        image.load()
    return image


def _meant(samples: Samples, tags: Tags) -> Iterator[Band]:
    """What samples ``(H, W, C)`` mean, band by band."""
    photometric = tags.one(Tag.PHOTOMETRIC)
    wanted = CHANNELS[photometric]
    if samples.shape[-1] < wanted:
        raise UnreadableImage("its header is damaged: there are too few samples")
    values, alpha = samples[..., :wanted], None
    if samples.shape[-1] > wanted:
        values, alpha = _with_extra(values, samples[..., wanted:], tags.all(Tag.EXTRA_SAMPLES))
    unsigned, most = values.dtype.kind == "u", _most(values.dtype)
    widest = {PALETTE: 1, CMYK: 2}.get(photometric, 8)
    if widest < 8 and not (unsigned and values.dtype.itemsize <= widest):
        raise UnreadableImage(f"a TIFF with a palette or inks of such samples; {MEND}")
    if photometric == PALETTE:
        values = _colour_map(tags)[values[..., 0]]
    elif photometric == CMYK:
        yield from _inks(values, tags, alpha)
        return
    elif photometric == WHITE_IS_ZERO:
        if not unsigned:
            raise UnreadableImage(f"a TIFF of such samples whose white is zero; {MEND}")
        values = np.array(most, values.dtype) - values
    if values.shape[-1] == 1:
        values = values[..., 0]
    yield from in_bands(values, alpha, _full(values.dtype))


def _full(dtype: np.dtype[np.generic]) -> tuple[float, float] | None:
    """The values of black and white, where a type tells them."""
    if dtype.kind == "f":
        return 0.0, 1.0
    return (0.0, 65535.0) if dtype == np.uint16 else None


def _most(dtype: np.dtype[np.generic]) -> int | float:
    return 1.0 if dtype.kind == "f" else np.iinfo(dtype).max  # type: ignore[type-var]


def _with_extra(
    values: Samples, extra: Samples, kinds: tuple[int, ...]
) -> tuple[Samples, Pixels | None]:
    """The values, not multiplied by alpha, and that.

    Raises:
        UnreadableImage: Nobody says what an extra sample means, and it is not one that changes
            nothing.
    """
    most = _most(extra.dtype)
    kinds = kinds[: extra.shape[-1]] + (UNSPECIFIED,) * (extra.shape[-1] - len(kinds))
    known = [i for i, kind in enumerate(kinds) if kind in (ASSOCIATED, UNASSOCIATED)]
    for i in set(range(len(kinds))) - set(known):
        if (extra[..., i] != most).any():
            raise UnreadableImage(
                "a TIFF with more samples than colours, and nothing says what they mean; " + MEND
            )
    if not known or extra.dtype.kind == "i":
        if known:
            raise UnreadableImage(f"a TIFF with alpha of signed numbers; {MEND}")
        return values, None
    share = extra[..., known[0]].astype(np.float64) / most
    alpha = np.clip(np.round(share * 255), 0, 255).astype(np.uint8)
    if kinds[known[0]] == ASSOCIATED:
        shares = np.where(share > 0, share, 1)[..., None]
        parted = values / shares
        if values.dtype.kind == "u":
            parted = np.clip(np.round(parted), 0, most)
        values = parted.astype(values.dtype)
    return values, alpha


def _colour_map(tags: Tags) -> Pixels:
    """The colours of a palette, ``(256, 3)``."""
    entries = tags.all(Tag.COLOUR_MAP)
    size = 2 ** tags.one(Tag.BITS, 1)
    if size > 256 or len(entries) != 3 * size:
        raise UnreadableImage("its palette is damaged")
    colours = np.zeros((256, 3), np.uint8)
    colours[:size] = np.array(entries, np.uint32).reshape(3, -1).T >> 8
    if max(entries) < 256:
        raise UnreadableImage(f"a TIFF whose palette is of 8 bits, or all black; {MEND}")
    return colours


def _inks(values: Samples, tags: Tags, alpha: Pixels | None) -> Iterator[Band]:
    """CMYK as RGB."""
    if tags.one(Tag.INK_SET, 1) != 1:
        raise UnreadableImage(f"a TIFF of other inks than cyan, magenta, yellow and black; {MEND}")
    for band in in_bands(values, alpha):
        inks = band.values.astype(np.uint32)
        if band.values.dtype == np.uint16:
            inks = (inks + 128) // 257

        image = Image.fromarray(np.ascontiguousarray(inks, np.uint8), "CMYK")
        yield Band(np.asarray(image.convert("RGB")), band.alpha)
