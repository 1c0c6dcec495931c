"""Colour shapes, drawn at run time: a set whose truth is known.

Place, size and turn, colours, a gradient behind, an edge line, blur, contrast and noise vary
and say nothing of the class. Three sets beside it have a known answer, too: *mixed* shapes lie
between two classes, and are labelled with a known probability; *novel* shapes are of no class;
*striped* shapes are of the classes, in a texture that is not in the first set.

Images are drawn from signed distances to the outlines (:mod:`nescio.data.outlines`), at any size
and in any number of channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nescio.data.images import ImageSet, Preprocessing
from nescio.data.outlines import KNOWN, MAP_HALF, NOVEL, REACH, distance_map
from nescio.randomness import Stream, numpy_generator

CHUNK = 1024
"""How many images are drawn at once, so that the float copies stay small."""

SIZES = (0.17, 0.25)
"""Radius of a disc, and of all shapes of its area, as a share of the shorter side."""

MARGIN = 0.03
"""What a shape keeps clear of the border, as a share of the shorter side."""

COLOURS_APART = 0.35
"""In every channel the fill differs from what is behind by at least this, of 1."""

MOST_GRADIENT = 0.12
"""By how much what is behind becomes lighter or darker towards the border, of 1."""

LINES = (0.1, 0.2)
"""Width of the line inside the edge that half of the images have, in radii."""

MOST_BLUR = 0.025
"""Standard deviation of the blur, as a share of the shorter side."""

LEAST_CONTRAST = 0.6
"""Colours lie at least so many times as far from mid grey as they were chosen."""

MOST_NOISE = 0.06
"""Standard deviation of the noise of pixels, of 1."""

STRIPES = (0.5, 0.9)
"""From one stripe to the next, in radii."""

PURE, MIXED, UNSEEN, TEXTURED = range(4)
"""Numbers of the sets' random streams."""


@dataclass(frozen=True)
class MixedShapes:
    """Shapes between two classes, whose labels were drawn with a known probability.

    Attributes:
        images: With labels: the second parent with probability ``share``, else the first.
        parents: ``(N, 2)`` int64, the two classes.
        share: ``(N,)`` float32, how far the shape has come from the first to the second.
    """

    images: ImageSet
    parents: Tensor
    share: Tensor

    @property
    def probability(self) -> Tensor:
        """``(N, C)`` float32, with which probability an image has each label."""
        truth = torch.zeros(len(self.images), len(self.images.classes))
        shares = torch.stack([1 - self.share, self.share], 1)
        return truth.scatter_(1, self.parents, shares)


