"""Where an answer becomes more likely wrong than right, by what calibration images show.

A network that was fitted to few images is often sure and wrong: what it says is a chance of error
of a thousandth may be one of a half. How its doubt ``d`` is to be read is seen on images held out
of training,

    logit P(wrong) = a + b logit d,

the logistic recalibration of Cox 1958 (*Two further applications of a model for binary
regression*) and Platt 1999, with ``a = 0``, ``b = 1`` for a network that means what it says. Few
images fit that line badly, so it is not fitted: all lines are weighed by their posterior
probability, which begins around the network's own word, a ~ Normal(0, 1), log b ~ Normal(0, 1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HALF = 0.5
"""The network's own word is never stretched: a larger doubt is not answered in any case."""

REACH = 4.0
"""Standard deviations of both priors that the grid of lines covers, either way."""

LINES = 33
"""Lines along each side of the grid."""

GROUPS = 64
"""More images than this are brought together in groups of neighbours by their doubt."""

LEAST_DOUBT = 1e-12
"""Smaller doubts are taken for this one."""


def break_even(doubt: Tensor, wrong: Tensor) -> float:
    """The doubt above which an answer is more likely wrong than right.

    Args:
        doubt: ``(n,)``, chances of error by the network's word, in [0, 1].
        wrong: ``(n,)`` bool, whether each of these answers was wrong.

    Returns:
        At most a half, and that for no images; 0 where every answer is more likely wrong.
    """
    intercepts, slopes, weights = _posterior(_logit(doubt), wrong.double())
    low, high = _logit(torch.tensor([0.0, HALF])).tolist()
    if _chance(intercepts + slopes * high, weights) <= HALF:
        return HALF
    if _chance(intercepts + slopes * low, weights) > HALF:
        return 0.0
    # Every slope is positive, so the chance rises with the doubt.
    for _ in range(60):
        middle = (low + high) / 2
        if _chance(intercepts + slopes * middle, weights) <= HALF:
            low = middle
        else:
            high = middle
    return float(torch.tensor(low, dtype=torch.float64).sigmoid())


def _posterior(x: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The lines ``a``, ``b`` of the grid, ``(m,)`` each, and their posterior weights."""
    steps = torch.linspace(-REACH, REACH, LINES, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps)
    intercepts, slopes = grid[:, 0], grid[:, 1].exp()
    x, bad, good = _grouped(x, wrong)
    lines = intercepts[:, None] + slopes[:, None] * x
    likelihood = F.logsigmoid(lines) @ bad + F.logsigmoid(-lines) @ good
    weights = (likelihood - 0.5 * grid.square().sum(1)).softmax(0)
    return intercepts, slopes, weights


def _grouped(x: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of each group ``(g,)``, and how many of it are wrong and right."""
    order = x.argsort(stable=True)
    count = min(GROUPS, len(x))
    group = torch.arange(len(x)) * count // max(1, len(x))

    def sums(values: Tensor) -> Tensor:
        return torch.zeros(count, dtype=x.dtype).index_add_(0, group, values)

    sizes, bad = sums(torch.ones_like(x)), sums(wrong[order])
    return sums(x[order]) / sizes, bad, sizes - bad


def _chance(logits: Tensor, weights: Tensor) -> float:
    return float((weights * logits.sigmoid()).sum())


def _logit(doubt: Tensor) -> Tensor:
    return doubt.double().clamp(LEAST_DOUBT, 1 - LEAST_DOUBT).logit()
