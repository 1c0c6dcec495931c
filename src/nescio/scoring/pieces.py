"""What a piece is: how many images, and how many of them are in memory at a time."""

from collections.abc import Iterator
from math import prod

from nescio.data import Preprocessing

PIECE = 2048
"""Images of one piece, where that can be chosen: what a kill may cost each process."""

BATCH_BYTES = 2**26
"""Bytes of decoded images in memory at a time: 64 MiB, a piece of 28x28 or 426 of 224x224."""


def count_pieces(count: int) -> int:
    """How many pieces so many images are."""
    return -(-count // PIECE)


def places_of(piece: int) -> slice:
    """Which of the images are in a piece."""
    return slice(piece * PIECE, (piece + 1) * PIECE)


def at_once(preprocessing: Preprocessing, own: int = 0) -> int:
    """How many images are in memory at a time; ``own`` is their size before they are adapted."""
    return max(1, min(PIECE, BATCH_BYTES // max(prod(preprocessing.shape), own)))


def parts_of(count: int, preprocessing: Preprocessing, own: int = 0) -> Iterator[slice]:
    """The images of a piece, as many as may be in memory at a time, and so on."""
    size = at_once(preprocessing, own)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
