"""Proper scores and calibration errors, as functions of weights.

Axes: ``N`` images, ``C`` classes, ``B`` bins, ``b`` resamples (:mod:`bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nescio.evaluation.bootstrap import Array
from nescio.evaluation.checks import bins_of, same_length, shares, truths
from nescio.evaluation.intervals import Interval, exact_share
from nescio.evaluation.study import JudgedSet

BINS = 15
"""As in Guo et al. 2017."""

SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""A probability that rounded to 0 counts as this one, so that one image costs at most
87.3 nats and never infinitely many."""


def mean(values: Array, weights: Array) -> Array:
    """Weighted means ``(b,)`` of ``(N,)`` values."""
    means: Array = weights @ values / weights.sum(1)
    return means


def log_loss(label_probability: Array) -> Array:
    """-log p(label) of each image, ``(N,)``, in nats."""
    losses: Array = -np.log(np.maximum(label_probability.astype(float), SMALLEST_PROBABILITY))
    return losses


def brier(labels: Array, probability: Array) -> Array:
    """The Brier score of each image, ``(N,)``: sum over classes of (p - truth)^2, 0 to 2.

    Brier 1950, *Verification of forecasts expressed in terms of probability*, with all classes
    in the sum, as he had it.

    Args:
        labels: ``(N,)``.
        probability: ``(N, C)``.
    """
    values = probability.astype(float)
    of_label = np.take_along_axis(values, labels.astype(np.int64)[:, None], 1)[:, 0]
    # The square of the true class's distance takes the place of that of its probability.
    scores: Array = (values**2).sum(1) - of_label**2 + (1.0 - of_label) ** 2
    return scores