def shapes(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:
    """Shapes of the classes :data:`nescio.data.outlines.KNOWN`, in turn, so balanced.

    Args:
        count: ``N``.
        preprocessing: Their shape.
        seed: Of all that varies; the first images do not depend on ``count``.
    """
    return _drawn("shapes", KNOWN, count, preprocessing, (seed, PURE))


def novel_shapes(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:
    """Shapes of :data:`nescio.data.outlines.NOVEL`; all else is as in :func:`shapes`."""
    return _drawn("shapes-novel", NOVEL, count, preprocessing, (seed, UNSEEN))


def striped_shapes(count: int, preprocessing: Preprocessing, seed: int = 0) -> ImageSet:
    """As :func:`shapes`, filled with stripes of the fill and of a colour between it and behind."""
    return _drawn("shapes-striped", KNOWN, count, preprocessing, (seed, TEXTURED))


def mixed_shapes(count: int, preprocessing: Preprocessing, seed: int = 0) -> MixedShapes:
    """As :func:`shapes`, between every two classes, in turn; how far between is uniform."""
    draws = _draws(count, preprocessing, (seed, MIXED))
    pairs = torch.tensor(list(combinations(range(len(KNOWN)), 2)))
    parents = pairs[torch.arange(count) % len(pairs)]
    share, chance = draws[:, -1], draws[:, -2]
    labels = torch.where(chance < share, parents[:, 1], parents[:, 0])
    images = draw_shapes(
        KNOWN, parents, share, draws=draws, preprocessing=preprocessing, stream=(seed, MIXED)
    )
    return MixedShapes(ImageSet("shapes-mixed", images, labels, KNOWN), parents, share)


def _drawn(
    name: str,
    outlines: Sequence[str],
    count: int,
    preprocessing: Preprocessing,
    stream: tuple[int, int],
) -> ImageSet:
    labels = torch.arange(count) % len(outlines)
    draws = _draws(count, preprocessing, stream)
    parents = labels[:, None].expand(-1, 2)
    images = draw_shapes(
        outlines,
        parents,
        torch.zeros(count),
        draws=draws,
        preprocessing=preprocessing,
        stream=stream,
    )
    return ImageSet(name, images, labels, tuple(outlines))


def _draws(count: int, preprocessing: Preprocessing, stream: tuple[int, int]) -> Tensor:
    """Uniform numbers ``(N, D)`` in [0, 1): all that varies but the noise of pixels."""
    generator = numpy_generator(stream[0], Stream.SHAPES, 2 * stream[1])
    width = OWN + 3 * preprocessing.channels + 2
    return torch.from_numpy(generator.random((count, width), dtype=np.float32))


OWN = 12
"""Numbers that are drawn for an image, whatever its channels."""


def draw_shapes(
    outlines: Sequence[str],
    parents: Tensor,
    share: Tensor,
    *,
    draws: Tensor,
    preprocessing: Preprocessing,
    stream: tuple[int, int],
) -> Tensor:
    """Draw shapes that may lie between two outlines.

    Args:
        outlines: Names, of :mod:`nescio.data.outlines`.
        parents: ``(N, 2)`` int64, which two outlines.
        share: ``(N,)``, how far from the first to the second: their signed distances are mixed.
        draws: ``(N, D)`` in [0, 1), what the rest is decided by.
        preprocessing: What shape the images have.
        stream: The seed, and which set: of the noise of pixels.

    Returns:
        ``(N, K, H, W)`` uint8.
    """
    generator = numpy_generator(stream[0], Stream.SHAPES, 2 * stream[1] + 1)
    images = torch.empty(len(draws), *preprocessing.shape, dtype=torch.uint8)
    maps = torch.stack([distance_map(name) for name in outlines])
    for places in torch.arange(len(draws)).split(CHUNK):
        if not len(places):
            break
        scene = _Scene(draws[places], preprocessing)
        apart = scene.distances(maps, parents[places], share[places])
        clean = scene.colours(apart, striped=stream[1] == TEXTURED)
        noise = generator.standard_normal(tuple(clean.shape), dtype=np.float32)
        spoilt = clean + scene.noise * torch.from_numpy(noise)
        images[places] = (spoilt * 255).round().clamp(0, 255).to(torch.uint8)
    return images


class _Scene:
    """What varies in ``n`` images; each attribute can be multiplied with ``(n, K, H, W)``."""

    def __init__(self, draws: Tensor, preprocessing: Preprocessing) -> None:
        self.channels, self.height, self.width = preprocessing.shape
        self.side = min(self.height, self.width)
        own = draws[:, :OWN, None, None, None].unbind(1)
        self.radius = _between(SIZES, own[0]) * self.side
        self.turn = 2 * math.pi * own[1]
        self.across = self._middle(self.width, own[2])
        self.down = self._middle(self.height, own[3])
        self.slope = 2 * math.pi * own[4]
        self.line = torch.where(own[5] < 0.5, _between(LINES, own[6]), 0.0)
        self.blur = MOST_BLUR * self.side * own[7]
        self.contrast = _between((LEAST_CONTRAST, 1.0), own[8])
        self.noise = MOST_NOISE * own[9]
        self.stripe = _between(STRIPES, own[10])
        self.stripe_turn = math.pi * own[11]
        self.behind, self.step, self.steep = (
            draws[:, OWN:-2].view(len(draws), 3, self.channels, 1, 1).unbind(1)
        )

    def _middle(self, length: int, draw: Tensor) -> Tensor:
        """How far the shape is moved, in pixels, so that it is seen whole."""
        room = length / 2 - MARGIN * self.side - REACH * self.radius
        return room.clamp_min(0) * (2 * draw - 1)

    def _grid(self) -> tuple[Tensor, Tensor]:
        """Where pixels lie, in pixels from the middle of the image, across and down."""
        across = torch.arange(self.width) + 0.5 - self.width / 2
        down = torch.arange(self.height) + 0.5 - self.height / 2
        return across[None, :], down[:, None]

    def distances(self, maps: Tensor, parents: Tensor, share: Tensor) -> Tensor:
        """Signed distances of pixels from the outlines, ``(n, 1, H, W)``, in radii."""
        across, down = self._grid()
        x, y = (across - self.across) / self.radius, (down - self.down) / self.radius
        cos, sin = self.turn.cos(), self.turn.sin()
        places = torch.stack([cos * x + sin * y, cos * y - sin * x], -1)[:, 0] / MAP_HALF
        apart = _read(maps, parents[:, 0], places)
        mixed = (share > 0).nonzero().flatten()
        if len(mixed):
            other = _read(maps, parents[mixed, 1], places[mixed])
            weight = share[mixed, None, None, None]
            apart[mixed] = torch.lerp(apart[mixed], other, weight)
        return apart

    def colours(self, apart: Tensor, *, striped: bool) -> Tensor:
        """The images without noise, ``(n, K, H, W)``, about in [0, 1]."""
        across, down = self._grid()
        ramp = (
            (across * self.slope.cos() + down * self.slope.sin()) * 2 / (self.height + self.width)
        )
        behind = self.behind + MOST_GRADIENT * (2 * self.steep - 1) * ramp
        # Round the circle of values, so that no fill is near what is behind.
        fill = (self.behind + _between((COLOURS_APART, 1 - COLOURS_APART), self.step)) % 1
        # The line is farther from what is behind than the fill: it never makes a hole of it.
        line = torch.where(fill > self.behind, 0.4 * fill + 0.6, 0.4 * fill)
        line = torch.where(self.line > 0, line, fill)
        inner = torch.lerp(fill, self.behind, 0.5 * self._stripes()) if striped else fill
        body = torch.lerp(line, inner, self._covered(apart + self.line))
        return 0.5 + self.contrast * (torch.lerp(behind, body, self._covered(apart)) - 0.5)

    def _covered(self, apart: Tensor) -> Tensor:
        """The share of each pixel that is inside: of a straight edge, blurred, seen by a pixel."""
        deviation = (self.blur.square() + 1 / 12).sqrt() / self.radius
        covered: Tensor = torch.special.ndtr(-apart / deviation)
        return covered

    def _stripes(self) -> Tensor:
        across, down = self._grid()
        along = across * self.stripe_turn.cos() + down * self.stripe_turn.sin()
        return 0.5 + 0.5 * (2 * math.pi * along / (self.stripe * self.radius)).sin()


def _between(ends: tuple[float, float], draw: Tensor) -> Tensor:
    low, high = ends
    return low + (high - low) * draw


def _read(maps: Tensor, which: Tensor, places: Tensor) -> Tensor:
    """Values ``(n, 1, H, W)`` of the maps ``which`` ``(n,)`` at ``(n, H, W, 2)`` in [-1, 1]."""
    read = places.new_empty(len(places), 1, *places.shape[1:3])
    for number, own in enumerate(maps):
        chosen = (which == number).nonzero().flatten()
        if len(chosen):
            source = own[None, None].expand(len(chosen), -1, -1, -1)
            read[chosen] = F.grid_sample(
                source, places[chosen], padding_mode="border", align_corners=False
            )
    return read
