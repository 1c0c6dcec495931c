"""One run of stochastic variational inference: passes, steps, and what is kept of them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.data import parse_augmentation, read_ahead, shuffled, to_float
from nescio.errors import DivergenceError
from nescio.inference.balance import balanced_order
from nescio.inference.engine import EngineOptions
from nescio.inference.estimators import Estimator, suitable_estimator
from nescio.inference.fitted import Epoch, Fit
from nescio.inference.job import Job
from nescio.inference.keeper import Begun, Keeper
from nescio.inference.learner import Learner, LearnerOf, Terms
from nescio.inference.model import random_parameters
from nescio.inference.parts import Parts
from nescio.inference.posterior import Posterior
from nescio.inference.recipe import Recipe
from nescio.inference.trial import step_tuner
from nescio.inference.watch import Watch
from nescio.network import train_mode
from nescio.progress import Task
from nescio.randomness import Stream, derive, generator

CHECK_EVERY = 100
"""Steps between two looks at whether the loss is finite; each look waits for the device."""


@dataclass(frozen=True)
class State:
    """What there is after a whole pass: far cheaper to keep than copies of modules.

    Attributes:
        history: One entry for each pass until then.
        tensors: Copies of all of the network that training changes.
        guide: The posterior then.
    """

    history: tuple[Epoch, ...]
    tensors: list[Tensor]
    guide: Posterior


@dataclass(frozen=True)
class Batch:
    """What one step is made of.

    Attributes:
        size: How many images it has, of all processes.
        places: ``(n,)`` int64: those of this process.
        weight: What they count in the step.
        images: ``(n, K, H, W)`` uint8: their pixels.
    """

    size: int
    places: Tensor
    weight: float
    images: Tensor


class _DivergedError(Exception):
    """The loss is not finite."""


class Run:
    """The moving parts of a fit, kept together.

    Args:
        job: What to fit; its network is this run's own, on the device.
        learner: Makes what the steps train.
    """

    def __init__(self, job: Job, learner: LearnerOf) -> None:
        self.recipe, self.reporter = job.recipe, job.reporter
        self.network = train_mode(job.network)
        self.images = job.train.images.to(job.device)
        self.labels = job.train.require_labels().to(job.device)
        self.watch = Watch.of(job.watch) if job.watch else None
        self.parts = Parts(job.ranks)
        self.shuffler = generator(job.seed, Stream.SHUFFLE)
        self.augmenter = generator(job.own_seed, Stream.AUGMENT)
        self.augmentation = parse_augmentation(self.recipe.augment)
        self.bayesian = job.bayesian(self.network)
        start = generator(job.seed, Stream.START)
        options = engine_options(job)
        self.learner: Learner = learner(self.bayesian, self.recipe, options, start)
        self.learner.prepare(to_float(self.images[:2]))
        self.fixed = [
            parameter
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad and name not in self.bayesian.priors
        ]
        self.optimisers = self.learner.optimisers(self.fixed, self.recipe.learning_rate)
        self.schedulers = [self._scheduler(each, len(self.images)) for each in self.optimisers]
        own = [self.augmenter] if options.generator is None else [self.augmenter, options.generator]
        self.keeper = Keeper(self, job.checkpoints, own)
        self.tuner = step_tuner(job, self.network)

    def all_epochs(self) -> Fit:
        """Go on to the last pass from where checkpoints are, or from the beginning."""
        kept, begun = self._begin()
        steps = self.recipe.steps_per_epoch(len(self.images))
        passes = self.recipe.passes(len(self.images))
        left = steps * (passes - len(kept.history)) - begun.steps
        try:
            with (
                self.tuner.tuned(self.reporter) as reporter,
                reporter.task("training", left, "steps") as task,
            ):
                while len(kept.history) < passes:
                    epoch = self._pass(kept, begun, task)
                    kept, begun = self._state((*kept.history, epoch)), self._fresh()
                    self.keeper.keep_pass(kept.history)
                    task.advance(0, _status(epoch, passes, self.watch, self.learner.terms))
            return self._fit(kept.history)
        except _DivergedError:
            return self._stopped(kept, "diverged")
        except KeyboardInterrupt:
            # Processes stop after different passes: no state is that of all.
            if not kept.history or self.parts.ranks.size > 1:
                raise
            return self._stopped(kept, "interrupted")

    def _begin(self) -> tuple[State, Begun]:
        """The last complete pass, and the one that is under way."""
        complete, within = self.keeper.last()
        history = () if complete is None else self.keeper.restore(complete)
        kept, begun = self._state(history), self._fresh()
        if within is not None:
            self.keeper.restore(within)
            begun = self.keeper.progress(within)
        if complete is not None or within is not None:
            self.reporter.note(
                f"training goes on after pass {len(history)}"
                + (f" and {begun.steps} steps" if begun.steps else "")
            )
        return kept, begun

    def _fresh(self) -> Begun:
        return Begun(0, self._zeros(4))

    def _pass(self, kept: State, begun: Begun, task: Task) -> Epoch:
        """Make the rest of a pass; gives what all of it showed."""
        start = time.perf_counter() - begun.seconds
        shuffled, totals, count = self.shuffler.get_state(), begun.totals, begun.steps
        last = self.recipe.steps_per_epoch(len(self.images))
        for count, batch in enumerate(self._batches(begun.steps), begun.steps + 1):
            totals += self._step(batch)
            task.advance()
            if count % CHECK_EVERY == 0:
                _check_finite(totals)
                if count < last and self.keeper.due():
                    done = Begun(count, totals, time.perf_counter() - start)
                    self.keeper.keep_within(kept.history, done, shuffled)
        self.parts.average_(list(self.network.buffers()))
        # The last step may have ruined a state whose loss was still finite.
        probed = self._probe(batch)
        self.parts.sum_([probed])
        _check_finite(totals + probed)
        seconds = time.perf_counter() - start
        return self._watched(_summary(len(kept.history) + 1, totals, seconds))

    def _batches(self, skipped: int) -> Iterator[Batch]:
        """The steps of a pass, but the first ``skipped``."""
        if self.recipe.balance == "sampled":
            order = balanced_order(self.labels.cpu(), self.shuffler)
        else:
            order = shuffled(self.images, self.shuffler)
        batches = order.to(self.images.device).split(self.recipe.batch_size)[skipped:]
        own = [self.parts.own(batch) for batch in batches]
        pixels = read_ahead(self.images, [places for places, _ in own])
        for batch, (places, weight), images in zip(batches, own, pixels, strict=True):
            yield Batch(len(batch), places, weight, images)

    def _step(self, batch: Batch) -> Tensor:
        """One step; gives loss, log-likelihood, KL and the images that it spoke for."""
        x, y, weight = to_float(batch.images), self.labels[batch.places], batch.weight
        x = self.augmentation(x, self.augmenter)
        size = len(self.images) if self.recipe.scale_likelihood else batch.size
        for parameter in self.fixed:
            parameter.grad = None
        # The article's loss is a sum; a mean keeps Adam's epsilon small beside the gradient.
        factor = 1.0 / size if self.recipe.scale_likelihood else 1.0
        elbo = self.learner.step(x, y, factor * weight)
        loss = self.recipe.kl_weight * elbo.kl - elbo.log_likelihood
        shown = torch.stack([loss, elbo.log_likelihood, elbo.kl]) * weight
        fixed = [parameter.grad for parameter in self.fixed if parameter.grad is not None]
        self.parts.sum_([*self.learner.gradients(), *fixed, shown])
        for optimiser in self.optimisers:
            optimiser.step()
        for scheduler in self.schedulers:
            if scheduler is not None:
                scheduler.step()
        images = self._zeros(1) + size
        return torch.cat([shown.to(images.dtype), images])

    def _zeros(self, size: int) -> Tensor:
        """Zeros to sum in: float64, but for Apple's GPUs, which have none."""
        device = self.images.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.zeros(size, dtype=dtype, device=device)

    @torch.no_grad()
    def _probe(self, batch: Batch) -> Tensor:
        """0 where the present state and its log-likelihood on one batch are numbers, else NaN."""
        self.network.eval()
        output: Tensor = functional_call(
            self.network, dict(self.learner.center()), (to_float(batch.images),)
        )
        train_mode(self.network)
        fits = self.bayesian.likelihood(output).log_prob(self.labels[batch.places])
        sums = [value.sum() for value in (fits, *self.learner.parameters(), *self.fixed)]
        return torch.stack(sums).sum() * 0.0 + self._zeros(1)

    def _watched(self, epoch: Epoch) -> Epoch:
        """With the accuracy on what is watched: for people to see, nothing is chosen by it."""
        if self.watch is None:
            return epoch
        center, size = self.learner.center(), self.recipe.batch_size
        accuracy = self.watch.accuracy(self.network, center, size, self.parts.ranks)
        return replace(epoch, accuracy=accuracy)

    def _scheduler(
        self, optimiser: torch.optim.Optimizer, size: int
    ) -> torch.optim.lr_scheduler.OneCycleLR | None:
        if self.recipe.schedule == "constant":
            return None
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=float(optimiser.defaults["lr"]),
            # Fewer steps than this would leave the rising phase without length.
            total_steps=max(self.recipe.passes(size) * self.recipe.steps_per_epoch(size), 20),
            pct_start=0.1,
            cycle_momentum="betas" in optimiser.defaults,
        )

    def trained(self) -> list[Tensor]:
        """All that training changes: of the network, and of the learner, in an order that stays."""
        return [*self._tensors(), *self.learner.parameters()]

    def _tensors(self) -> list[Tensor]:
        return [*self.network.parameters(), *self.network.buffers()]

    @torch.no_grad()
    def _state(self, history: tuple[Epoch, ...]) -> State:
        copies = [value.clone() for value in self._tensors()]
        return State(history, copies, self.learner.snapshot())

    def _fit(self, history: tuple[Epoch, ...]) -> Fit:
        return Fit(copy.deepcopy(self.network).eval(), self.learner.snapshot(), history)

    @torch.no_grad()
    def _stopped(self, kept: State, why: Literal["diverged", "interrupted"]) -> Fit:
        if not kept.history:
            error = DivergenceError(
                "training diverged in the first pass (the loss is not finite); lower "
                f"--learning-rate (it was {self.recipe.learning_rate:g})"
            )
            error.shared = True  # sums are over all processes, so all find the same
            raise error
        for value, before in zip(self._tensors(), kept.tensors, strict=True):
            value.copy_(before)
        fitted = Fit(copy.deepcopy(self.network).eval(), kept.guide, kept.history)
        return replace(fitted, stopped=why)


