"""Outlines of shapes as polygons, and how far every place is from them.

A shape is a few closed polygons, each counted from the last point back to the first; what lies
inside of an odd number of them is inside of the shape. All shapes are brought to the area of a
disc of radius 1 about their centre of gravity, so that size does not tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor

Contours: TypeAlias = tuple[Tensor, ...]
"""Polygons, each ``(m, 2)`` float64, across first."""

REACH = 1.75
"""No shape reaches farther from its middle; thin ones have a smaller area instead."""

MAP_HALF = 2.2
"""Distances are kept for places up to so far from the middle, along both axes."""

MAP_SIDE = 128
"""At so many places a side."""

CURVE = 64
"""Points of a full turn: its edge is then wrong by a thousandth of its radius."""


def contours(name: str) -> Contours:
    """The polygons of a shape, centred and brought to size.

    Args:
        name: Of :data:`KNOWN` or :data:`NOVEL`.
    """
    made = OUTLINES[name]
    areas = [_area(own) for own in made]
    # What lies inside of another polygon is a hole: its area counts against it.
    sizes = [abs(a) if i == 0 or name not in HOLED else -abs(a) for i, a in enumerate(areas)]
    total = sum(sizes)
    middle = torch.stack([s * _centroid(own) for s, own in zip(sizes, made, strict=True)]).sum(0)
    centred = [own - middle / total for own in made]
    extent = max(float(own.norm(dim=1).max()) for own in centred)
    scale = min(math.sqrt(math.pi / total), REACH / extent)
    return tuple(scale * own for own in centred)


def signed_distance(shape: Contours, points: Tensor) -> Tensor:
    """How far places are from the outline: negative inside.

    Args:
        shape: Its polygons.
        points: ``(P, 2)`` float64, across first.

    Returns:
        ``(P,)`` float64.
    """
    nearest = torch.full((len(points),), math.inf, dtype=torch.float64)
    inside = torch.zeros(len(points), dtype=torch.bool)
    for polygon in shape:
        start, along = polygon, polygon.roll(-1, 0) - polygon
        away = points[:, None] - start
        share = (away * along).sum(2) / along.square().sum(1)
        left = away - share.clamp(0, 1)[:, :, None] * along
        nearest = torch.minimum(nearest, left.square().sum(2).amin(1))
        # A ray to the right crosses each side that begins below and ends above, or the reverse.
        end_below = away[:, :, 1] < along[:, 1]
        spans = (away[:, :, 1] < 0) != end_below
        rise = torch.where(along[:, 1] == 0, 1.0, along[:, 1])
        crossed = spans & (away[:, :, 0] < along[:, 0] * away[:, :, 1] / rise)
        inside = inside ^ (crossed.sum(1) % 2 == 1)
    distance = nearest.sqrt()
    return torch.where(inside, -distance, distance)


@cache
def distance_map(name: str) -> Tensor:
    """Signed distances of a shape on a grid, ``(MAP_SIDE, MAP_SIDE)`` float32, down first.

    Place ``i`` of a side lies at ``((2 i + 1) / MAP_SIDE - 1) MAP_HALF``, as
    :func:`torch.nn.functional.grid_sample` has it.
    """
    line = ((2 * torch.arange(MAP_SIDE, dtype=torch.float64) + 1) / MAP_SIDE - 1) * MAP_HALF
    down, across = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([across.flatten(), down.flatten()], 1)
    shape = contours(name)
    parts = [signed_distance(shape, part) for part in points.split(8192)]
    return torch.cat(parts).view(MAP_SIDE, MAP_SIDE).float()


def _area(polygon: Tensor) -> float:
    """With its sign: positive where the points go round from across to down."""
    return float(_cross(polygon).sum() / 2)


def _centroid(polygon: Tensor) -> Tensor:
    cross = _cross(polygon)
    pairs = polygon + polygon.roll(-1, 0)
    middle: Tensor = (pairs * cross[:, None]).sum(0) / (3 * cross.sum())
    return middle


def _cross(polygon: Tensor) -> Tensor:
    after = polygon.roll(-1, 0)
    return polygon[:, 0] * after[:, 1] - polygon[:, 1] * after[:, 0]


def _points(*places: tuple[float, float]) -> Tensor:
    return torch.tensor(places, dtype=torch.float64)


def _arc(start: float, end: float, radius: float = 1.0, across: float = 0.0) -> Tensor:
    """Of a circle about ``(across, 0)``, from one angle to another, both among the points."""
    count = max(2, round(CURVE * abs(end - start) / (2 * math.pi)) + 1)
    angle = torch.linspace(start, end, count, dtype=torch.float64)
    return torch.stack([across + radius * angle.cos(), radius * angle.sin()], 1)


def _circle(radius: float = 1.0, across: float = 0.0) -> Tensor:
    return _arc(0, 2 * math.pi, radius, across)[:-1]


def _spokes(*radii: float) -> Tensor:
    """Points at even angles, the first at the top, at these distances from the middle."""
    angle = torch.arange(len(radii), dtype=torch.float64) * (2 * math.pi / len(radii))
    far = torch.tensor(radii, dtype=torch.float64)
    return torch.stack([far * angle.sin(), -far * angle.cos()], 1)


def _rectangle(half_width: float, half_height: float) -> Tensor:
    x, y = half_width, half_height
    return _points((-x, -y), (x, -y), (x, y), (-x, y))


def _cross_shape(arm: float = 0.33) -> Tensor:
    corner = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    parts = [_points(*corner)]
    for _ in range(3):
        parts.append(parts[-1] @ quarter)
    return torch.cat(parts)


def _crescent(bite: float = 0.85, across: float = 0.5) -> Tensor:
    """A disc without the part that another one, ``across`` from its middle, covers."""
    x = (1 - bite**2 + across**2) / (2 * across)
    y = math.sqrt(1 - x**2)
    outer, inner = math.atan2(y, x), math.atan2(y, x - across)
    back = _arc(2 * math.pi - inner, inner, bite, across)
    return torch.cat([_arc(outer, 2 * math.pi - outer), back[1:-1]])


def _heart() -> Tensor:
    t = torch.arange(CURVE, dtype=torch.float64) * (2 * math.pi / CURVE)
    down = 13 * t.cos() - 5 * (2 * t).cos() - 2 * (3 * t).cos() - (4 * t).cos()
    return torch.stack([16 * t.sin() ** 3, -down], 1)


def _spiral(turns: float = 2.0, width: float = 0.24) -> Tensor:
    """A band that winds outwards."""
    angle = torch.linspace(0.15, 1, round(CURVE * turns), dtype=torch.float64) * turns * 2 * math.pi
    radius = angle / (turns * 2 * math.pi)
    ray = torch.stack([angle.cos(), angle.sin()], 1)
    half = width / turns
    return torch.cat(
        [ray * (radius + half)[:, None], (ray * (radius - half).clamp_min(0.0)[:, None]).flip(0)]
    )


def _drop(tip: float = 2.2) -> Tensor:
    """A circle and a point, joined by tangents."""
    touch = math.acos(1 / tip)
    return torch.cat([_arc(touch, 2 * math.pi - touch), _points((tip, 0.0))])


KNOWN = ("bar", "crescent", "cross", "disc", "ring", "square", "star", "triangle")
"""The classes: no two alike however they are turned or mirrored."""

NOVEL = ("arrow", "bolt", "drop", "elbow", "heart", "hourglass", "pair", "spiral")
"""Shapes that are of no class."""

HOLED = ("ring",)
"""Shapes whose second polygon is a hole in the first."""

OUTLINES: Mapping[str, Contours] = {
    "bar": (_rectangle(1.5, 0.5),),
    "crescent": (_crescent(),),
    "cross": (_cross_shape(),),
    "disc": (_circle(),),
    "ring": (_circle(), _circle(0.55)),
    "square": (_rectangle(1.0, 1.0),),
    "star": (_spokes(*(1.0, 0.42) * 5),),
    "triangle": (_spokes(1.0, 1.0, 1.0),),
    "arrow": (
        _points(
            (1.0, 0.0), (0.1, 0.8), (0.1, 0.3), (-1.0, 0.3),
            (-1.0, -0.3), (0.1, -0.3), (0.1, -0.8),
        ),
    ),
    "bolt": (
        _points((0.3, -1.0), (-0.6, 0.15), (-0.1, 0.15), (-0.35, 1.0), (0.6, -0.25), (0.1, -0.25)),
    ),
    "drop": (_drop(),),
    "elbow": (
        _points((-0.8, -1.0), (-0.2, -1.0), (-0.2, 0.4), (0.8, 0.4), (0.8, 1.0), (-0.8, 1.0)),
    ),
    "heart": (_heart(),),
    "hourglass": (
        _points((-0.8, -1.0), (0.8, -1.0), (0.12, 0.0), (0.8, 1.0), (-0.8, 1.0), (-0.12, 0.0)),
    ),
    "pair": (_circle(0.8, -1.0), _circle(0.8, 1.0)),
    "spiral": (_spiral(),),
}  # fmt: skip
"""All shapes as they were drawn, before they are centred and brought to size."""
