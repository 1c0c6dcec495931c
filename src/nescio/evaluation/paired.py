"""Two shares of the same images: is one higher?

Axes: ``N`` images that both models answered.
"""

from __future__ import annotations

import math

from nescio.evaluation.bootstrap import Array
from nescio.evaluation.intervals import Interval

QUANTILE = 1.959963984540054
"""Of the standard normal distribution, at 97.5 %."""


def paired_shares(first: Array, second: Array) -> tuple[Interval, float]:
    """How much more often something holds for the second than for the first.

    Args:
        first: ``(N,)`` bool.
        second: ``(N,)`` bool, of the same images.

    Returns:
        The difference of the shares, second less first, with Tango's 95 % score interval
        (:func:`score_interval`), and the p-value of McNemar's exact test.
    """
    gained = int((second & ~first).sum())
    lost = int((first & ~second).sum())
    return score_interval(gained, lost, len(first)), mcnemar(gained, lost)


def mcnemar(gained: int, lost: int) -> float:
    """The exact p-value of McNemar 1947: the images on which two models differ, as coin tosses.

    Args:
        gained: Images where only the second is right.
        lost: Images where only the first is.
    """
    from scipy.stats import binomtest

    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost).pvalue)


def score_interval(gained: int, lost: int, total: int) -> Interval:
    """The difference of two paired shares, with its score interval.

    Tango 1998, *Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design*. It holds where few images differ, or none, too: there a bootstrap
    would see no doubt at all.

    Args:
        gained: Images where only the second is right.
        lost: Images where only the first is.
        total: ``N``, at least 1.
    """
    from scipy.optimize import brentq

    value = (gained - lost) / total

    def beyond(difference: float, side: float) -> float:
        return _score(gained, lost, total, difference) - side * QUANTILE

    # The score falls as the difference rises, without bound towards -1 and 1.
    edge = 1.0 - 1e-12
    low = brentq(beyond, -edge, value, (1.0,)) if beyond(-edge, 1.0) > 0 and value > -edge else -1.0
    high = brentq(beyond, value, edge, (-1.0,)) if beyond(edge, -1.0) < 0 and value < edge else 1.0
    return Interval(value, min(float(low), value), max(float(high), value))


def _score(gained: int, lost: int, total: int, difference: float) -> float:
    """Tango's statistic: the distance of what was seen from ``difference``, in deviations."""
    lacking = _most_likely_loss(gained, lost, total, difference)
    variance = total * (2 * lacking + difference * (1 - difference))
    gap = gained - lost - total * difference
    if variance <= 0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / math.sqrt(variance)


def _most_likely_loss(gained: int, lost: int, total: int, difference: float) -> float:
    """The likeliest chance that only the first is right, given the difference of the chances."""
    linear = (2 * total - gained + lost) * difference - gained - lost
    constant = -lost * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 8 * total * constant, 0.0))
    return max((root - linear) / (4 * total), 0.0, -difference)
