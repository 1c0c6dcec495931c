"""Figures with their 95 % intervals; exact ones for shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % confidence interval.

    Attributes:
        value: The figure observed; NaN never occurs here, an undefined figure is ``None``
            where an interval would stand.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def complement(self) -> Interval:
        """Of the share of all others, where this is a share."""
        return Interval(1 - self.value, 1 - self.high, 1 - self.low)

    def to_json(self) -> dict[str, float]:
        """``{"value": v, "low": l, "high": h}``."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @staticmethod
    def from_json(record: Mapping[str, float]) -> Interval:
        """What :meth:`to_json` wrote."""
        return Interval(float(record["value"]), float(record["low"]), float(record["high"]))

    def percent(self, digits: int = 1) -> str:
        """For a table: ``96.1 % [95.7, 96.5]``; the ends are rounded outwards."""
        scale = 100 * 10**digits
        low, high = _outwards(self.low * scale, self.high * scale)
        low, high = low / 10**digits, high / 10**digits
        return f"{100 * self.value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"

    def number(self, digits: int = 4) -> str:
        """For a table: ``0.0123 [0.0101, 0.0150]``; the ends are rounded outwards."""
        scale = 10**digits
        low, high = _outwards(self.low * scale, self.high * scale)
        low, high = low / scale, high / scale
        return f"{self.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def exact_share(count: int, total: int) -> Interval | None:
    """The share ``count / total`` with its Clopper-Pearson 95 % interval.

    Clopper & Pearson (1934): covers the true share with probability at least 95 %
    for every ``total``.

    Returns:
        ``None`` when ``total`` is 0: a share of nothing is not defined.
    """
    return None if total == 0 else between_counts(count, total)


def between_counts(count: float, total: int) -> Interval:
    """As :func:`exact_share`, for a count that ties leave between two whole numbers.

    The interval is that of the whole number below at its lower end, and of the one above at
    its upper end.

    Args:
        count: Expected over the orders of images that are tied, 0 to ``total``.
        total: At least 1.
    """
    # Imported here: prediction needs no interval, and SciPy takes a while to import.
    from scipy.special import betaincinv

    least, most = math.floor(count + 1e-9), math.ceil(count - 1e-9)
    low = float(betaincinv(least, total - least + 1, 0.025)) if least > 0 else 0.0
    high = float(betaincinv(most + 1, total - most, 0.975)) if most < total else 1.0
    return Interval(count / total, low, high)


def _outwards(low: float, high: float) -> tuple[int, int]:
    return math.floor(low + 1e-9), math.ceil(high - 1e-9)
