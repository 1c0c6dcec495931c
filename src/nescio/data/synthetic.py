"""Images made here: uniform noise, rendered letters, and scikit-learn's digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from nescio.data.images import Dataset, ImageSet, Preprocessing
from nescio.data.preprocess import adapt
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, numpy_generator

LETTERS = "ABCDEFGHIJKLMNPRTUVWXY"
"""notMNIST's A to J, and the others but those that are drawn like a digit (O, Q, S, Z)."""

FAMILIES = (
    "DejaVuSans",
    "DejaVuSerif",
    "DejaVuSansMono",
    "STIXGeneral",
    "cmr10",
    "cmb10",
    "cmtt10",
    "cmss10",
)
"""Faces among matplotlib's fonts that have Latin letters; the others hold symbols."""

OVERSAMPLING = 4
"""Letters are drawn so many times larger and brought down, which smooths their edges."""


def noise(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:
    """Images of independent uniform pixels, as in the article.

    Args:
        count: ``N``.
        preprocessing: Their shape.
        seed: Of the pixels; the first images do not depend on ``count``.
    """
    generator = numpy_generator(seed, Stream.PIXELS)
    pixels = generator.integers(0, 256, (count, *preprocessing.shape), dtype=np.uint8)
    return ImageSet("noise", torch.from_numpy(pixels), None, ())


def letters(
    count: int, preprocessing: Preprocessing, seed: int = 0, reporter: Reporter = SILENT
) -> ImageSet:
    """Letters (:data:`LETTERS`) in many faces, sizes, positions and slants, white on black.

    Args:
        count: ``N``; letters come in turn, so that they are balanced.
        preprocessing: Their shape.
        seed: Of the variations; the first images do not depend on ``count``.
        reporter: Told of progress.
    """
    generator = numpy_generator(seed, Stream.LETTERS)
    side = max(preprocessing.height, preprocessing.width)
    faces = font_files()
    pixels = np.zeros((count, side, side), np.uint8)
    with reporter.task("drawing letters", count, "images") as task:
        for i in range(count):
            pixels[i] = _draw_letter(LETTERS[i % len(LETTERS)], side, faces, generator)
            task.advance()
    labels = torch.arange(count) % len(LETTERS)
    images = adapt(torch.from_numpy(pixels)[:, None], preprocessing)
    return ImageSet("letters", images, labels, tuple(LETTERS))


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, brought from 8x8 to 28x28.

    They are scaled to 20x20 and centred, as MNIST's are (LeCun et al. 1998). Source:
    E. Alpaydin, C. Kaynak 1998, *Optical recognition of handwritten digits*, UCI.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    raw = torch.from_numpy(bunch.images).float()[:, None] * (255 / 16)
    scaled = F.interpolate(raw, size=(20, 20), mode="bilinear", align_corners=False)
    images = F.pad(scaled.round().to(torch.uint8), (4, 4, 4, 4))
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return Dataset("digits", ImageSet("digits", images, labels, tuple("0123456789")))


@cache
def font_files() -> tuple[Path, ...]:
    """The fonts that matplotlib bundles and that have Latin letters."""
    import matplotlib as mpl

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    found = sorted(p for p in folder.glob("*.ttf") if p.stem.split("-")[0].startswith(FAMILIES))
    return tuple(p for p in found if "Display" not in p.stem and "SizOne" not in p.stem)


def _draw_letter(
    letter: str, side: int, faces: tuple[Path, ...], generator: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    large = side * OVERSAMPLING
    face = faces[generator.integers(len(faces))]
    size = generator.uniform(0.55, 1.0) * large
    canvas = Image.new("L", (large, large))
    font = _font(face, round(size))
    left, top, right, bottom = font.getbbox(letter)
    # Where the letter may lie so that it is seen whole; one too wide is centred.
    room = max(0.0, large - (right - left)), max(0.0, large - (bottom - top))
    spread = 0.5 + generator.uniform(-0.35, 0.35, 2)
    where = room[0] * spread[0] - left, room[1] * spread[1] - top
    ImageDraw.Draw(canvas).text(where, letter, fill=255, font=font)
    turned = canvas.rotate(generator.uniform(-12.0, 12.0), Image.Resampling.BILINEAR)
    return np.asarray(turned.resize((side, side), Image.Resampling.BOX), np.uint8)


@cache
def _font(face: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(face), size)
