"""From a distance to the evidence against an image: how rare so large a distance is.

    evidence_c(D) = -log P(distance of a training image of class c, left out, >= D),   in nats.

Logarithms of distances are brought to the mean and spread of each class first: images of one
class may lie closer together than those of another. What is then left is told once for all
classes: below the highest twentieth the probability is counted; above, the excess follows a
generalised Pareto distribution (Pickands 1975), so that evidence goes on where no training
image went.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

POINTS = 512
"""Where the counted part is kept."""

TAIL = 0.05
"""The share of distances that the Pareto tail is fitted to."""

LEAST_SHAPE = 1e-3
"""A tail without an end: an image farther than any other is never impossible."""

PRIOR_IMAGES = 20.0
"""So many images of all classes stand beside those of each class when its mean and spread are
taken, so that classes with few images lean on the others."""

PRIOR_EXCESSES, PRIOR_EXCESS = 2.0, 0.5
"""So many excesses of this size, in standard deviations, stand beside those of the images."""

FLOOR = 1e-3
"""Distances are told apart down to this share of the median one."""


@dataclass(frozen=True)
class Tail:
    """The distribution of the distances of familiar images.

    Attributes:
        centres: ``(C,)`` float32, the mean logarithm of the distances of each class.
        spreads: ``(C,)`` float32, their standard deviation.
        points: ``(P,)`` float32, rising standardised logarithms; the last is where the Pareto
            tail begins.
        evidence: ``(P,)`` float32, in nats, there.
        floor: Added to every distance.
        scale: Of the Pareto tail.
        shape: Of the Pareto tail; at least :data:`LEAST_SHAPE`.
    """

    centres: Tensor
    spreads: Tensor
    points: Tensor
    evidence: Tensor
    floor: float
    scale: float
    shape: float

    def __call__(self, distances: Tensor) -> Tensor:
        """Evidence ``(n, C)`` for distances ``(n, C)`` from each class; it rises, from 0."""
        return self._of(((distances + self.floor).log() - self.centres) / self.spreads)

    def of_class(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Evidence ``(n,)`` for distances ``(n,)`` from the classes ``labels`` ``(n,)``."""
        logarithms = (distances + self.floor).log()
        return self._of((logarithms - self.centres[labels]) / self.spreads[labels])

    def _of(self, z: Tensor) -> Tensor:
        place = torch.searchsorted(self.points, z.contiguous())
        upper = place.clamp(1, len(self.points) - 1)
        lower = upper - 1
        width = (self.points[upper] - self.points[lower]).clamp_min(1e-30)
        along = ((z - self.points[lower]) / width).clamp(0, 1)
        counted = torch.lerp(self.evidence[lower], self.evidence[upper], along)
        excess = (z - self.points[-1]).clamp_min(0)
        beyond = torch.log1p(excess * (self.shape / self.scale)) / self.shape
        return counted + beyond

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        numbers = [self.floor, self.scale, self.shape]
        return {
            "tail_centres": self.centres,
            "tail_spreads": self.spreads,
            "tail_points": self.points,
            "tail_evidence": self.evidence,
            "tail_floor_scale_shape": torch.tensor(numbers, dtype=torch.float64),
        }

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> Tail:
        """What :meth:`tensors` gave.

        Raises:
            ValueError: They do not fit together.
        """
        names = ("centres", "spreads", "points", "evidence")
        centres, spreads, points, evidence = (tensors[f"tail_{name}"] for name in names)
        floor, scale, shape = tensors["tail_floor_scale_shape"].tolist()
        if (
            points.ndim != 1
            or len(points) < 2
            or points.shape != evidence.shape
            or centres.ndim != 1
            or centres.shape != spreads.shape
        ):
            raise ValueError("the tensors of a stage do not fit together")
        return Tail(centres, spreads, points, evidence, floor, scale, shape)


def fit_tail(
    distances: Tensor,
    labels: Tensor,
    classes: int,
    apart: tuple[Tensor, Tensor] | None = None,
) -> Tail:
    """The tail of the distances ``(n,)`` of images from their own classes ``(n,)``.

    The Pareto tail is fitted by the method of moments (Hosking & Wallis 1987).

    Args:
        distances: ``(n,)``, of the training images left out.
        labels: ``(n,)`` int64, their classes.
        classes: ``C``.
        apart: Distances ``(m,)`` and labels ``(m,)`` of a few images that the network was not
            trained on, where it was trained on the others: they tell where distances lie, and how
            far they spread; the many tell the shape.
    """
    distances = distances.double()
    floor = max(FLOOR * float(distances.median()), math.sqrt(torch.finfo(torch.float32).tiny))
    logarithms = (distances + floor).log()
    centres, spreads = _by_class(logarithms, labels, classes)
    rising = ((logarithms - centres[labels]) / spreads[labels]).sort().values
    if apart is not None:
        far, own = apart
        away = ((far.double() + floor).log() - centres[own]) / spreads[own]
        ratio, moved = _moved(rising, away)
        centres, spreads = centres + spreads * moved, spreads * ratio
    n = len(rising)
    shares = torch.linspace(0, 1 - TAIL, POINTS, dtype=torch.float64, device=rising.device)
    points = torch.quantile(rising, shares) if n <= 2**24 else rising[(shares * (n - 1)).long()]
    excess = rising[rising > points[-1]] - points[-1]
    # Where the tail is a point or two, it is taken for exponential, and much as others are.
    mean = (float(excess.sum()) + PRIOR_EXCESSES * PRIOR_EXCESS) / (len(excess) + PRIOR_EXCESSES)
    variance = float(excess.var()) if len(excess) > 1 else 0.0
    shape = 0.5 * (1 - mean**2 / variance) if variance > 0 and len(excess) > 10 else 0.0
    shape = max(shape, LEAST_SHAPE)
    return Tail(
        centres.float(),
        spreads.float(),
        points.float(),
        -torch.log1p(-shares).float(),
        floor,
        mean * (1 - shape),
        shape,
    )


def _moved(rising: Tensor, away: Tensor) -> tuple[float, float]:
    """By what numbers are multiplied, then added to, so that quartiles become those of others.

    Quartiles, since a few of the others may be of another class than their labels say.
    """
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=rising.dtype, device=rising.device)
    low, middle, high = torch.quantile(rising[:: 1 + len(rising) // 2**20], shares).tolist()
    low_apart, middle_apart, high_apart = torch.quantile(away, shares).tolist()
    ratio = max(FLOOR, (high_apart - low_apart) / max(FLOOR, high - low))
    return ratio, middle_apart - ratio * middle


def _by_class(values: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``(C,)`` of each class, drawn towards those of all."""
    counts = torch.bincount(labels, minlength=classes) + PRIOR_IMAGES

    def means(of: Tensor) -> Tensor:
        sums = torch.zeros(classes, dtype=of.dtype, device=of.device).index_add_(0, labels, of)
        return (sums + PRIOR_IMAGES * of.mean()) / counts

    centres = means(values)
    spreads = means((values - centres[labels]).square()).sqrt()
    # Where all images are alike any other distance is strange, but none is infinitely so.
    return centres, spreads.clamp_min(FLOOR)
