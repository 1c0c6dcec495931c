"""How well a score tells shifted images from familiar ones, as a function of weights.

Axes: ``N`` familiar images, ``M`` shifted ones, ``b`` resamples of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nescio.evaluation.bootstrap import Array
from nescio.evaluation.calibration import cumulative

TPR = 0.95
"""The share of familiar images that is let through for the false positive rate."""


@dataclass(frozen=True, eq=False)
class Detection:
    """AUROC, AUPR and FPR at 95 % TPR.

    Attributes:
        familiar: ``(N,)``, the order of the familiar images by score.
        shifted: ``(M,)``, that of the shifted ones.
        below: ``(M,)``, familiar images with a lower score than each shifted one, in order.
        up_to: ``(M,)``, those with a score not higher.
        own_below: ``(M,)``, shifted images with a lower score than each, in order.
        passing: ``(N,)``, shifted images with a score not above each familiar one, in order.
    """

    familiar: Array
    shifted: Array
    below: Array
    up_to: Array
    own_below: Array
    passing: Array

    @staticmethod
    def of(familiar: Array, shifted: Array) -> Detection:
        """From scores ``(N,)`` and ``(M,)``, larger is stranger; they may be infinite."""
        orders = np.argsort(familiar, kind="stable"), np.argsort(shifted, kind="stable")
        own, other = familiar[orders[0]], shifted[orders[1]]
        return Detection(
            *orders,
            below=np.searchsorted(own, other, "left"),
            up_to=np.searchsorted(own, other, "right"),
            own_below=np.searchsorted(other, other, "left"),
            passing=np.searchsorted(other, own, "right"),
        )

    def __call__(self, familiar: Array, shifted: Array) -> Mapping[str, Array]:
        """``auroc``, ``aupr``, ``fpr95``, each ``(b,)``, by weights ``(b, N)`` and ``(b, M)``."""
        ours, theirs = cumulative(familiar[:, self.familiar]), shifted[:, self.shifted]
        weaker = ours[:, self.below]
        totals = ours[:, -1], theirs.sum(1)
        sums = cumulative(theirs)
        return {
            "auroc": _auroc(theirs, weaker, ours[:, self.up_to], totals),
            "aupr": self._aupr(theirs, weaker, sums, totals),
            "fpr95": self._fpr(ours, sums, totals),
        }

    def _aupr(
        self, theirs: Array, weaker: Array, sums: Array, totals: tuple[Array, Array]
    ) -> Array:
        """Average precision with the shifted images as positives, as in scikit-learn.

        A threshold does not part images of equal score. It depends on how many images each
        side has.
        """
        hits = totals[1][:, None] - sums[:, self.own_below]
        alarms = totals[0][:, None] - weaker
        # A shifted image that was not drawn weighs nothing, and may have nothing above it.
        precision = hits / np.maximum(hits + alarms, 1.0)
        area: Array = (theirs * precision).sum(1) / totals[1]
        return area

    def _fpr(self, ours: Array, sums: Array, totals: tuple[Array, Array]) -> Array:
        """FPR95, with the familiar images as positives, as in OpenOOD (Yang et al. 2022).

        The strictest threshold that lets at least 95 % of them through counts.
        """
        enough = ours[:, 1:] / totals[0][:, None] >= TPR
        places = self.passing[enough.argmax(1)]
        rate: Array = sums[np.arange(len(sums)), places] / totals[1]
        return rate


def _auroc(theirs: Array, weaker: Array, up_to: Array, totals: tuple[Array, Array]) -> Array:
    """The chance that a shifted image scores above a familiar one; ties count half.

    Mann & Whitney 1947; Bamber 1975.
    """
    area: Array = (theirs * (weaker + up_to)).sum(1) / (2 * totals[0] * totals[1])
    return area
