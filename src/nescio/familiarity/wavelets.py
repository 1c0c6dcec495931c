"""The image as wavelets see it: where it has edges of which size and direction, and how they meet.

Pixels say little about shape: a stroke that moves by its own width has nothing in common with
itself. The size of an image's response to waves of several directions and scales hardly changes
when a stroke moves a little, and the responses to those responses tell of corners, ends and
crossings: the scattering transform (Bruna & Mallat 2013, *Invariant scattering convolution
networks*), here on a pyramid of ever coarser images with one small bank of filters. Nothing in it
is learned.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DIRECTIONS = 6
"""Directions of the waves, over half a turn."""

SCALES = 3
"""Octaves, on images that are large enough."""

MOST_SIDE = 32
"""Pixels; larger images are brought down first, since finer detail is the network's to judge."""

LEAST_SIDE = 4
"""Pixels of the coarsest image, and fields along a side in which responses are averaged."""

WIDTH, FREQUENCY, SLIMNESS = 1.2, math.pi / 2, 0.6
"""Of a wave: its envelope in pixels, its frequency in radians a pixel, and the envelope's
length along the wave over that across."""


class Wavelets:
    """Reads images by two layers of waves.

    Args:
        device: Where the images are.
    """

    def __init__(self, device: torch.device) -> None:
        self._waves = _waves().to(device)
        self._blur = _blur().to(device)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The features ``(n, d)`` of images ``(n, K, H, W)`` float32 in [0, 1]."""
        count, channels = x.shape[:2]
        level = _brought_down(x).reshape(count * channels, 1, *_small(x.shape[-2:]))
        scales = max(1, min(SCALES, int(math.log2(min(level.shape[-2:]) / LEAST_SIDE)) + 1))
        read = [_averaged(level)]
        for scale in range(scales):
            response = self._respond(level)
            read.append(_averaged(response))
            for _ in range(scale + 1, scales):
                response = self._halved(response)
                read.append(_averaged(self._respond(response)))
            if scale + 1 < scales:
                level = self._halved(level)
        # The square root brings the few strong responses and the many weak ones together.
        features = torch.cat(read, 1).clamp_min(0).sqrt()
        return features.reshape(count, channels * features.shape[1])

    def _respond(self, maps: Tensor) -> Tensor:
        """How strongly each map ``(n, c, h, w)`` holds each wave, ``(n, c * DIRECTIONS, h, w)``."""
        count, channels, height, width = maps.shape
        flat = maps.reshape(count * channels, 1, height, width)
        waves = F.conv2d(flat, self._waves, padding=self._waves.shape[-1] // 2)
        real, imaginary = waves.chunk(2, 1)
        size = (real.square() + imaginary.square()).sqrt()
        return size.view(count, channels * DIRECTIONS, height, width)

    def _halved(self, maps: Tensor) -> Tensor:
        """Half as fine."""
        count, channels, height, width = maps.shape
        flat = maps.reshape(count * channels, 1, height, width)
        half = F.conv2d(F.pad(flat, (2, 2, 2, 2), mode="replicate"), self._blur, stride=2)
        return half.view(count, channels, *half.shape[-2:])


def _waves() -> Tensor:
    """Morlet's waves, real parts then imaginary ones: ``(2 DIRECTIONS, 1, 7, 7)``, sums 0."""
    reach = torch.arange(-3.0, 4.0)
    down, across = torch.meshgrid(reach, reach, indexing="ij")
    waves = []
    for number in range(DIRECTIONS):
        angle = math.pi * number / DIRECTIONS
        along = across * math.cos(angle) + down * math.sin(angle)
        aside = down * math.cos(angle) - across * math.sin(angle)
        envelope = torch.exp(-(along**2 + (SLIMNESS * aside) ** 2) / (2 * WIDTH**2))
        envelope = envelope / envelope.sum()
        wave = torch.polar(envelope, FREQUENCY * along)
        waves.append(wave - envelope * wave.sum())
    stacked = torch.stack(waves)
    return torch.cat([stacked.real, stacked.imag])[:, None]


def _blur() -> Tensor:
    """What is averaged before every second pixel is dropped, ``(1, 1, 5, 5)``.

    Burt & Adelson 1983, *The Laplacian pyramid as a compact image code*.
    """
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    return (row[:, None] * row)[None, None]


def _small(shape: torch.Size) -> tuple[int, int]:
    """Height and width once the longer side is at most :data:`MOST_SIDE`."""
    share = min(1.0, MOST_SIDE / max(shape))
    height, width = (max(1, round(side * share)) for side in shape)
    return height, width


def _brought_down(x: Tensor) -> Tensor:
    small = _small(x.shape[-2:])
    return x if small == tuple(x.shape[-2:]) else F.adaptive_avg_pool2d(x, small)


def _averaged(maps: Tensor) -> Tensor:
    """Over at most ``LEAST_SIDE`` x ``LEAST_SIDE`` fields, flattened."""
    height, width = (min(side, LEAST_SIDE) for side in maps.shape[-2:])
    return F.adaptive_avg_pool2d(maps, (height, width)).flatten(1)
