"""Familiarity in the graph: features of the stages become evidence against each class.

It follows :mod:`nescio.familiarity` formula by formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from nescio.export.graph import Graph, Value
from nescio.export.search import count_below
from nescio.familiarity import MOST_EVIDENCE, Stage, source_of
from nescio.familiarity.perclass import ClassGaussians
from nescio.familiarity.shared import SharedGaussian
from nescio.familiarity.tail import Tail


def evidence(graph: Graph, stages: Sequence[Stage], features: Mapping[str, Value]) -> Value:
    """Evidence ``(n, L, C)`` against every class at every stage, in nats.

    Args:
        graph: Where it is written.
        stages: ``L`` of them.
        features: Of each source, ``(n, d)``.
    """
    units = {name: _unit(graph, own) for name, own in features.items()}
    parts = [_of_stage(graph, stage, units[source_of(stage.name)]).unsqueeze(1) for stage in stages]
    joined = graph.concatenate(parts, 1)
    # Never familiar where features are not numbers.
    most = graph.op("Min", joined, MOST_EVIDENCE)
    return graph.where(graph.op("IsNaN", joined), MOST_EVIDENCE, most)


def _unit(graph: Graph, features: Value) -> Value:
    """See :func:`nescio.familiarity.subspace.unit`."""
    length = graph.op("Sqrt", features.reduce("SumSquare", 1, keep=True))
    return features / graph.op("Max", length, 1e-12)


def _of_stage(graph: Graph, stage: Stage, features: Value) -> Value:
    density = stage.density
    away = features - _array(density.centre)
    if isinstance(density, ClassGaussians):
        distances = _per_class(graph, density, away)
    else:
        distances = _shared(graph, density, away)
    return _tail(graph, stage.tail, distances) + stage.log_weight


def _shared(graph: Graph, density: SharedGaussian, away: Value) -> Value:
    """See :meth:`nescio.familiarity.shared.SharedGaussian.distances`."""
    axes = graph.constant(_array(density.axes), "axes")
    along = (away @ axes).unsqueeze(1) - _array(density.means @ density.axes)
    squares = along * along
    near = (squares / _array(density.variances)).reduce("Sum", 2)
    if not density.rest:
        return near
    whole = (away.unsqueeze(1) - _array(density.means)).reduce("SumSquare", 2)
    beyond = graph.op("Max", whole - squares.reduce("Sum", 2), 0.0)
    return near + beyond * density.rest


def _per_class(graph: Graph, density: ClassGaussians, away: Value) -> Value:
    """See :meth:`nescio.familiarity.perclass.ClassGaussians.distances`."""
    z = away @ graph.constant(_array(density.axes), "axes")
    means, whiteners = density.means.cpu(), density.whiteners.cpu()
    count, size = means.shape
    if density.shared:
        white = whiteners[0].T.contiguous()
        apart = (z @ _array(white)).unsqueeze(1) - _array(means @ white)
        clusters = apart.reduce("SumSquare", 2) / _array(1 + 1 / density.counts)
    else:
        offsets = torch.bmm(whiteners, means[:, :, None]).reshape(-1)
        flat = whiteners.reshape(count * size, size).T.contiguous()
        units = z @ graph.constant(flat.numpy(), "whiteners") - _array(offsets)
        clusters = units.reshape(-1, count, size).reduce("SumSquare", 2)
    sizes = torch.bincount(density.owners).tolist()
    if max(sizes) == 1:
        return clusters
    if len(sizes) == 1:
        return clusters.reduce("Min", 1, keep=True)
    lengths = np.array(sizes, np.int64)
    parts = graph.ops("Split", len(sizes), clusters, lengths, axis=1)
    return graph.concatenate([own.reduce("Min", 1, keep=True) for own in parts], 1)


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
