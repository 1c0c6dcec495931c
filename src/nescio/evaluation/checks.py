"""What figures are computed from, checked where it enters: a NaN would become a silent number."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from nescio.errors import DataError, UsageError
from nescio.evaluation.bootstrap import Array

Values: TypeAlias = Tensor | np.ndarray[Any, np.dtype[Any]]

ROUNDING = 1e-3
"""By how much a probability may leave [0, 1]: less than half of the last place of bfloat16."""


def scores(name: str, values: Values) -> Array:
    """Scores ``(N,)``, such as doubt; they may be infinite.

    Raises:
        DataError: There are none, they have another shape, or one is not a number.
    """
    found = _numbers(name, values)
    if found.ndim != 1 or not len(found):
        raise DataError(f"{name} must have shape (N,) with N at least 1, got {found.shape}")
    _refuse(name, found, np.isnan(found))
    return found


def shares(name: str, values: Values) -> Array:
    """Shares ``(N,)`` in [0, 1], such as confidences.

    Raises:
        DataError: As :func:`scores`, or one is outside.
    """
    found = scores(name, values)
    _refuse(name, found, (found < -ROUNDING) | (found > 1 + ROUNDING), "outside [0, 1]")
    return found


def truths(name: str, values: Values) -> Array:
    """``(N,)`` bool; of numbers 0 and 1 alone are taken.

    Raises:
        DataError: They are no such values.
    """
    found = scores(name, values)
    _refuse(name, found, (found != 0) & (found != 1), "neither true nor false")
    return found.astype(bool)


def labelled(labels: Values, probability: Values) -> tuple[Array, Array]:
    """Labels ``(N,)`` int64 and probabilities ``(N, C)`` that fit each other.

    Raises:
        DataError: They do not, a label is no class number, or a probability none.
    """
    rows = _numbers("probability", probability)
    if rows.ndim != 2 or 0 in rows.shape:
        raise DataError(f"probability must have shape (N, C), got {rows.shape}")
    outside = ~((rows >= -ROUNDING) & (rows <= 1 + ROUNDING))  # NaN is outside too
    _refuse("probability", rows, outside, "no probability (logits want a softmax first)")
    numbers = scores("labels", labels)
    same_length(labels=numbers, probability=rows)
    wrong = (numbers != np.floor(numbers)) | (numbers < 0) | (numbers >= rows.shape[1])
    _refuse("labels", numbers, wrong, f"no class number from 0 to {rows.shape[1] - 1}")
    return numbers.astype(np.int64), rows


def same_length(**arrays: Array) -> None:
    """See that each has as many entries.

    Raises:
        DataError: One has more than another.
    """
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = " and ".join(f"{count:,} of {name}" for name, count in lengths.items())
        raise DataError(f"one entry an image is wanted of each, got {told}")


def share(name: str, value: float, *, positive: bool = False) -> float:
    """One number in [0, 1], or in (0, 1].

    Raises:
        UsageError: It is not.
    """
    if not 0 <= value <= 1 or (positive and value == 0):
        raise UsageError(f"{name} must lie in {'(' if positive else '['}0, 1], got {value}")
    return value


def bins_of(bins: int) -> int:
    """How many bins.

    Raises:
        UsageError: Not a whole number of at least 1.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise UsageError(f"bins must be a whole number of at least 1, got {bins!r}")
    return int(bins)


def _numbers(name: str, values: Values) -> Array:
    found: Array = np.asarray(
        values.detach().float().cpu().numpy()
        if isinstance(values, Tensor) and values.is_floating_point() and values.itemsize < 4
        else values.detach().cpu().numpy()
        if isinstance(values, Tensor)
        else values
    )
    if found.dtype.kind not in "biuf":
        raise DataError(f"{name} must be numbers, got {found.dtype}")
    return found


def _refuse(name: str, values: Array, wrong: Array, what: str = "not a number") -> None:
    if wrong.any():
        place = np.unravel_index(int(wrong.argmax()), wrong.shape)
        value = values[place]
        raise DataError(f"{name} of image {int(place[0])} is {what}: {value}")
