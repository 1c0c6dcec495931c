"""Independent random streams from one seed.

Two generators seeded alike give the same numbers: were the start of a fit and the
noise of its first steps to share a seed, they would be one and the same draw (seen:
it doubled the loss of the first steps and slowed the whole fit). So every use has a
stream of its own, derived by NumPy's ``SeedSequence``.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch

from nescio.errors import UsageError


class Stream(IntEnum):
    """What random numbers are for."""

    SPLIT = 0
    PIXELS = 1
    LETTERS = 2
    NETWORK = 3
    START = 4
    SHUFFLE = 5
    WEIGHT_NOISE = 6
    PREDICTION = 7
    AUGMENT = 8
    CALIBRATION = 9
    CONSTANT = 10
    CHECKERBOARD = 11
    NATURAL = 12
    SHIFT = 13
    BOOTSTRAP = 14
    SUBSET = 15
    CONSISTENCY = 16
    SHAPES = 17
    CHAIN = 18
    MEMBER = 19
    RANK = 20
    GROUP = 21
    HELD = 22


def derive(seed: int, stream: Stream, index: int = 0) -> int:
    """A 63-bit seed for one use.

    Args:
        seed: The user's, at least 0.
        stream: The use.
        index: Which of many like uses, such as the number of a sampled network.

    Raises:
        UsageError: The seed is negative.
    """
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")
    state = np.random.SeedSequence((seed, int(stream), index)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, stream: Stream, index: int = 0) -> torch.Generator:
    """A PyTorch generator (on the CPU) for one use, see :func:`derive`."""
    return torch.Generator().manual_seed(derive(seed, stream, index))


def numpy_generator(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """A NumPy generator for one use, see :func:`derive`."""
    return np.random.default_rng(derive(seed, stream, index))
