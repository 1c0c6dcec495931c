"""The bootstrap, for figures that have no exact interval.

Efron 1979, *Bootstrap methods: another look at the jackknife*. A resample of ``N`` images is
told by how often it holds each, so a figure is a function of weights, and many resamples are
computed at once. The figure itself is the function at weights of 1.

Axes: ``N`` images, ``b`` resamples at once, ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from nescio.evaluation.intervals import Interval
from nescio.randomness import Stream, numpy_generator

RESAMPLES = 1000
"""Unless told otherwise: the ends of an interval are then the 25th lowest and highest."""

CHUNK_ELEMENTS = 2**19
"""Weights at once, 4 MiB: what fits a processor's cache goes several times as fast."""

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Statistics: TypeAlias = Callable[..., Mapping[str, Array]]
"""Named figures, each ``(b, ...)``, of weights ``(b, N)``, one for each set that is resampled.
All rows of the weights have one sum."""


def observed(statistics: Statistics, *sizes: int) -> dict[str, Array]:
    """The figures themselves, each ``(...)``.

    Args:
        statistics: Of weights.
        *sizes: ``N`` of each set.
    """
    weights = (np.ones((1, size)) for size in sizes)
    return {name: value[0] for name, value in statistics(*weights).items()}


def resampled(statistics: Statistics, *sizes: int, resamples: int, seed: int) -> dict[str, Array]:
    """The figures under many resamples, each ``(R, ...)``.

    Every set is resampled, from a random stream of its own: two models that are judged on the
    same images meet the same resamples.

    Args:
        statistics: Of weights.
        *sizes: ``N`` of each set.
        resamples: ``R``, at least 1.
        seed: Of the resamples.
    """
    generators = [numpy_generator(seed, Stream.BOOTSTRAP, side) for side in range(len(sizes))]
    parts = [
        statistics(*(_counts(n, count, g) for n, g in zip(sizes, generators, strict=True)))
        for count in _chunks(resamples, max(sizes))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def percentiles(value: float, distribution: Array) -> Interval:
    """The 95 % percentile interval (Efron 1981).

    Where no resample differs it has no width: that tells of the resamples, not of certainty.

    Args:
        value: The figure.
        distribution: ``(R,)``, the figure under resampling.
    """
    low, high = np.quantile(distribution, [0.025, 0.975])
    # A figure with a bias may lie outside; a table must not contradict itself.
    return Interval(value, min(float(low), value), max(float(high), value))


def mirrored(value: float, distribution: Array, calibrated: Array) -> Interval:
    """A 95 % interval for a calibration error, which noise enlarges.

    The basic interval (Davison & Hinkley 1997, 5.2.1): what the resamples are too large by,
    against the figure, the figure is too large by against the truth. It begins at 0 where the
    figure is no larger than 97.5 % of those that a calibrated model would have (consistency
    resampling, Broecker & Smith 2007): there the resamples say nothing of the lower end.

    Args:
        value: The figure, at least 0.
        distribution: ``(R,)``, the figure under resampling.
        calibrated: ``(R,)``, the figure with labels that were drawn from the probabilities.
    """
    low, high = 2 * value - np.quantile(distribution, [0.975, 0.025])
    if value <= np.quantile(calibrated, 0.975):
        low = 0.0
    return Interval(value, min(max(float(low), 0.0), value), max(float(high), value))


def consistent(
    statistics: Statistics, probability: Array, *, resamples: int, seed: int
) -> dict[str, Array]:
    """Figures of labels that are drawn from the probabilities, each ``(R,)``.

    Args:
        statistics: Named figures ``(b,)`` of labels ``(b, N)``.
        probability: ``(N, C)``, each row of sum 1.
        resamples: ``R``, at least 1.
        seed: Of the draws.
    """
    generator = numpy_generator(seed, Stream.CONSISTENCY)
    size, classes = probability.shape
    # All rows in one rising sequence, so that one search draws a label for each image.
    shares = np.cumsum(probability, axis=1, dtype=float)
    shares /= shares[:, -1:]
    edges = (shares + np.arange(size)[:, None]).ravel()
    offsets = np.arange(size)
    parts = []
    for count in _chunks(resamples, size):
        drawn = np.searchsorted(edges, generator.random((count, size)) + offsets, "right")
        parts.append(statistics(np.minimum(drawn - offsets * classes, classes - 1)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chunks(resamples: int, size: int) -> Iterator[int]:
    step = max(1, CHUNK_ELEMENTS // max(1, size))
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def _counts(size: int, count: int, generator: np.random.Generator) -> Array:
    """How often each of ``size`` images is drawn, ``(count, size)`` float64."""
    drawn = generator.integers(0, size, (count, size))
    drawn += size * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size).astype(float)
