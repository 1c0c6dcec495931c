"""Familiarity in the graph: features of the stages become evidence against each class.

It follows :mod:`nescio.familiarity` formula by formula. Linear systems are solved by conjugate
gradients, since the operator set has no factorisations: those of a plane through neighbours are
held up by their ridge, so that a few dozen steps give all digits of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from nescio.export.graph import Graph, Value
from nescio.export.search import count_below
from nescio.familiarity import Stage
from nescio.familiarity.axes import LEAST_VARIANCE, Axes
from nescio.familiarity.density import GaussianDensities
from nescio.familiarity.neighbours import NEIGHBOUR, PLANE, RIDGE, NeighbourDensities
from nescio.familiarity.tail import Tail

MOST_STEPS = 1000
"""Of conjugate gradients; they end far earlier."""

RESIDUE = 1e-14
"""They end when what is left, squared, is this share of what there was: 1e-7 unsquared."""

LARGEST = float(torch.finfo(torch.float32).max)


def evidence(graph: Graph, stages: Sequence[Stage], features: Sequence[Value]) -> Value:
    """Evidence ``(n, L, C)`` against every class at every stage, in nats.

    Args:
        graph: Where it is written.
        stages: ``L`` of them.
        features: Of each, ``(n, d)``.
    """
    parts = [
        _tail(graph, stage.tail, _distances(graph, stage, own)).unsqueeze(1)
        for stage, own in zip(stages, features, strict=True)
    ]
    joined = graph.concatenate(parts, 1)
    # As torch.nan_to_num(inf) has it: never familiar where features are not numbers.
    finite = graph.op("Min", joined, LARGEST)
    return graph.where(graph.op("IsNaN", joined), float("inf"), finite)


def _distances(graph: Graph, stage: Stage, features: Value) -> Value:
    density = stage.density
    z = _along(graph, density.axes, features)
    if isinstance(density, GaussianDensities):
        return _gaussian(graph, density, z)
    return _neighbours(graph, density, z)


def _along(graph: Graph, axes: Axes, features: Value) -> Value:
    """See :class:`nescio.familiarity.axes.Axes`."""
    basis = graph.constant(_array(axes.basis), "basis")
    standard = (features - _array(axes.centre)) / _array(axes.spread)
    along = standard @ basis
    remainder = float(axes.remainder)
    if not remainder:
        return along
    left = (standard - along @ basis.transpose(1, 0)).reduce("SumSquare", 1, keep=True) / remainder
    return graph.concatenate([along, graph.op("Log", left + LEAST_VARIANCE)], 1)


def _gaussian(graph: Graph, density: GaussianDensities, z: Value) -> Value:
    """See :meth:`nescio.familiarity.density.GaussianDensities.distances`."""
    means, whiteners = density.means.cpu(), density.whiteners.cpu()
    classes, size = means.shape
    if density.shared:
        white = whiteners[0].T.contiguous()
        away = (z @ _array(white)).unsqueeze(1) - _array(means @ white)
        return away.reduce("SumSquare", 2) / _array(1 + 1 / density.counts)
    offsets = torch.bmm(whiteners, means[:, :, None]).reshape(-1)
    flat = whiteners.reshape(classes * size, size).T.contiguous()
    apart = z @ graph.constant(flat.numpy(), "whiteners") - _array(offsets)
    return apart.reshape(-1, classes, size).reduce("SumSquare", 2)


def _neighbours(graph: Graph, density: NeighbourDensities, z: Value) -> Value:
    """See :meth:`nescio.familiarity.neighbours.NeighbourDensities.distances`."""
    white = z @ _array(density.whitener.T)
    counts = density.counts.tolist()
    points = density.points.cpu().split(counts)
    away: dict[int, Value] = {}
    # Classes with as many neighbours are solved together.
    for count in sorted({_nearest(density, c) for c in counts}):
        alike = [c for c, own in enumerate(counts) if _nearest(density, own) == count]
        near = [_nearest_points(graph, points[c], white, count) for c in alike]
        if density.plane:
            found = _from_planes(graph, white, near, RIDGE * density.axes.size)
        else:
            found = _from_last(white, near)
        away |= dict(zip(alike, found, strict=True))
    return graph.concatenate([away[c] for c in range(len(counts))], 1)


def _nearest(density: NeighbourDensities, count: int) -> int:
    return min(PLANE if density.plane else NEIGHBOUR, count)


def _nearest_points(graph: Graph, points: Tensor, white: Value, count: int) -> Value:
    """The points ``(n, count, r)`` of one class that are nearest to each place ``(n, r)``."""
    stored = graph.constant(points.numpy(), "points").cast(TensorProto.FLOAT)
    squares = graph.constant(points.float().square().sum(1).numpy(), "squares")
    pairs = squares - (white @ stored.transpose(1, 0)) * 2.0
    if count == len(points):
        everywhere = graph.op("Shape", white, start=0, end=1)
        shape = graph.concatenate([everywhere, graph.value(np.array(points.shape, np.int64))], 0)
        return graph.op("Expand", stored.unsqueeze(0), shape)
    number = np.array([count], np.int64)
    _, index = graph.ops("TopK", 2, pairs, number, axis=1, largest=0, sorted=1)
    return graph.op("Gather", stored, index, axis=0)


def _from_last(white: Value, near: Sequence[Value]) -> list[Value]:
    """Squared distances ``(n, 1)`` from the farthest of the nearest points, class by class."""
    place = white.unsqueeze(1)
    return [(place - own).reduce("SumSquare", 2).reduce("Max", 1, keep=True) for own in near]


def _from_planes(graph: Graph, white: Value, near: Sequence[Value], ridge: float) -> list[Value]:
    """Squared distances ``(n, 1)`` from the planes through points ``(n, m, r)``, class by class.

    As in :mod:`nescio.familiarity.neighbours`: ``k (spans' spans + k)^-1 rest``, squared.
    """
    grams, rests = [], []
    for own in near:
        middle = own.reduce("Mean", 1, keep=True)
        spans = own - middle
        grams.append((spans.transpose(0, 2, 1) @ spans).unsqueeze(1))
        rests.append(white.unsqueeze(1) - middle)
    gram, rest = graph.concatenate(grams, 1), graph.concatenate(rests, 1)
    left = solve_ridge(graph, gram, rest, ridge) * ridge
    distances = left.reduce("SumSquare", 2)
    if len(near) == 1:
        return [distances]
    return graph.ops("Split", len(near), distances, axis=1, num_outputs=len(near))


def solve_ridge(graph: Graph, gram: Value, rest: Value, ridge: float) -> Value:
    """``(gram + ridge)^-1 rest`` for systems ``(n, c, r, r)`` and ``(n, c, r)``.

    Conjugate gradients (Hestenes & Stiefel 1952), all systems side by side until the last one is
    solved. Steps of those that are solved already are too small to change them.
    """
    tiny = float(np.finfo(np.float32).tiny)

    def dot(a: Value, b: Value) -> Value:
        return (a * b).reduce("Sum", 2, keep=True)

    goal = dot(rest, rest) * RESIDUE + tiny

    def step(body: Graph, state: list[Value]) -> tuple[Value, list[Value]]:
        x, residual, direction, size = state
        along = (direction.unsqueeze(2) @ gram).squeeze(2) + direction * ridge
        length = size / body.op("Max", dot(direction, along), tiny)
        x, residual = x + length * direction, residual - length * along
        after = dot(residual, residual)
        direction = residual + (after / body.op("Max", size, tiny)) * direction
        more = body.op("ReduceMax", (after > goal).cast(TensorProto.INT32), keepdims=0)
        return more.cast(TensorProto.BOOL), [x, residual, direction, after]

    start = rest * 0.0
    return graph.loop(MOST_STEPS, [start, rest, rest, dot(rest, rest)], step)[0]


def _tail(graph: Graph, tail: Tail, distances: Value) -> Value:
    """See :class:`nescio.familiarity.tail.Tail`."""
    points, heights = _array(tail.points), _array(tail.evidence)
    z = graph.op("Log", distances + tail.floor) - _array(tail.centres)
    z = z / _array(tail.spreads)
    place = count_below(graph, tail.points, z)
    upper = graph.op("Max", graph.op("Min", place, len(points) - 1), 1)
    lower = upper - 1

    def at(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], index: Value) -> Value:
        return graph.op("Gather", values, index)

    width = graph.op("Max", at(points, upper) - at(points, lower), 1e-30)
    along = graph.op("Clip", (z - at(points, lower)) / width, 0.0, 1.0)
    low, high = at(heights, lower), at(heights, upper)
    counted = low + along * (high - low)
    excess = graph.op("Max", z - float(points[-1]), 0.0)
    return counted + _log1p(graph, excess * (tail.shape / tail.scale)) / tail.shape


def _log1p(graph: Graph, x: Value) -> Value:
    """``log(1 + x)`` for ``x >= 0`` with all its digits (Kahan; see HP-15C handbook, 1982)."""
    more = x + 1.0
    rounded = graph.op("Max", more - 1.0, float(np.finfo(np.float32).tiny))
    log = graph.op("Log", more)
    near = graph.where(more > 1.0, log * (x / rounded), x)
    return graph.where(more > 1e6, log, near)


def _array(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return tensor.detach().cpu().float().numpy()
