"""What processes tell each other.

All goes as tensors, and texts as UTF-8 in tensors: what comes from another machine is never
unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from torch import Tensor

from nescio.errors import DistributedError, NescioError
from nescio.ranks.ranks import Ranks


def gather_rows(ranks: Ranks, rows: Tensor) -> list[Tensor]:
    """The rows ``(n_r, ...)`` of each process, in order, on the device of ``rows``.

    Numbers of rows may differ; all else must be alike.
    """
    if ranks.size == 1:
        return [rows]
    own = torch.tensor([len(rows)], device=ranks.place)
    counts = [int(count) for count in torch.cat(ranks.gather(own))]
    width = rows.element_size() * prod(rows.shape[1:])
    if not max(counts) or not width:
        return [rows.new_empty(count, *rows.shape[1:]) for count in counts]
    # As bytes: no transport knows every kind of number.
    padded = torch.zeros(max(counts), width, dtype=torch.uint8, device=ranks.place)
    if len(rows):
        padded[: len(rows)] = rows.reshape(len(rows), -1).contiguous().view(torch.uint8)
    return [
        each[:count].view(rows.dtype).view(count, *rows.shape[1:]).to(rows.device)
        for each, count in zip(ranks.gather(padded), counts, strict=True)
    ]


def gather_bytes(ranks: Ranks, content: bytes) -> list[bytes]:
    """What each process says, in order."""
    if ranks.size == 1:
        return [content]
    own = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    return [each.numpy().tobytes() for each in gather_rows(ranks, own)]


def exchange(ranks: Ranks, text: str) -> list[str]:
    """What each process says, in order."""
    said = gather_bytes(ranks, text.encode("utf-8", "replace"))
    return [each.decode("utf-8", "replace") for each in said]


def total_(ranks: Ranks, values: Sequence[Tensor]) -> None:
    """Sum tensors of one dtype over all processes, in place, in one message."""
    if ranks.size == 1 or not values:
        return
    flat = torch.cat([value.reshape(-1).to(ranks.place) for value in values])
    ranks.sum_(flat)
    for value, part in zip(values, flat.split([v.numel() for v in values]), strict=True):
        value.copy_(part.view(value.shape))


def agree(ranks: Ranks, facts: Mapping[str, str]) -> None:
    """All processes must say the same.

    Args:
        ranks: The processes.
        facts: What each thing is, as this process sees it, by what it is called.

    Raises:
        DistributedError: One differs from process 0; the message names it and the thing.
    """
    if ranks.size == 1:
        return
    for name, value in facts.items():
        said = exchange(ranks, value)
        for rank, other in enumerate(said):
            if other != said[0]:
                raise _shared(
                    DistributedError(
                        f"process {rank} has other {name} than process 0 ({_short(other)}, not "
                        f"{_short(said[0])}); all processes must be given the same"
                    )
                )


@contextmanager
def together(ranks: Ranks) -> Iterator[None]:
    """What one process cannot do, none goes on from: the others learn why.

    The block must not be collective itself.

    Raises:
        NescioError: The process's own, where all failed alike; else a
            :class:`DistributedError` that names the first process that failed.
    """
    own: NescioError | None = None
    try:
        yield
    except NescioError as error:
        own = error
    if ranks.size == 1:
        if own is not None:
            raise own
        return
    said = exchange(ranks, "" if own is None else str(own))
    if not any(said):
        return
    if own is not None and len(set(said)) == 1:
        raise _shared(own)
    rank = next(i for i, text in enumerate(said) if text)
    raise _shared(DistributedError(f"process {rank} of {ranks.size}: {said[rank]}")) from own


def _shared(error: NescioError) -> NescioError:
    """Marked as one that every process raises, so that one of them tells it."""
    error.shared = True
    return error


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:16]}..."
