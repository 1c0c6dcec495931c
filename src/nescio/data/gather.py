"""Arrays, and items of sets of PyTorch, brought together in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.utils.data as torch_data
from torch import Tensor

from nescio.data.arrays import array_to_images, kind_of_array
from nescio.data.axes import Axes, find_axes
from nescio.data.held import likeness, pair_of, size_of
from nescio.data.preprocess import adapt
from nescio.data.reading import Reading
from nescio.decode import Decoding
from nescio.errors import DataError

TOGETHER = 256
"""Arrays of a list that are brought to 8 bits at once."""


def items_of(data: Any, reading: Reading) -> Iterator[Any]:
    """Items one by one, as far as memory goes."""
    held = 0
    # A set of PyTorch that counts its items has no end to its iterator, but an index.
    items = iter(data) if hasattr(data, "__iter__") else (data[i] for i in range(len(data)))
    if isinstance(data, list | tuple) or not isinstance(data, torch_data.Dataset):
        yield from items  # they are in memory anyway
        return
    for item in items:
        held += size_of(pair_of(item)[0])
        if held > reading.memory:
            raise DataError(
                f"{type(data).__name__}: its images take more than {reading.memory:,} bytes of "
                "memory; let its transform make them smaller, give a folder, or a larger "
                "Reading(memory=)"
            )
        yield item


def array_of(array: Any, reading: Reading, *, counted: bool) -> Tensor:
    """An array as ``(N, K, H, W)`` uint8; ``counted`` where its first axis counts images."""
    return array_to_images(
        array,
        wanted=reading.preprocessing,
        first="N" if counted else "any",
        decoding=decoding_of(reading),
    )


def axes_of_one(array: Any, reading: Reading) -> Axes:
    """Which axis is which in an array of a single image."""
    model = None if reading.preprocessing is None else reading.preprocessing.shape
    shape = tuple(np.shape(array)) if not isinstance(array, Tensor) else tuple(array.shape)
    return find_axes(shape, kind=kind_of_array(array), wanted=model, first="no N")


def chunks_of(arrays: Sequence[Any], reading: Reading, name: str) -> Iterator[Tensor]:
    """Arrays of one image each, as many together as are alike, ``(n, K, H, W)`` uint8."""
    start = 0
    while start < len(arrays):
        kind = likeness(arrays[start])
        some = list(islice(arrays, start, start + TOGETHER))
        count = next((i for i, each in enumerate(some) if likeness(each) != kind), len(some))
        some = some[:count]
        try:
            axes = axes_of_one(some[0], reading)
            stacked = torch.stack(some) if isinstance(some[0], Tensor) else np.stack(some)
            yield array_to_images(stacked, axes=f"N{axes}", decoding=decoding_of(reading))
        except DataError as error:
            raise DataError(f"{name}, from image {start} on: {error}") from error
        start += count


def gather(chunks: Iterable[Tensor], reading: Reading, name: str) -> Tensor:
    """Chunks ``(n, K, H, W)`` as one; of one shape, brought to it where they differ."""
    parts, held = list[Tensor](), 0
    for chunk in chunks:
        part = chunk if reading.preprocessing is None else adapt(chunk, reading.preprocessing)
        parts.append(part)
        held += part.numel()
        if held > reading.memory:
            raise DataError(
                f"{name}: the images take more than {reading.memory:,} bytes of memory; give them "
                "smaller (a Resize in their transform), as a folder, or a larger Reading(memory=)"
            )
    if len({part.shape[1:] for part in parts}) > 1:
        sizes = [(part.shape[2], part.shape[3]) for part in parts for _ in range(len(part))]
        chosen = reading.choose(sizes, colour=any(part.shape[1] == 3 for part in parts))
        parts = [adapt(part, chosen) for part in parts]
    return torch.cat(parts)


def decoding_of(reading: Reading) -> Decoding:
    """What is done with transparent parts: by the model, or as asked."""
    return reading.decoding if reading.preprocessing is None else reading.preprocessing.decoding