def engine_options(job: Job) -> EngineOptions:
    """How the engine of a job computes; its noise is this process's own."""
    return EngineOptions(
        kl_weight=job.recipe.kl_weight,
        analytic_kl=job.recipe.analytic_kl,
        precision=job.precision,
        estimator=_estimator(job.recipe, job.network),
        compiled=job.compiled,
        reporter=job.reporter,
        generator=torch.Generator(job.device).manual_seed(
            derive(job.own_seed, Stream.WEIGHT_NOISE)
        ),
    )


def _estimator(recipe: Recipe, network: nn.Module) -> Estimator:
    if recipe.estimator != "auto":
        return recipe.estimator
    if recipe.engine == "pyro":
        return "shared"
    return suitable_estimator(network, random_parameters(network, recipe.random))


def _check_finite(totals: Tensor) -> None:
    if not math.isfinite(float(totals[0])):
        raise _DivergedError


def _summary(epoch: int, totals: Tensor, seconds: float) -> Epoch:
    loss, log_likelihood, kl, images = totals.tolist()
    return Epoch(epoch, -loss / images, log_likelihood / images, kl / images, seconds)


def _status(epoch: Epoch, epochs: int, watch: Watch | None, terms: Terms) -> str:
    parts = (
        f"pass {epoch.epoch}/{epochs}: {terms.whole} {epoch.elbo:.4g} = "
        f"log-likelihood {epoch.log_likelihood:.4g} {terms.rest} {epoch.kl:.4g} nats/image"
    )
    if watch is None or epoch.accuracy is None:
        return parts
    return f"{parts}; {watch.describe(epoch.accuracy)}"
