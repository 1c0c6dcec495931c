"""SWAG: a Normal fitted to the path of stochastic gradient descent.

Maddox et al. 2019, *A simple baseline for Bayesian uncertainty in deep learning*. From the trained
network on, descent goes on at a constant rate, and the random weights after each pass (of small
sets, after a few) are a snapshot, ``K`` in all. With their mean m, variances v and deviations d_k
from the mean,

    w ~ Normal(m, (diag(v) + sum_k d_k d_k^T / (K - 1)) / 2)

Layers that are not random keep their trained values while snapshots are collected, and batch
normalisation keeps its statistics: every sampled network meets those that it was trained with, so
none need be computed anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nescio.data import parse_augmentation, to_float
from nescio.devices import lowered
from nescio.errors import DivergenceError
from nescio.inference.choice import Choice
from nescio.inference.fit import fit_guide
from nescio.inference.fitted import Fit
from nescio.inference.head import Head
from nescio.inference.job import Job
from nescio.inference.lowrank import LowRank
from nescio.inference.point import log_prior, point
from nescio.inference.scale import SCALE_MAPS
from nescio.randomness import Stream, generator

RATE = 2.0
"""The constant rate is so many times the recipe's, which is Adam's."""

MOMENTUM = 0.9
"""Of the descent, as in the paper."""

GAP = 10
"""At least so many steps lie between two snapshots: neighbours on the path are alike."""

TINY = 1e-12
"""Least variance of a weight: the log of its scale has to be a number."""


def fit_swag(job: Job, choice: Choice) -> Fit:
    """Train a network, then collect snapshots of its random weights."""
    fitted = fit_guide(job, point)
    if fitted.stopped is not None:
        return fitted
    try:
        snapshots = list(_collect(job, Head.of(job, fitted), int(choice.number)))
    except KeyboardInterrupt:
        return replace(fitted, stopped="interrupted")
    return replace(fitted, guide=normal_of(snapshots, job.recipe.scale))


def normal_of(snapshots: Sequence[dict[str, Tensor]], scale: str = "softplus") -> LowRank:
    """The Normal that snapshots of weights speak for; at least two."""
    scale_map = SCALE_MAPS[scale]
    loc, raw, factor = {}, {}, {}
    for name, first in snapshots[0].items():
        stack = torch.stack([each[name].detach() for each in snapshots]).double()
        mean = stack.mean(0)
        variance = (stack - mean).square().mean(0).clamp_min(TINY)
        loc[name] = mean.to(first.dtype)
        raw[name] = scale_map.raw((variance / 2).sqrt()).to(first.dtype)
        factor[name] = ((stack - mean) / (2 * (len(snapshots) - 1)) ** 0.5).to(first.dtype)
    return LowRank(loc, raw, factor, scale_map)


def _collect(job: Job, head: Head, count: int) -> Iterator[dict[str, Tensor]]:
    """The random weights on the path of descent at a constant rate, ``count`` times."""
    recipe, bayesian = job.recipe, head.bayesian
    own = dict(bayesian.network.named_parameters())
    weights = {n: own[n].detach().clone().requires_grad_() for n in bayesian.priors}
    descent = torch.optim.SGD(
        list(weights.values()), lr=RATE * recipe.learning_rate, momentum=MOMENTUM
    )
    shuffler, augmenter = (generator(job.seed, s, 1) for s in (Stream.SHUFFLE, Stream.AUGMENT))
    augmentation = parse_augmentation(recipe.augment)
    images, labels = job.train.images, job.train.require_labels()
    every = math.ceil(GAP / recipe.steps_per_epoch(len(images)))
    steps = count * every * recipe.steps_per_epoch(len(images))
    with job.reporter.task("collecting snapshots", steps, "steps") as task:
        for number in range(1, count * every + 1):
            order = torch.randperm(len(images), generator=shuffler)
            for batch in order.split(recipe.batch_size):
                x = augmentation(to_float(images[batch].to(job.device)), augmenter)
                loss = -_log_joint(job, head, weights, x, labels[batch].to(job.device))
                descent.zero_grad()
                (loss / len(images)).backward()
                descent.step()
                task.advance()
            if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
                raise DivergenceError(
                    "the descent that swag follows diverged; lower --learning-rate (it was "
                    f"{recipe.learning_rate:g})"
                )
            if number % every == 0:
                yield {name: value.detach().clone() for name, value in weights.items()}


def _log_joint(job: Job, head: Head, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Of the whole set, as the batch estimates it; the prior weighs as the recipe says."""
    with lowered(job.device, job.precision):
        with torch.no_grad():
            features = head.cut.features(x)
        output = head.cut.logits(weights, features).float()
    log_likelihood: Tensor = job.likelihood(output).log_prob(y).sum() * (len(job.train) / len(y))
    return log_likelihood + job.recipe.kl_weight * log_prior(head.bayesian, weights)
