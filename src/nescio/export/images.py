"""Preprocessing in the graph: images of any size are brought to the model's.

:func:`nescio.data.adapt` scales by an antialiased triangle filter. Its weights depend on the sizes
alone, so scaling is two matrix products, with the weights computed in the graph as PyTorch computes
them, in float32. ONNX's own ``Resize`` cuts the filter otherwise and differs by grey levels.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nescio.data import Preprocessing
from nescio.export.graph import Graph, Value


def pixels(graph: Graph, images: Value, preprocessing: Preprocessing) -> Value:
    """What the networks take, ``(n, K, h, w)`` float32 in [0, 1].

    Args:
        graph: Where it is written.
        images: ``(n, H, W, K)`` uint8.
        preprocessing: ``K``, ``h`` and ``w``, and what becomes of another aspect.
    """
    wanted = (preprocessing.height, preprocessing.width)
    if preprocessing.fit == "crop":
        images = _cut(graph, images, wanted[0] / wanted[1])
    given = [images.length(1), images.length(2)]
    if preprocessing.fit == "pad":
        ratios = [_ratio(side, length) for side, length in zip(wanted, given, strict=True)]
        scale = graph.op("Min", *ratios)
        sizes = [_scaled(length, scale) for length in given]
    else:
        sizes = [graph.value(side) for side in wanted]
    rows, columns = (_weights(graph, *pair) for pair in zip(given, sizes, strict=True))
    x = images.transpose(0, 3, 1, 2).cast(TensorProto.FLOAT)
    scaled = rows @ (x @ columns.transpose(1, 0))
    scaled = graph.op("Clip", graph.op("Round", scaled), 0.0, 255.0)
    return _padded(graph, scaled, sizes, wanted) / 255.0


def _cut(graph: Graph, images: Value, aspect: float) -> Value:
    """The largest part in the middle whose height is ``aspect`` times its width."""
    height, width = images.length(1), images.length(2)
    rows = graph.op("Min", height, _scaled(width, graph.value(np.float64(aspect))))
    # Divided, as Python does it: a product with the inverse may round to the other side.
    sides = height.cast(TensorProto.DOUBLE) / np.float64(aspect)
    columns = graph.op("Min", width, _rounded(sides))
    starts, ends = [], []
    for length, part in ((height, rows), (width, columns)):
        start = graph.op("Div", length - part, 2)
        starts.append(start.unsqueeze(0))
        ends.append((start + part).unsqueeze(0))
    places = [graph.concatenate(each, 0) for each in (starts, ends)]
    return graph.op("Slice", images, *places, np.array([1, 2], np.int64))


def _ratio(side: int, length: Value) -> Value:
    """In double precision, as Python computes it."""
    return length.graph.value(np.float64(side)) / length.cast(TensorProto.DOUBLE)


def _scaled(length: Value, scale: Value) -> Value:
    """``max(1, round(length * scale))``, ``()`` int64; half goes to even, as in Python."""
    return _rounded(length.cast(TensorProto.DOUBLE) * scale)


def _rounded(length: Value) -> Value:
    whole = length.graph.op("Round", length).cast(TensorProto.INT64)
    return length.graph.op("Max", whole, 1)


def _weights(graph: Graph, given: Value, wanted: Value) -> Value:
    """The weight of each given pixel along a side in each wanted one, ``(wanted, given)``."""
    scale = given.cast(TensorProto.FLOAT) / wanted.cast(TensorProto.FLOAT)
    support = graph.op("Max", scale, 1.0)  # where the image grows, bilinear as it is
    inverse = graph.value(1.0) / support
    centre = scale * (graph.op("Range", 0, wanted, 1).cast(TensorProto.FLOAT) + 0.5)
    centre = centre.unsqueeze(1)
    place = graph.op("Range", 0, given, 1)
    first = (centre - support + 0.5).cast(TensorProto.INT64)
    end = (centre + support + 0.5).cast(TensorProto.INT64)
    away = graph.op("Abs", (place.cast(TensorProto.FLOAT) - centre + 0.5) * inverse)
    within = (place >= first) & (place < end)
    heights = graph.where(within, graph.op("Max", 1.0 - away, 0.0), 0.0)
    return heights / heights.reduce("Sum", 1, keep=True)


def _padded(graph: Graph, scaled: Value, sizes: list[Value], wanted: tuple[int, int]) -> Value:
    """Evenly, with black."""
    missing = [side - size.unsqueeze(0) for side, size in zip(wanted, sizes, strict=True)]
    before = [graph.op("Div", gap, 2) for gap in missing]
    after = [gap - half for gap, half in zip(missing, before, strict=True)]
    none = graph.value(np.zeros(2, np.int64))
    pads = graph.concatenate([none, *before, none, *after], 0)
    padded = graph.op("Pad", scaled, pads, 0.0)
    return padded.reshape(0, 0, *wanted)
