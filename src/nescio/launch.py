"""What a launcher such as torchrun told this process; read before PyTorch is imported."""

from __future__ import annotations

import os
from typing import NamedTuple


class Place(NamedTuple):
    """Which of the processes of a job this one is.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        local_size: How many of them are on this machine.
    """

    rank: int
    size: int
    local_size: int


ALONE = Place(0, 1, 1)


def find_place() -> Place:
    """This process's place, from the environment that torchrun sets; else :data:`ALONE`."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    texts = [os.environ.get(name, "") for name in names]
    if not all(text.isdecimal() for text in texts) or "LOCAL_RANK" not in os.environ:
        return ALONE
    return Place(*map(int, texts))
