"""The image as wavelets see it: how strong its edges are, of which size and direction, and where.

Pixels say little about shape: a stroke that moves by its own width has nothing in common with
itself. The size of an image's response to waves of several directions and scales hardly changes
when a stroke moves a little: the first layer of the scattering transform (Bruna & Mallat 2013,
*Invariant scattering convolution networks*), on a pyramid of ever coarser images with one small
bank of filters. Large images are halved first; what halving takes away is kept as the size of
Haar's details (Haar 1910), so that noise does not pass for a smooth surface. Nothing is learned.
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
"""Pixels that waves are laid over; larger images are brought down first."""

FIELDS = 4
"""Fields along a side in which responses are averaged; and pixels of the coarsest image."""

FAINT = 1e-4
"""A response that is hardly one: a fortieth of one of 255 levels."""

WIDTH, FREQUENCY, SLIMNESS = 1.2, math.pi / 2, 0.6
"""Of a wave: its envelope in pixels, its frequency in radians a pixel, and the envelope's
length along the wave over that across."""


class Wavelets:
    """Reads images by waves and by Haar's details.

    Args:
        device: Where the images are.
    """

    def __init__(self, device: torch.device) -> None:
        self._waves = _waves().to(device)
        self._blur = _blur().to(device)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The features ``(n, d)`` of images ``(n, K, H, W)`` float32 in [0, 1]; not negative."""
        count, channels = x.shape[:2]
        level = x.reshape(count * channels, 1, *x.shape[-2:])
        read: list[Tensor] = []
        while min(level.shape[-2:]) > 1 and max(level.shape[-2:]) >= 2 * MOST_SIDE:
            level, details = _haar(level)
            read.append(_averaged(details))
        level = _brought_down(level)
        read.append(_averaged(level))
        for scale in range(_scales(level.shape[-2:])):
            if scale:
                level = self._halved(level)
            read.append(_averaged(self._respond(level)))
        # The square root brings the few strong responses and the many weak ones together; from a
        # little above 0 on, or rounding would be a response.
        features = (torch.cat(read, 1).clamp_min(0) + FAINT).sqrt() - math.sqrt(FAINT)
        return features.reshape(count, channels * features.shape[1])

    def _respond(self, maps: Tensor) -> Tensor:
        """How strongly each map ``(n, 1, h, w)`` holds each wave, ``(n, DIRECTIONS, h, w)``."""
        waves = F.conv2d(maps, self._waves, padding=self._waves.shape[-1] // 2)
        real, imaginary = waves.chunk(2, 1)
        return (real.square() + imaginary.square()).sqrt()

    def _halved(self, maps: Tensor) -> Tensor:
        """Half as fine."""
        return F.conv2d(F.pad(maps, (2, 2, 2, 2), mode="replicate"), self._blur, stride=2)


def _scales(shape: torch.Size) -> int:
    return max(1, min(SCALES, int(math.log2(max(1, min(shape)) / FIELDS)) + 1))


def _haar(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps ``(n, 1, h, w)`` half as fine, and the size of what that takes away, ``(n, 3, ...)``."""
    height, width = (side // 2 * 2 for side in maps.shape[-2:])
    even = maps[..., :height, :width]
    a, b = even[..., ::2, ::2], even[..., ::2, 1::2]
    c, d = even[..., 1::2, ::2], even[..., 1::2, 1::2]
    details = torch.cat([a + b - c - d, a - b + c - d, a - b - c + d], 1).abs()
    return (a + b + c + d) / 4, details / 4


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


def _brought_down(maps: Tensor) -> Tensor:
    """With the longer side at most :data:`MOST_SIDE` pixels."""
    share = min(1.0, MOST_SIDE / max(maps.shape[-2:]))
    height, width = (max(1, round(side * share)) for side in maps.shape[-2:])
    if (height, width) == tuple(maps.shape[-2:]):
        return maps
    return F.adaptive_avg_pool2d(maps, (height, width))


def _averaged(maps: Tensor) -> Tensor:
    """Over at most ``FIELDS`` x ``FIELDS`` fields, flattened."""
    height, width = (min(side, FIELDS) for side in maps.shape[-2:])
    return F.adaptive_avg_pool2d(maps, (height, width)).flatten(1)