def bin_of(confidence: Array, bins: int = BINS) -> Array:
    """The bin of equal width of each value, ``(N,)``: bin k is (k / B, (k + 1) / B].

    0 falls in the first bin.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return np.searchsorted(edges, confidence.astype(float))


@dataclass(frozen=True, eq=False)
class EqualWidth:
    """ECE: the mean gap between confidence and frequency over bins of equal width.

    Naeini, Cooper & Hauskrecht 2015; with 15 bins, half open at their lower ends, Guo et al.
    2017, *On calibration of modern neural networks*. Empty bins count nothing.

    Attributes:
        confidence: ``(N,)`` float64.
        happened: ``(N,)`` bool.
        inside: ``(N, B)``, 1 in the image's bin.
    """

    confidence: Array
    happened: Array
    inside: Array

    @staticmethod
    def of(confidence: Array, happened: Array, bins: int = BINS) -> EqualWidth:
        """From confidences ``(N,)`` and what happened ``(N,)`` bool."""
        inside = np.zeros((len(confidence), bins))
        inside[np.arange(len(inside)), bin_of(confidence, bins)] = 1.0
        return EqualWidth(confidence.astype(float), happened, inside)

    def __call__(self, weights: Array) -> Array:
        """The error ``(b,)`` under weights ``(b, N)``."""
        gaps = self.inside * (self.happened - self.confidence)[:, None]
        error: Array = np.abs(weights @ gaps).sum(1) / weights.sum(1)
        return error

    def had(self, happened: Array) -> Array:
        """The error ``(b,)`` had other things happened, ``(b, N)``."""
        gaps = (happened - self.confidence) @ self.inside
        error: Array = np.abs(gaps).sum(1) / len(self.confidence)
        return error


@dataclass(frozen=True, eq=False)
class EqualMass:
    """ECE over bins of equally many images.

    Nguyen & O'Connor 2015, *Posterior calibration and exploratory analysis for NLP*. Of ``N``
    images in rising order of confidence bin k ends before number (k + 1) N / B, rounded down;
    with fewer images than bins each has its own. Images of equal confidence are in no order:
    each bin that their group reaches has its share of the group's mean.

    Attributes:
        order: ``(N,)``, by confidence.
        starts: ``(G,)``, where groups of equal confidence begin in that order.
        confidence: ``(N,)`` float64, in that order.
        happened: ``(N,)`` bool, in that order.
        bins: ``B``.
    """

    order: Array
    starts: Array
    confidence: Array
    happened: Array
    bins: int

    @staticmethod
    def of(confidence: Array, happened: Array, bins: int = BINS) -> EqualMass:
        """From confidences ``(N,)`` and what happened ``(N,)`` bool."""
        order, starts = ranked(confidence)
        return EqualMass(order, starts, confidence[order].astype(float), happened[order], bins)

    def __call__(self, weights: Array) -> Array:
        """The error ``(b,)`` under weights ``(b, N)``."""
        sorted_weights = weights[:, self.order]
        return self._error(sorted_weights, sorted_weights * (self.happened - self.confidence))

    def had(self, happened: Array) -> Array:
        """The error ``(b,)`` had other things happened, ``(b, N)``."""
        gaps = happened[:, self.order] - self.confidence
        return self._error(np.ones_like(gaps), gaps)

    def _error(self, weights: Array, gaps: Array) -> Array:
        ends = cumulative(grouped(weights, self.starts))
        sums = cumulative(grouped(gaps, self.starts))
        total = round(float(ends[0, -1]))
        places = np.arange(self.bins + 1) * total // self.bins
        at = np.stack([np.interp(places, x, y) for x, y in zip(ends, sums, strict=True)])
        error: Array = np.abs(np.diff(at, axis=1)).sum(1) / total
        return error


@dataclass(frozen=True, eq=False)
class Classwise:
    """Classwise ECE: the mean over classes of the ECE of their own probabilities.

    Kull et al. 2019, *Beyond temperature scaling*; bins of equal width.

    Attributes:
        places: ``(C, N)``, the bin of each class's probability.
        probability: ``(C, N)`` float32.
        labels: ``(N,)``.
        bins: ``B``.
    """

    places: Array
    probability: Array
    labels: Array
    bins: int

    @staticmethod
    def of(labels: Array, probability: Array, bins: int = BINS) -> Classwise:
        """From labels ``(N,)`` and probabilities ``(N, C)``."""
        values = np.ascontiguousarray(probability.T.astype(np.float32))
        return Classwise(bin_of(values, bins).astype(np.uint8), values, labels, bins)

    def __call__(self, weights: Array) -> Array:
        """The error ``(b,)`` under weights ``(b, N)``."""
        narrow = weights.astype(np.float32)

        def gaps(c: int, inside: Array) -> Array:
            found: Array = narrow @ (inside * ((self.labels == c) - self.probability[c])[:, None])
            return found

        error: Array = self._error(gaps, len(weights)) / weights.sum(1)
        return error

    def had(self, labels: Array) -> Array:
        """The error ``(b,)`` had the labels been others, ``(b, N)``."""

        def gaps(c: int, inside: Array) -> Array:
            found: Array = ((labels == c) - self.probability[c]) @ inside
            return found

        error: Array = self._error(gaps, len(labels)) / labels.shape[1]
        return error

    def _error(self, gaps: Callable[[int, Array], Array], count: int) -> Array:
        images, error = np.arange(len(self.labels)), np.zeros(count)
        for c, places in enumerate(self.places):
            # One class at a time: all of them would not fit a processor's cache.
            inside = np.zeros((len(images), self.bins), np.float32)
            inside[images, places] = 1.0
            error += np.abs(gaps(c, inside)).sum(1)
        error /= len(self.places)
        return error


@dataclass(frozen=True, eq=False)
class Forced:
    """All figures of a model that always answers, as a function of weights.

    Attributes:
        losses: ``(N,)`` negative log-likelihoods, in nats.
        scores: ``(N,)`` Brier scores.
        predicted: ``(N,)``, the most probable classes.
        equal_width: Of the answers' confidence.
        equal_mass: Likewise.
        classwise: ``None`` where the probabilities of all classes are not known.
    """

    losses: Array
    scores: Array
    predicted: Array
    equal_width: EqualWidth
    equal_mass: EqualMass
    classwise: Classwise | None

    @staticmethod
    def of(test: JudgedSet) -> Forced:
        """Of a set with labels."""
        labels, of_label, scores = test.labels, test.label_probability, test.brier
        assert labels is not None and of_label is not None and scores is not None  # noqa: S101, PT018
        right, every = test.predicted == labels, test.probability
        return Forced(
            log_loss(of_label),
            scores.astype(float),
            test.predicted,
            EqualWidth.of(test.confidence, right),
            EqualMass.of(test.confidence, right),
            None if every is None else Classwise.of(labels, every),
        )

    def __call__(self, weights: Array) -> Mapping[str, Array]:
        """``nll``, ``brier``, ``ece``, ``ece_equal_mass`` and ``classwise_ece``, each ``(b,)``."""
        known = {} if self.classwise is None else {"classwise_ece": self.classwise(weights)}
        return {
            "nll": mean(self.losses, weights),
            "brier": mean(self.scores, weights),
            "ece": self.equal_width(weights),
            "ece_equal_mass": self.equal_mass(weights),
            **known,
        }

    def had(self, labels: Array) -> Mapping[str, Array]:
        """The calibration errors, each ``(b,)``, had the labels been others, ``(b, N)``."""
        happened = labels == self.predicted
        known = {} if self.classwise is None else {"classwise_ece": self.classwise.had(labels)}
        return {
            "ece": self.equal_width.had(happened),
            "ece_equal_mass": self.equal_mass.had(happened),
            **known,
        }


@dataclass(frozen=True)
class ReliabilityBin:
    """Images of like confidence.

    Attributes:
        low: Lower edge, excluded but for 0.
        high: Upper edge, included.
        images: How many there are, at least 1.
        confidence: Their mean confidence.
        accuracy: Share right, with its exact interval.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: Interval


def reliability(confidence: Array, correct: Array, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """What a reliability diagram shows: the bins of equal width that hold images.

    Args:
        confidence: ``(N,)`` in [0, 1].
        correct: ``(N,)`` bool.
        bins: How many.

    Raises:
        DataError: They are no such values, or of different length.
    """
    confidence, correct = shares("confidence", confidence), truths("correct", correct)
    same_length(confidence=confidence, correct=correct)
    place, found = bin_of(confidence, bins_of(bins)), []
    for k in range(bins):
        inside = place == k
        accuracy = exact_share(int(correct[inside].sum()), int(inside.sum()))
        if accuracy is not None:
            average = float(confidence[inside].astype(float).mean())
            count = int(inside.sum())
            found.append(ReliabilityBin(k / bins, (k + 1) / bins, count, average, accuracy))
    return tuple(found)


def ranked(values: Array) -> tuple[Array, Array]:
    """The rising order of values ``(N,)``, and where groups of equal ones begin in it, ``(G,)``."""
    order = np.argsort(values, kind="stable")
    inner = values[order]
    return order, np.flatnonzero(np.concatenate([[True], inner[1:] != inner[:-1]]))


def grouped(values: Array, starts: Array) -> Array:
    """Sums ``(b, G)`` over groups of successive columns of ``(b, N)``."""
    if len(starts) == values.shape[1]:
        return values
    sums: Array = np.add.reduceat(values, starts, axis=1)
    return sums


def cumulative(values: Array) -> Array:
    """Running sums ``(b, G + 1)`` of ``(b, G)``, from 0 on."""
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
