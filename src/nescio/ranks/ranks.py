"""What a process knows of the others of its job."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Ranks(Protocol):
    """The processes of one job, as one of them sees them.

    Every method but the properties is collective: all processes call it, in the same order.
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many processes there are."""
        ...

    @property
    def place(self) -> torch.device:
        """Where this process talks from: its GPU, or the CPU."""
        ...

    def sum_(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place; of one shape and dtype, on :attr:`place`."""
        ...

    def gather(self, values: Tensor) -> list[Tensor]:
        """The values of each process, in order; of one shape and dtype, on :attr:`place`."""
        ...

    def wait(self) -> None:
        """Go on once all processes are here."""
        ...


class Solo:
    """One process alone."""

    rank, size, place = 0, 1, torch.device("cpu")

    def sum_(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def gather(self, values: Tensor) -> list[Tensor]:
        """The values alone."""
        return [values]

    def wait(self) -> None:
        """Nobody is waited for."""


SOLO: Ranks = Solo()


def share_of(ranks: Ranks, count: int) -> slice:
    """The places of ``count`` things that are this process's: all processes' are all, once each.

    Shares differ by at most one; where there are fewer things than processes, some are empty.
    """
    return slice(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)
