"""Where numbers stand among sorted ones: ``torch.searchsorted`` by standard operators."""

from __future__ import annotations

from torch import Tensor

from nescio.export.graph import Graph, Value


def count_below(graph: Graph, rising: Tensor, values: Value, *, equal: bool = False) -> Value:
    """How many of ``rising`` ``(P,)`` are below each value, int64 of the values' shape.

    By halving: as many steps as ``P`` has binary digits, whatever the number of values.

    Args:
        graph: Where it is written.
        rising: Sorted float32 numbers, at least one.
        values: float32, of any shape; for NaN the count is 0.
        equal: Whether those that are equal count, too.
    """
    size = len(rising)
    sorted_numbers = graph.constant(rising.detach().cpu().float().numpy(), "sorted")
    found = graph.value(0)
    step = 1 << (size.bit_length() - 1)
    while step:
        reach = found + step
        index = graph.op("Min", reach, size) - 1
        number = graph.op("Gather", sorted_numbers, index)
        below = number <= values if equal else number < values
        found = graph.where(below & (reach <= size), reach, found)
        step >>= 1
    return found
