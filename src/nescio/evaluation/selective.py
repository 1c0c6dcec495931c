"""Risk against coverage, as a function of weights.

Images are answered in rising order of doubt. Those of equal doubt are in no order: every
figure is the expectation over random orders of them, or, where it is about a threshold, no
threshold parts them.

Axes: ``N`` images, ``G`` groups of equal doubt, ``P`` coverages, ``b`` resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nescio.evaluation.bootstrap import Array
from nescio.evaluation.calibration import cumulative, grouped, ranked

COVERAGES = (0.8, 0.9, 0.95, 0.99)
"""Shares to answer whose error rates are told."""

RISKS = (0.001, 0.01, 0.05)
"""Error rates whose coverages are told."""

CURVE = tuple(k / 100 for k in range(1, 90)) + tuple(k / 1000 for k in range(900, 1001))
"""Coverages where the risk-coverage curve is drawn; closer where good models work."""


@dataclass(frozen=True, eq=False)
class Selective:
    """All figures of ranking by doubt.

    Attributes:
        order: ``(N,)``, by doubt.
        starts: ``(G,)``, where groups of equal doubt begin in that order.
        errors: ``(N,)``, 1 where the answer is wrong, in that order.
        coverages: ``(P,)``, shares to answer.
        risks: Error rates to keep.
    """

    order: Array
    starts: Array
    errors: Array
    coverages: Array
    risks: tuple[float, ...]

    @staticmethod
    def of(
        correct: Array,
        doubt: Array,
        coverages: tuple[float, ...] = COVERAGES,
        risks: tuple[float, ...] = RISKS,
    ) -> Selective:
        """From ``(N,)`` bool and ``(N,)``, larger for images to be refused earlier."""
        order, starts = ranked(doubt)
        return Selective(order, starts, (~correct[order]).astype(float), np.array(coverages), risks)

    def __call__(self, weights: Array) -> Mapping[str, Array]:
        """``aurc``, ``augrc``, ``excess_aurc`` ``(b,)``, ``risk_at_coverage`` ``(b, P)`` and
        ``coverage_at_risk`` ``(b, R)`` under weights ``(b, N)``.
        """  # noqa: D205 - the names do not fit one line
        sorted_weights = weights[:, self.order]
        images = cumulative(grouped(sorted_weights, self.starts))
        errors = cumulative(grouped(sorted_weights * self.errors, self.starts))
        total = round(float(images[0, -1]))
        harmonic = cumulative(1.0 / np.arange(1, total + 1)[None])[0]
        area = _area(images, errors, harmonic)
        return {
            "aurc": area,
            "augrc": _generalised_area(images, errors),
            "excess_aurc": np.maximum(area - _best_area(errors[:, -1], total, harmonic), 0.0),
            "risk_at_coverage": _risks(images, errors, answered(self.coverages, total)),
            "coverage_at_risk": _coverages(images, errors, self.risks),
        }


def answered(coverages: Array, total: int) -> Array:
    """How many images of ``total`` a coverage stands for: rounded up, at least 1."""
    counts: Array = np.maximum(np.ceil(coverages * total - 1e-9), 1.0)
    return counts


def _area(images: Array, errors: Array, harmonic: Array) -> Array:
    """AURC: the mean, over n = 1..N, of the error rate on the n least doubtful images.

    Geifman, Uziel & El-Yaniv 2019, *Bias-reduced uncertainty estimation for deep neural
    classifiers*. Within a group with error rate e that follows A images with E errors, the
    expected rate on the first n is (E + (n - A) e) / n; its sum over the group has a closed form
    in harmonic numbers.
    """
    before, size = images[:, :-1], np.diff(images)
    rate = np.diff(errors) / np.maximum(size, 1.0)
    first, last = (np.rint(ends).astype(np.int64) for ends in (before, images[:, 1:]))
    shares = harmonic[last] - harmonic[first]
    area: Array = ((errors[:, :-1] - before * rate) * shares + size * rate).sum(1) / images[:, -1]
    return area


def _best_area(wrong: Array, total: int, harmonic: Array) -> Array:
    """The AURC of the best ranking, with all errors last: of the K last images of N.

    The sum over n > N - K of (n - (N - K)) / n; Geifman et al. 2019 give its limit.
    """
    right = np.rint(total - wrong).astype(np.int64)
    area: Array = (wrong - right * (harmonic[total] - harmonic[right])) / total
    return area


def _generalised_area(images: Array, errors: Array) -> Array:
    """AUGRC: the area under the rate of errors that are answered, of all images, by coverage.

    Traub et al. 2024, *Overcoming common flaws in the evaluation of selective classification
    systems*: the mean risk that a silent failure happens, over all thresholds. The curve is
    straight within a group, so that trapezoids are exact.
    """
    total = images[:, -1]
    heights = (errors[:, :-1] + errors[:, 1:]) / 2
    area: Array = (np.diff(images) * heights).sum(1) / total**2
    return area


def _risks(images: Array, errors: Array, counts: Array) -> Array:
    """Error rates ``(b, P)`` on the ``counts`` ``(P,)`` least doubtful images."""
    expected = [np.interp(counts, x, y) for x, y in zip(images, errors, strict=True)]
    return np.stack(expected) / counts


def _coverages(images: Array, errors: Array, risks: tuple[float, ...]) -> Array:
    """The largest coverage of a threshold with at most each error rate, ``(b, len(risks))``."""
    count = images[:, 1:]
    # As quotients, so that 29 of 100 is not more than 0.29.
    rates = errors[:, 1:] / np.maximum(count, 1.0)
    best = np.zeros((len(images), len(risks)))
    for k, risk in enumerate(risks):
        best[:, k] = np.where(rates <= risk, count, 0.0).max(1)
    return best / images[:, -1:]
