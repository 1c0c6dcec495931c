"""Stop sampling when the decision is settled: predictive tests on exchangeable networks.

After ``n`` of at most ``total`` sampled networks the decision that all would give is
predicted. It is *settled* when the chance that the rest changes it is below an error.
Networks are exchangeable, so what the rest does is predicted from what was seen, plus one
network that disagrees, which nobody saw: without it ten networks that agree would promise
that all will (the rule of succession).

Each test is made at several looks; an error is shared out among them, so that the chance
of a wrong stop at any look stays below it (Bonferroni).

Axes: ``n`` sampled networks so far, ``N`` images, ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LOOKS = (12, 16, 24, 32, 48, 64)
"""After how many networks it is asked whether a decision is settled."""


def looks_before(total: int) -> Sequence[int]:
    """The looks that are worth it when at most ``total`` networks are drawn."""
    return [look for look in LOOKS if look < total]


def share_is_settled(votes: Tensor, total: int, most: int, error: float) -> tuple[Tensor, Tensor]:
    """Whether a count of votes among all networks will stay at most, or go above, ``most``.

    With a Jeffreys prior on the share of networks that vote, the votes still to come are
    beta-binomial (Berger, Bernardo & Sun 2012, on predicting a proportion).

    Args:
        votes: ``(n, ...)`` bool, the votes so far.
        total: How many networks there will be.
        most: The largest count on one side of the decision.
        error: The chance of a wrong prediction that is allowed.

    Returns:
        ``(...)`` bool: settled at most ``most``; settled above it.
    """
    from scipy.stats import betabinom

    n = len(votes)
    so_far = np.arange(n + 1)
    rest = betabinom(total - n, so_far + 0.5, n - so_far + 0.5)
    at_most = rest.cdf(most - so_far)
    low = torch.from_numpy(1 - at_most <= error)
    high = torch.from_numpy(at_most <= error)
    count = votes.sum(0).cpu()
    return low[count], high[count]


def mean_is_settled(
    values: Tensor, total: int, threshold: float | Tensor, error: float, unseen: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Whether the mean over all networks will be below, or above, a threshold.

    Student's predictive interval for the mean of the networks still to come, from the
    values seen and one unseen, unfavourable one.

    Args:
        values: ``(n, ...)``, one for each network so far.
        total: How many networks there will be.
        threshold: A number, or one for each mean.
        error: The chance of a wrong prediction that is allowed.
        unseen: What a network that disagrees would give: a number, or one for each mean.

    Returns:
        ``(...)`` bool: settled below the threshold; settled above it.
    """
    # scipy.stats has the same by a plainer name, but takes most of a second to import.
    from scipy.special import stdtrit

    n = len(values)
    left = total - n
    more = torch.as_tensor(unseen, dtype=values.dtype, device=values.device)
    seen = torch.cat([values, more.expand(1, *values.shape[1:])])
    spread = seen.std(0) * (1 / (n + 1) + 1 / left) ** 0.5
    centre = (values.sum(0) + left * seen.mean(0)) / total
    reach = -float(stdtrit(n, error)) * spread * (left / total)
    return centre + reach < threshold, centre - reach > threshold
