"""From a distance to the evidence against an image: how rare so large a distance is.

    evidence(D) = -log P(distance of a training image left out >= D),   in nats.

Below the highest twentieth the probability is counted. Above, the excess follows a
generalised Pareto distribution (Pickands 1975), so that evidence goes on where no
training image went.
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


@dataclass(frozen=True)
class Tail:
    """The distribution of the distances of familiar images.

    Attributes:
        points: ``(P,)`` float32, rising distances; the last is where the Pareto tail begins.
        evidence: ``(P,)`` float32, in nats, at those distances.
        scale: Of the Pareto tail.
        shape: Of the Pareto tail; at least :data:`LEAST_SHAPE`.
    """

    points: Tensor
    evidence: Tensor
    scale: float
    shape: float

    def __call__(self, distances: Tensor) -> Tensor:
        """Evidence, of the shape of ``distances``; it rises with them, from 0."""
        place = torch.searchsorted(self.points, distances.contiguous())
        upper = place.clamp(1, len(self.points) - 1)
        lower = upper - 1
        width = (self.points[upper] - self.points[lower]).clamp_min(1e-30)
        along = ((distances - self.points[lower]) / width).clamp(0, 1)
        counted = torch.lerp(self.evidence[lower], self.evidence[upper], along)
        excess = (distances - self.points[-1]).clamp_min(0)
        beyond = torch.log1p(excess * (self.shape / self.scale)) / self.shape
        return counted + beyond

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        return {
            "tail_points": self.points,
            "tail_evidence": self.evidence,
            "tail_scale_shape": torch.tensor([self.scale, self.shape], dtype=torch.float64),
        }

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> Tail:
        """What :meth:`tensors` gave.

        Raises:
            ValueError: They do not fit together.
        """
        points, evidence = tensors["tail_points"], tensors["tail_evidence"]
        scale, shape = tensors["tail_scale_shape"].tolist()
        if points.ndim != 1 or len(points) < 2 or points.shape != evidence.shape:
            raise ValueError("the tensors of a stage do not fit together")
        return Tail(points, evidence, scale, shape)


def fit_tail(distances: Tensor) -> Tail:
    """The tail of some distances ``(n,)``, by the method of moments (Hosking & Wallis 1987)."""
    rising = distances.double().sort().values
    n = len(rising)
    shares = torch.linspace(0, 1 - TAIL, POINTS, dtype=torch.float64, device=rising.device)
    points = torch.quantile(rising, shares) if n <= 2**24 else rising[(shares * (n - 1)).long()]
    excess = rising[rising > points[-1]] - points[-1]
    mean = float(excess.mean()) if len(excess) else 0.0
    variance = float(excess.var()) if len(excess) > 1 else 0.0
    # Where the tail is a point or two, or all alike, it is taken for exponential.
    mean = mean if mean > 0 else max(float(points[-1]), 1.0) * TAIL
    shape = 0.5 * (1 - mean**2 / variance) if variance > 0 and len(excess) > 10 else 0.0
    shape = max(shape, LEAST_SHAPE)
    return Tail(
        points.float(),
        -torch.log1p(-shares).float(),
        max(mean * (1 - shape), math.sqrt(torch.finfo(torch.float32).tiny)),
        shape,
    )
