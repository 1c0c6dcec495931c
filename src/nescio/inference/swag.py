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
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nescio.data import parse_augmentation, to_float
from nescio.devices import lowered
from nescio.errors import DivergenceError
from nescio.inference.checkpoint import Saved, write_or_tell
from nescio.inference.choice import Choice
from nescio.inference.fit import fit_guide
from nescio.inference.fitted import Fit
from nescio.inference.head import Head
from nescio.inference.job import Job
from nescio.inference.lowrank import LowRank
from nescio.inference.point import log_prior, point
from nescio.inference.saving import copy_all, named, pack_optimiser, under, unpack_optimiser
from nescio.inference.scale import SCALE_MAPS
from nescio.progress import Task
from nescio.randomness import Stream, generator
from nescio.threads import ThreadTuner

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
        snapshots = _collect(job, Head.of(job, fitted), int(choice.number))
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


def _collect(job: Job, head: Head, count: int) -> list[dict[str, Tensor]]:
    """The random weights on the path of descent at a constant rate, ``count`` times."""
    recipe = job.recipe
    path = _Path(job, head)
    every = math.ceil(GAP / recipe.steps_per_epoch(len(job.train)))
    done = path.resume()
    steps = (count * every - done) * recipe.steps_per_epoch(len(job.train))
    with (
        ThreadTuner(lambda: path.gradient, job.device).tuned(job.reporter) as reporter,
        reporter.task("collecting snapshots", steps, "steps") as task,
    ):
        for number in range(done + 1, count * every + 1):
            path.one_pass(task)
            if number % every == 0:
                path.snapshots.append({n: v.detach().clone() for n, v in path.weights.items()})
            path.keep(number)
    return path.snapshots


class _Path:
    """The descent, and what has been collected on it."""

    def __init__(self, job: Job, head: Head) -> None:
        self.job, self.head = job, head
        own = dict(head.bayesian.network.named_parameters())
        self.weights = {n: own[n].detach().clone().requires_grad_() for n in head.bayesian.priors}
        self.descent = torch.optim.SGD(
            list(self.weights.values()), lr=RATE * job.recipe.learning_rate, momentum=MOMENTUM
        )
        self.streams = [generator(job.seed, s, 1) for s in (Stream.SHUFFLE, Stream.AUGMENT)]
        self.augmentation = parse_augmentation(job.recipe.augment)
        self.images, self.labels = job.train.images, job.train.require_labels()
        self.snapshots: list[dict[str, Tensor]] = []
        self.checkpoints = None if job.checkpoints is None else job.checkpoints.part("snapshots")

    def one_pass(self, task: Task) -> None:
        """Descend along the images once."""
        job, (shuffler, augmenter) = self.job, self.streams
        order = torch.randperm(len(self.images), generator=shuffler)
        for batch in order.split(job.recipe.batch_size):
            x = self.augmentation(to_float(self.images[batch].to(job.device)), augmenter)
            loss = -_log_joint(job, self.head, self.weights, x, self.labels[batch].to(job.device))
            self.descent.zero_grad()
            (loss / len(self.images)).backward()
            self.descent.step()
            task.advance()
        if not all(bool(torch.isfinite(value).all()) for value in self.weights.values()):
            raise DivergenceError(
                "the descent that swag follows diverged; lower --learning-rate (it was "
                f"{job.recipe.learning_rate:g})"
            )

    def gradient(self) -> object:
        """On one batch, which changes nothing: to time how many threads pay."""
        images = to_float(self.images[: self.job.recipe.batch_size].to(self.job.device))
        labels = self.labels[: len(images)].to(self.job.device)
        loss = _log_joint(self.job, self.head, self.weights, images, labels)
        return torch.autograd.grad(loss, list(self.weights.values()))

    def keep(self, passes: int) -> None:
        """Write all of it to a checkpoint, if any are written."""
        if self.checkpoints is None:
            return
        averages, numbers = pack_optimiser(self.descent)
        taken = [value for each in self.snapshots for value in each.values()]
        tensors = {
            **named(list(self.weights.values()), "weight"),
            **named(taken, "taken"),
            **named([stream.get_state() for stream in self.streams], "stream"),
            **{f"optimiser/{name}": value for name, value in averages.items()},
        }
        on_cpu = {name: value.cpu() for name, value in tensors.items()}
        saved = Saved(on_cpu, {"optimiser": numbers, "snapshots": len(self.snapshots)})
        write_or_tell(self.checkpoints, (passes, 0), saved, self.job.reporter)

    def resume(self) -> int:
        """Go on from the last checkpoint, if there is one; gives the passes that are done."""
        saved = None if self.checkpoints is None else self.checkpoints.last()[0]
        if saved is None:
            return 0
        copy_all(list(self.weights.values()), saved.tensors, "weight")
        for place, stream in enumerate(self.streams):
            stream.set_state(saved.tensors[f"stream/{place}"])
        averages = under(saved.tensors, "optimiser")
        unpack_optimiser(self.descent, averages, saved.numbers["optimiser"])
        self.snapshots = [
            {name: torch.empty_like(value.detach()) for name, value in self.weights.items()}
            for _ in range(saved.numbers["snapshots"])
        ]
        taken = [value for each in self.snapshots for value in each.values()]
        copy_all(taken, saved.tensors, "taken")
        return int(saved.numbers["passes"])


def _log_joint(job: Job, head: Head, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Of the whole set, as the batch estimates it; the prior weighs as the recipe says."""
    with lowered(job.device, job.precision):
        with torch.no_grad():
            features = head.cut.features(x)
        output = head.cut.logits(weights, features).float()
    log_likelihood: Tensor = job.likelihood(output).log_prob(y).sum() * (len(job.train) / len(y))
    return log_likelihood + job.recipe.kl_weight * log_prior(head.bayesian, weights)
