"""Scores of sampled probabilities: pure functions of one ``(S, N, C)`` tensor.

Axes: ``S`` sampled networks, ``N`` images, ``C`` classes. Entropies are in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUANTILE_ELEMENTS = 2**24
"""``torch.quantile`` refuses larger inputs; images are cut to stay below."""


def mean_probability(probabilities: Tensor) -> Tensor:
    """Posterior predictive probabilities ``(N, C)``: the mean over the networks."""
    return probabilities.mean(0)


def quantile_probability(probabilities: Tensor, quantile: float) -> Tensor:
    """A quantile over the networks of each class's probability, ``(N, C)``.

    Linear interpolation between order statistics, as in NumPy (type 7 of Hyndman
    & Fan 1996); 0.5 is the article's median.
    """
    samples, _, classes = probabilities.shape
    step = max(1, QUANTILE_ELEMENTS // (samples * classes))
    # torch.quantile sorts along the last axis, so the networks go there.
    last: list[Tensor] = [
        part.permute(1, 2, 0).contiguous() for part in probabilities.split(step, dim=1)
    ]
    return torch.cat([torch.quantile(part, quantile, dim=-1) for part in last])


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy over the last axis; 0 log 0 is 0."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(-1)


def predictive_entropy(probabilities: Tensor) -> Tensor:
    """Total uncertainty ``(N,)``: the entropy of the mean, H[E p]."""
    return entropy(mean_probability(probabilities))


def expected_entropy(probabilities: Tensor) -> Tensor:
    """Aleatoric part ``(N,)``: the mean of the entropies, E H[p].

    Large where every sampled network is itself unsure (Depeweg et al. 2018).
    """
    return entropy(probabilities).mean(0)


def mutual_information(probabilities: Tensor) -> Tensor:
    """Epistemic part ``(N,)``: I(y; w) = H[E p] - E H[p], at least 0.

    Large where the sampled networks are each sure of something else (BALD, Houlsby
    et al. 2011).
    """
    gap = predictive_entropy(probabilities) - expected_entropy(probabilities)
    return gap.clamp_min(0.0)
