"""Scores: pure functions of the sampled probabilities, and of the evidence of familiarity.

Axes: ``S`` sampled networks, ``N`` images, ``C`` classes, ``L`` stages. Entropies and evidence
are in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def error_probability(probabilities: Tensor) -> Tensor:
    """How probable it is that the best answer is wrong, ``(N,)``: 1 - max E p.

    The Bayes-optimal score for refusing where errors cost alike (Chow 1970). It is summed
    over the other classes, so that it has all its digits where the answer is almost sure.
    """
    mean = mean_probability(probabilities)
    top = torch.nn.functional.one_hot(mean.argmax(-1), mean.shape[-1]).bool()
    others: Tensor = mean.masked_fill(top, 0.0).sum(-1)
    return others


def winner_shortfall(probabilities: Tensor, quantile: float = 0.1) -> Tensor:
    """What the winning class's probability lacks to 1 at a low quantile, ``(N,)``.

    The article's idea, generalised: its stricter rule asks for a 10th percentile of at
    least a half.
    """
    top = mean_probability(probabilities).argmax(-1)
    of_top = probabilities.gather(-1, top.expand(len(probabilities), -1)[..., None])
    return 1.0 - quantile_probability(of_top, quantile)[:, 0]


def variation_ratio(probabilities: Tensor) -> Tensor:
    """The share of networks that would not give the commonest answer, ``(N,)``.

    Freeman 1965, *Elementary applied statistics*; for sampled networks Gal 2016.
    """
    votes = torch.nn.functional.one_hot(probabilities.argmax(-1), probabilities.shape[-1])
    return 1.0 - votes.float().mean(0).amax(-1)


SHARED = 0.2
"""Two classes with more than this each share an image: it lies between them."""

DOUBTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "error_probability": error_probability,
    "predictive_entropy": predictive_entropy,
    "mutual_information": mutual_information,
    "winner_shortfall": winner_shortfall,
    "variation_ratio": variation_ratio,
}
"""Scores of ambiguity, ``(S, N, C)`` to ``(N,)``, larger where the answer is less sure."""


def class_unfamiliarity(evidence: Tensor) -> Tensor:
    """Evidence that an image is of no class, ``(N, C)``, for evidence ``(N, L, C)`` by stage.

    Minus the logarithm of the weighted harmonic mean of the stages' p-values (Wilson 2019); the
    weights are a part of the evidence, see :mod:`nescio.familiarity.familiarity`.
    """
    return evidence.logsumexp(1)


def joint_probability(probabilities: Tensor, unfamiliarity: Tensor) -> Tensor:
    """What each network says once it is told how far the image lies from every class.

    Bayes' rule with the network's answer as the prior and the chance of so large a distance as
    the likelihood: ``p(c | x) exp(-unfamiliarity_c)``, brought to sum 1. A network that is
    sure of a 9 where the image lies among the 4s is no longer sure. Where the two leave no class
    any chance that could be told from 0, all are as probable.

    Args:
        probabilities: ``(S, N, C)``.
        unfamiliarity: ``(N, C)``, see :func:`class_unfamiliarity`.

    Returns:
        ``(S, N, C)``.
    """
    beyond = unfamiliarity - unfamiliarity.min(-1, keepdim=True).values
    # Infinitely far from all classes alike: nothing is told about which.
    weights = (-beyond).nan_to_num(0.0, neginf=-torch.inf).exp().to(probabilities)
    joint = probabilities * weights
    total = joint.sum(-1, keepdim=True)
    least = torch.finfo(joint.dtype).tiny
    nothing = total < least
    if bool(nothing.any()):
        joint, total = joint.where(~nothing, 1.0), total.where(~nothing, joint.shape[-1])
    return joint / total


def answer(joint: Tensor, doubt: str) -> tuple[Tensor, Tensor]:
    """The answer of networks that know how familiar each class is, and how doubtful it is.

    Args:
        joint: ``(S, N, C)``, see :func:`joint_probability`.
        doubt: A name in :data:`DOUBTS`.

    Returns:
        The most probable class, int64, and the doubt, ``(N,)`` each.
    """
    return mean_probability(joint).argmax(-1), DOUBTS[doubt](joint)


def between_classes(probabilities: Tensor) -> Tensor:
    """Whether two classes have more than a fifth each, ``(N,)`` bool, for ``(S, N, C)``."""
    return (mean_probability(probabilities) > SHARED).sum(-1) > 1


def p_value(reference: Tensor, scores: Tensor) -> Tensor:
    """The share of familiar images that are as strange as these, or more, ``(N,)``.

    The conformal p-value (Vovk, Gammerman & Shafer 2005): (1 + how many of the reference are
    at least as large) / (1 + how many there are).

    Args:
        reference: ``(M,)`` rising scores of images held out of training.
        scores: ``(N,)``.
    """
    below = torch.searchsorted(reference, scores.contiguous())
    return (1 + len(reference) - below).float() / (1 + len(reference))
