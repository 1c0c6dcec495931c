"""One budget for two reasons to refuse: how strange and how doubtful an image may be together.

Each of the two scores of an image has a rank among those of the calibration images; the rarer
both are, the smaller is the product of the ranks. What has too small a product is refused
(Fisher 1932, *Statistical methods for research workers*: p-values are combined by their
product). In the plane of the two scores that is a falling staircase: the stranger an image, the
less doubt is allowed. Doubt must only ever add to strangeness: networks may be sure of what they
never saw, so the calibrated rule asks this of images that passed a gate for the strange alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.refusal.calibration import conformal_threshold

EVERY, RATIO = 32, 1.03
"""The staircase has a step at each of the first ranks, then at every next multiple."""


@dataclass(frozen=True)
class Frontier:
    """How much doubt is allowed at which unfamiliarity: ``K`` steps.

    Attributes:
        edges: Rising unfamiliarities, in nats: step ``k`` ends at the ``k``-th, that included.
            What lies beyond the last is refused whatever its doubt.
        limits: The doubt that is allowed on each step, falling.
        ranks: 1 + how many calibration images are at least as strange as the least strange
            image of that step may be.
        product: Of both ranks, below which an image is refused.
    """

    edges: tuple[float, ...]
    limits: tuple[float, ...]
    ranks: tuple[int, ...]
    product: int

    @property
    def end(self) -> float:
        """The unfamiliarity beyond which no doubt is small enough."""
        return self.edges[-1] if self.edges else -math.inf

    def allowed(self, unfamiliarity: Tensor) -> Tensor:
        """The largest doubt that is answered, ``(N,)``; minus infinity for none."""
        limits = torch.tensor([*self.limits, -math.inf], dtype=unfamiliarity.dtype)
        return limits[self._step(unfamiliarity)]

    def stranger(self, unfamiliarity: Tensor, doubt: Tensor) -> Tensor:
        """Whether the unfamiliarity of each image is rarer than its doubt, ``(N,)`` bool."""
        ranks = torch.tensor([*self.ranks, 1])
        # The first step on which so much doubt is refused has the rank that completes its own.
        limits = torch.tensor(self.limits, dtype=doubt.dtype)
        step = torch.searchsorted(-limits, -doubt.contiguous(), right=True)
        return ranks[self._step(unfamiliarity)] * ranks[step] <= self.product

    def _step(self, unfamiliarity: Tensor) -> Tensor:
        edges = torch.tensor(self.edges, dtype=unfamiliarity.dtype)
        return torch.searchsorted(edges, unfamiliarity.contiguous())


def find_frontier(
    unfamiliarity: Tensor, doubt: Tensor, max_refusal: float, most_doubt: float
) -> Frontier | None:
    """The staircase beyond which a new familiar image falls with at most a given chance.

    Ranks of a new image are taken among the calibration images and itself, those of a
    calibration image among the calibration images alone. In exact (full) conformal prediction
    they would be taken among all; theirs would be the same or larger by one, so the threshold
    set here refuses no more, and the bound holds for every number of images and every
    distribution, over the draw of both (Vovk, Gammerman & Shafer 2005).

    Args:
        unfamiliarity: ``(n,)`` of the calibration images, in nats.
        doubt: ``(n,)``.
        max_refusal: The share of familiar images that may be refused, in (0, 1).
        most_doubt: What is beyond it is refused in any case, and counts for the budget.

    Returns:
        ``None`` where there is none to share: too few images, or more than ``max_refusal`` of
        them with more doubt than ``most_doubt``.
    """
    n = len(doubt)
    product = _ranks(unfamiliarity) * _ranks(doubt)
    score = (-product.double()).masked_fill(doubt > most_doubt, math.inf)
    threshold = conformal_threshold(score, max_refusal)
    if math.isinf(threshold):
        return None
    least = round(-threshold)
    strangest = unfamiliarity.sort(descending=True).values.tolist()
    doubtful = doubt.sort(descending=True).values.tolist()
    steps = []
    grid = _grid(n)
    # On the step that begins beyond rank ``low`` and ends at rank ``high`` at most ``low - 1``
    # others are as strange: the most that any image there has, so none is refused too many.
    for high, low in zip([0, *grid], [*grid, n + 1], strict=True):
        most = math.ceil(least / low) - 2  # others as doubtful, where it is refused
        if most >= n:
            continue
        edge = math.inf if high == 0 else strangest[high - 1]
        limit = most_doubt if most < 0 else min(most_doubt, doubtful[most])
        steps.append((edge, limit, low))
    # Of steps that end at the same place, where scores are equal, the first holds what is there.
    own = {edge: (limit, low) for edge, limit, low in steps}
    edges = tuple(sorted(own))
    limits, ranks = zip(*(own[edge] for edge in edges), strict=True)
    return Frontier(edges, limits, ranks, least)


def _ranks(scores: Tensor) -> Tensor:
    """How many are at least as large, itself included, ``(n,)`` int64."""
    rising = scores.sort().values
    return len(scores) - torch.searchsorted(rising, scores.contiguous())


def _grid(n: int) -> list[int]:
    """The ranks at which steps end, rising."""
    ranks = list(range(1, min(n, EVERY) + 1))
    while ranks and ranks[-1] < n:
        ranks.append(min(n, math.ceil(ranks[-1] * RATIO)))
    return ranks
