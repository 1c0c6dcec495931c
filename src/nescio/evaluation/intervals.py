"""Exact confidence intervals for shares."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % confidence interval.

    Attributes:
        value: The share observed; NaN never occurs here, an undefined share is ``None``
            where an interval would stand.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """``{"value": v, "low": l, "high": h}``."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def percent(self, digits: int = 1) -> str:
        """For a table: ``96.1 % [95.7, 96.5]``; the ends are rounded outwards."""
        scale = 100 * 10**digits
        low = math.floor(self.low * scale + 1e-9) / 10**digits
        high = math.ceil(self.high * scale - 1e-9) / 10**digits
        return f"{100 * self.value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"


def exact_share(count: int, total: int) -> Interval | None:
    """The share ``count / total`` with its Clopper-Pearson 95 % interval.

    Clopper & Pearson (1934): covers the true share with probability at least 95 %
    for every ``total``.

    Returns:
        ``None`` when ``total`` is 0: a share of nothing is not defined.
    """
    # Imported here: SciPy's statistics take longer to import than a short command runs.
    from scipy.stats import binomtest

    if total == 0:
        return None
    bounds = binomtest(count, total).proportion_ci(confidence_level=0.95, method="exact")
    return Interval(count / total, float(bounds.low), float(bounds.high))
