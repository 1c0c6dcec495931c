"""What each stage is worth: how well it tells classes that it was not shown.

Classes are left out in turn, some at a time. A density is fitted to the images of the others, and
asked for those left out: how often does one lie farther from its nearest class than an image of
the others from its own? Always, at best; about half of the time where a stage sees nothing, or
less, since the nearest of many classes is the nearer the more there are. No image but the training
images is asked for, and none of them is strange: a class left out is the nearest thing to a
stranger that they hold.

A network that was trained with a class has learned to tell it from the others, so what its own
stages are worth is told too high, the later the more. That is no harm among its layers, since the
later ones see best what is new in networks that were trained without (docs/refusal.md has the
figures); the output is taken for as good a witness as the last layer. No stage is left out
altogether, for what is strange in another way, such as noise, may show nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nescio.familiarity.perclass import ClassGaussians
from nescio.familiarity.shared import SharedGaussian
from nescio.familiarity.tail import fit_tail

GROUPS = 6
"""Groups in which classes are left out."""

SHARPNESS = 4
"""The power of a stage's worth beside that of the best, to which it weighs."""

LEAST_WEIGHT = 0.1
"""Of any stage, beside the best."""

Fit = Callable[[Tensor, Tensor, int], ClassGaussians | SharedGaussian]
"""From features ``(n, d)``, labels and the number of classes to a density."""


def stage_worth(features: Tensor, labels: Tensor, classes: int, fit: Fit) -> float:
    """The area under the ROC curve of a stage for classes left out, mean over the classes.

    Args:
        features: ``(n, d)`` of the training images.
        labels: ``(n,)`` int64; every class occurs.
        classes: ``C``.
        fit: What fits the density of the stage.

    Returns:
        In [0, 1]; a half for a single class.
    """
    if classes < 2:
        return 0.5
    groups = min(GROUPS, classes)
    areas: list[float] = []
    for group in range(groups):
        out = torch.arange(classes, device=labels.device) % groups == group
        left = out[labels]
        kept, own = features[~left], ((~out).cumsum(0) - 1)[labels[~left]]
        density = fit(kept, own, int((~out).sum()))
        distances = density.left_out(kept, own)
        tail = fit_tail(distances, own, density.classes)
        familiar = tail.of_class(distances, own)
        strange = tail(density.distances(features[left])).min(1).values
        areas += [area(familiar, strange[labels[left] == c]) for c in out.nonzero()[:, 0].tolist()]
    return sum(areas) / len(areas)


def area(low: Tensor, high: Tensor) -> float:
    """How often a number of ``high`` is above one of ``low``, ties half (Mann & Whitney 1947)."""
    rising = low.sort().values
    below = torch.searchsorted(rising, high.contiguous())
    at_most = torch.searchsorted(rising, high.contiguous(), right=True)
    return float((below + at_most).double().mean()) / (2 * max(1, len(low)))


def log_weights(worth: Mapping[str, float]) -> dict[str, float]:
    """The logarithms of the weights of stages, which sum to 1, from what each is worth."""
    above = {name: max(0.0, 2 * own - 1) for name, own in worth.items()}
    best = max(above.values()) or 1.0
    weights = {name: max(LEAST_WEIGHT, (own / best) ** SHARPNESS) for name, own in above.items()}
    total = sum(weights.values())
    return {name: math.log(own / total) for name, own in weights.items()}
