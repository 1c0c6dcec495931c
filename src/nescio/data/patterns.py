"""Images made here that show nothing: blank, constant, checkerboards, noise as natural scenes have.

Each is a set that a classifier should refuse, and that regularities fool more easily than
uniform noise does: smooth, empty, or with edges as strong as those of a drawing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nescio.data.images import ImageSet, Preprocessing
from nescio.randomness import Stream, numpy_generator

CHUNK = 512
"""How many images are made at once, so that the float copies stay small."""

LEAST_CONTRAST = 100
"""By how many of 255 levels the fields of a checkerboard differ at least."""


def blank(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:  # noqa: ARG001
    """Black images, all the same.

    Args:
        count: ``N``.
        preprocessing: Their shape.
        seed: Without effect; all made sets take one.
    """
    images = torch.zeros(count, *preprocessing.shape, dtype=torch.uint8)
    return ImageSet("blank", images, None, ())


def constant(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:
    """Images of one random level each (one for each channel, so that colours come up).

    Args:
        count: ``N``.
        preprocessing: Their shape.
        seed: Of the levels; the first images do not depend on ``count``.
    """
    channels, height, width = preprocessing.shape
    generator = numpy_generator(seed, Stream.CONSTANT)
    levels = generator.integers(0, 256, (count, channels, 1, 1), dtype=np.uint8)
    images = torch.from_numpy(levels).expand(-1, -1, height, width).contiguous()
    return ImageSet("constant", images, None, ())


def checkerboard(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:
    """Checkerboards of random field size, phase and levels.

    Fields are from two pixels to half of the shorter side wide; their levels differ by
    :data:`LEAST_CONTRAST` at least, in every channel.

    Args:
        count: ``N``.
        preprocessing: Their shape.
        seed: Of the variations; the first images do not depend on ``count``.
    """
    channels, height, width = preprocessing.shape
    generator = numpy_generator(seed, Stream.CHECKERBOARD)
    draws = torch.from_numpy(generator.random((count, 3 + 3 * channels)))
    smallest = min(2, height, width)
    largest = max(smallest, min(height, width) // 2)
    size = smallest + (draws[:, 0] * (largest - smallest + 1)).long()
    # The board repeats after two fields, so that is how far a phase may go.
    phase = (draws[:, 1:3] * 2 * size[:, None]).long()
    rows = (torch.arange(height) + phase[:, :1]) // size[:, None]
    columns = (torch.arange(width) + phase[:, 1:]) // size[:, None]
    odd = ((rows[:, :, None] + columns[:, None, :]) % 2 == 1)[:, None]
    low, more, swap = draws[:, 3:].view(count, 3, channels, 1, 1).unbind(1)
    dark = (low * (255 - LEAST_CONTRAST)).floor()
    light = dark + LEAST_CONTRAST + (more * (256 - LEAST_CONTRAST - dark)).floor()
    images = torch.where(odd ^ (swap < 0.5), light, dark).to(torch.uint8)
    return ImageSet("checkerboard", images, None, ())


def natural(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:
    """Noise with the spectrum of natural scenes: amplitude 1/f, random phase.

    Source: D. J. Field 1987, *Relations between the statistics of natural images and the
    response properties of cortical cells*, J. Opt. Soc. Am. A 4. Each image is stretched
    to the full range; channels have phases of their own.

    Args:
        count: ``N``.
        preprocessing: Their shape.
        seed: Of the phases; the first images do not depend on ``count``.
    """
    generator = numpy_generator(seed, Stream.NATURAL)
    images = torch.empty(count, *preprocessing.shape, dtype=torch.uint8)
    for part in images.split(CHUNK):
        if len(part):
            white = generator.random(tuple(part.shape), dtype=np.float32)
            part.copy_(_stretch(one_over_f(torch.from_numpy(white))))
    return ImageSet("natural", images, None, ())


def one_over_f(white: Tensor) -> Tensor:
    """White noise with its phases kept and its amplitudes made 1/f; its mean becomes 0.

    Args:
        white: ``(n, K, H, W)`` float32, its values independent.

    Returns:
        ``(n, K, H, W)`` float32.
    """
    height, width = white.shape[-2:]
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = (down.square() + across.square()).sqrt()
    frequency[0, 0] = torch.inf  # no constant part
    spectrum = torch.fft.rfft2(white)
    phases = spectrum / spectrum.abs().clamp_min(torch.finfo(torch.float32).tiny)
    coloured: Tensor = torch.fft.irfft2(phases / frequency, s=(height, width))
    return coloured


def _stretch(images: Tensor) -> Tensor:
    """Each image ``(n, K, H, W)`` brought to 0..255; one without contrast becomes black."""
    low = images.amin((1, 2, 3), keepdim=True)
    span = images.amax((1, 2, 3), keepdim=True) - low
    return ((images - low) / span.clamp_min(1e-12) * 255).round()
