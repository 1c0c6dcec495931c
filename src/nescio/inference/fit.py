"""Stochastic variational inference: fit the guide by gradient steps on the ELBO."""

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
from nescio.devices import explain_memory
from nescio.errors import DataError, DivergenceError
from nescio.inference.balance import balanced_order, class_weights
from nescio.inference.engine import EngineOptions
from nescio.inference.estimators import Estimator, suitable_estimator
from nescio.inference.fitted import Epoch, Fit
from nescio.inference.job import Job
from nescio.inference.learner import Learner, LearnerOf, Terms, mean_field
from nescio.inference.likelihood import Likelihood, Weighted
from nescio.inference.model import random_parameters
from nescio.inference.posterior import Posterior
from nescio.inference.recipe import Recipe
from nescio.inference.watch import Watch
from nescio.network import check_fit, check_lifting, check_weights, lay_out, train_mode
from nescio.randomness import Stream, derive, generator

CHECK_EVERY = 100
"""Steps between two looks at whether the loss is finite; each look waits for the device."""


def fit_guide(job: Job, learner: LearnerOf = mean_field) -> Fit:
    """Fit a posterior over the weights of a network by gradient steps: a mean field, or another.

    The same seed gives the same fit on the same machine. PyTorch's global random
    state is as it was afterwards, and the network itself is not changed.

    Args:
        job: What to fit, and how; its ``recipe.posterior`` is not looked at.
        learner: Makes what the steps train, see :mod:`nescio.inference.learner`.

    Returns:
        The fit. When the loss stopped being finite, or Ctrl-C came, after at least
        one complete pass, the state after the last complete pass, with ``stopped``.

    Raises:
        DataError: No images, or no labels.
        ArchitectureError: The network does not fit the images or the classes, or cannot
            run with sampled weights.
        OutOfMemoryError: The memory does not hold a step.
        DivergenceError: The loss was not finite within the first pass.
        KeyboardInterrupt: Within the first pass.
    """
    train, device = job.train, job.device
    if len(train) == 0:
        raise DataError(f"{train.name}: no image to train on")
    with (
        explain_memory("training", "lower --batch-size or --image-size, or take a smaller network"),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        # Weights in half precision would lose the steps that they are to make.
        network = lay_out(copy.deepcopy(job.network).float().to(device))
        check_weights(network)
        few = to_float(train.images[:2].to(device))
        check_fit(network, few, len(train.classes))
        check_lifting(network, random_parameters(network, job.recipe.random), few)
        torch.manual_seed(derive(job.seed, Stream.WEIGHT_NOISE))
        run = _Run(replace(job, network=network, likelihood=_balanced(job)), learner)
        return run.all_epochs()


def _balanced(job: Job) -> Likelihood:
    if job.recipe.balance != "weighted":
        return job.likelihood
    weights = class_weights(job.train.require_labels(), len(job.train.classes))
    return Weighted(job.likelihood, weights)


def _engine_options(job: Job) -> EngineOptions:
    return EngineOptions(
        kl_weight=job.recipe.kl_weight,
        analytic_kl=job.recipe.analytic_kl,
        precision=job.precision,
        estimator=_estimator(job.recipe, job.network),
        compiled=job.compiled,
        reporter=job.reporter,
        generator=torch.Generator(job.device).manual_seed(derive(job.seed, Stream.WEIGHT_NOISE)),
    )


def _estimator(recipe: Recipe, network: nn.Module) -> Estimator:
    if recipe.estimator != "auto":
        return recipe.estimator
    if recipe.engine == "pyro":
        return "shared"
    return suitable_estimator(network, random_parameters(network, recipe.random))


@dataclass(frozen=True)
class _State:
    """What there is after a whole pass: far cheaper to keep than copies of modules.

    Attributes:
        history: One entry for each pass until then.
        tensors: Copies of all of the network that training changes.
        guide: The posterior then.
    """

    history: tuple[Epoch, ...]
    tensors: list[Tensor]
    guide: Posterior


class _DivergedError(Exception):
    """The loss is not finite."""


class _Run:
    """One run of stochastic variational inference: the moving parts, kept together."""

    def __init__(self, job: Job, learner: LearnerOf) -> None:
        self.recipe, self.reporter = job.recipe, job.reporter
        self.network = train_mode(job.network)
        self.images = job.train.images.to(job.device)
        self.labels = job.train.require_labels().to(job.device)
        self.watch = Watch.of(job.watch) if job.watch else None
        self.shuffler = generator(job.seed, Stream.SHUFFLE)
        self.augmenter = generator(job.seed, Stream.AUGMENT)
        self.augmentation = parse_augmentation(self.recipe.augment)
        self.bayesian = job.bayesian(self.network)
        start = generator(job.seed, Stream.START)
        self.learner: Learner = learner(self.bayesian, self.recipe, _engine_options(job), start)
        self.fixed = [
            parameter
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad and name not in self.bayesian.priors
        ]
        self.optimisers = self.learner.optimisers(self.fixed, self.recipe.learning_rate)
        self.schedulers = [self._scheduler(each, len(self.images)) for each in self.optimisers]

    def all_epochs(self) -> Fit:
        kept = self._state(())
        steps = self.recipe.steps_per_epoch(len(self.images))
        passes = self.recipe.passes(len(self.images))
        try:
            with self.reporter.task("training", steps * passes, "steps") as task:
                for epoch in range(1, passes + 1):
                    start = time.perf_counter()
                    totals = self._zeros(4)
                    for count, (batch, images) in enumerate(self._batches(), 1):
                        totals += self._step(batch, images)
                        task.advance()
                        if count % CHECK_EVERY == 0:
                            _check_finite(totals)
                    # The last step may have ruined a state whose loss was still finite.
                    _check_finite(totals + self._probe(batch))
                    shown = _summary(epoch, totals, time.perf_counter() - start)
                    kept = self._state((*kept.history, self._watched(shown)))
                    task.advance(
                        0, _status(kept.history[-1], passes, self.watch, self.learner.terms)
                    )
            return self._fit(kept.history)
        except _DivergedError:
            return self._stopped(kept, "diverged")
        except KeyboardInterrupt:
            if not kept.history:
                raise
            return self._stopped(kept, "interrupted")

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Which images each batch of a pass has ``(n,)``, and their pixels ``(n, K, H, W)``."""
        if self.recipe.balance == "sampled":
            order = balanced_order(self.labels.cpu(), self.shuffler)
        else:
            order = shuffled(self.images, self.shuffler)
        batches = order.to(self.images.device).split(self.recipe.batch_size)
        return zip(batches, read_ahead(self.images, batches), strict=True)

    def _step(self, batch: Tensor, images: Tensor) -> Tensor:
        """One step; gives loss, log-likelihood, KL and the images that it spoke for."""
        x, y = to_float(images), self.labels[batch]
        x = self.augmentation(x, self.augmenter)
        size = len(self.images) if self.recipe.scale_likelihood else len(batch)
        for parameter in self.fixed:
            parameter.grad = None
        # The article's loss is a sum; a mean keeps Adam's epsilon small beside the gradient.
        factor = 1.0 / size if self.recipe.scale_likelihood else 1.0
        elbo = self.learner.step(x, y, factor)
        for optimiser in self.optimisers:
            optimiser.step()
        for scheduler in self.schedulers:
            if scheduler is not None:
                scheduler.step()
        spoken_for = self._zeros(1) + size
        loss = self.recipe.kl_weight * elbo.kl - elbo.log_likelihood
        parts = torch.stack([loss, elbo.log_likelihood, elbo.kl])
        return torch.cat([parts.to(spoken_for.dtype), spoken_for])

    def _zeros(self, size: int) -> Tensor:
        """Zeros to sum in: float64, but for Apple's GPUs, which have none."""
        device = self.images.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.zeros(size, dtype=dtype, device=device)

    @torch.no_grad()
    def _probe(self, batch: Tensor) -> Tensor:
        """0 where the present state and its log-likelihood on one batch are numbers, else NaN."""
        self.network.eval()
        output: Tensor = functional_call(
            self.network, dict(self.learner.center()), (to_float(self.images[batch]),)
        )
        train_mode(self.network)
        fits = self.bayesian.likelihood(output).log_prob(self.labels[batch])
        sums = [value.sum() for value in (fits, *self.learner.parameters(), *self.fixed)]
        return torch.stack(sums).sum() * 0.0 + self._zeros(1)

    def _watched(self, epoch: Epoch) -> Epoch:
        """With the accuracy on what is watched: for people to see, nothing is chosen by it."""
        if self.watch is None:
            return epoch
        center, size = self.learner.center(), self.recipe.batch_size
        return replace(epoch, accuracy=self.watch.accuracy(self.network, center, size))

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

    def _tensors(self) -> list[Tensor]:
        """All of the network that training changes, in an order that stays."""
        return [*self.network.parameters(), *self.network.buffers()]

    @torch.no_grad()
    def _state(self, history: tuple[Epoch, ...]) -> _State:
        copies = [value.clone() for value in self._tensors()]
        return _State(history, copies, self.learner.snapshot())

    def _fit(self, history: tuple[Epoch, ...]) -> Fit:
        return Fit(copy.deepcopy(self.network).eval(), self.learner.snapshot(), history)

    @torch.no_grad()
    def _stopped(self, kept: _State, why: Literal["diverged", "interrupted"]) -> Fit:
        if not kept.history:
            raise DivergenceError(
                "training diverged in the first pass (the loss is not finite); lower "
                f"--learning-rate (it was {self.recipe.learning_rate:g})"
            )
        for value, before in zip(self._tensors(), kept.tensors, strict=True):
            value.copy_(before)
        fitted = Fit(copy.deepcopy(self.network).eval(), kept.guide, kept.history)
        return replace(fitted, stopped=why)


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
