"""Stochastic variational inference: fit the guide by gradient steps on the ELBO."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.data import ImageSet, parse_augmentation, to_float
from nescio.devices import explain_memory
from nescio.errors import DataError, DivergenceError
from nescio.inference.engine import EngineOptions
from nescio.inference.estimators import Estimator, suitable_estimator
from nescio.inference.learner import Learner, LearnerOf, Terms, mean_field
from nescio.inference.likelihood import Categorical, Likelihood
from nescio.inference.model import BayesianNetwork, random_parameters
from nescio.inference.posterior import Posterior
from nescio.inference.prior import Prior, parse_prior
from nescio.inference.recipe import Recipe
from nescio.inference.watch import Watch
from nescio.network import check_fit, check_lifting, check_weights, lay_out, train_mode
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, derive, generator

CHECK_EVERY = 100
"""Steps between two looks at whether the loss is finite; each look waits for the device."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images showed; all per image, in nats.

    Attributes:
        epoch: 1 for the first.
        elbo: ``log_likelihood - kl_weight * kl``; the loss with the other sign.
        log_likelihood: E_q[log p(y | x, w)].
        kl: KL(q || p), divided by the images that each step speaks for.
        seconds: How long the pass took.
        accuracy: Of the network at the guide's means on images that are watched, if any.
    """

    epoch: int
    elbo: float
    log_likelihood: float
    kl: float
    seconds: float
    accuracy: float | None = None

    @property
    def loss(self) -> float:
        """The figure that the article prints after each pass."""
        return -self.elbo


@dataclass(frozen=True)
class Fit:
    """A fitted posterior.

    Attributes:
        network: The network; its parameters that are not random hold their fitted
            values, the random ones are to be drawn from ``guide``.
        guide: The fitted posterior.
        history: One entry for each complete pass.
        stopped: Why training ended before the last pass, or ``None``.
        diagnostics: Figures that tell whether it can be trusted, where its method has any.
    """

    network: nn.Module
    guide: Posterior
    history: tuple[Epoch, ...]
    stopped: Literal["diverged", "interrupted"] | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)


def fit_guide(
    network: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    learner: LearnerOf = mean_field,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    precision: torch.dtype = torch.float32,
    compiled: bool = False,
    watch: ImageSet | None = None,
    reporter: Reporter = SILENT,
) -> Fit:
    """Fit a posterior over the weights of ``network`` by gradient steps: a mean field, or another.

    The same seed gives the same fit on the same machine. PyTorch's global random
    state is as it was afterwards, and ``network`` itself is not changed.

    Args:
        network: Any module from ``(n, K, H, W)`` to logits ``(n, C)``.
        train: Labelled images.
        recipe: How to fit.
        learner: Makes what the steps train, see :mod:`nescio.inference.learner`.
        prior: Instead of the one that the recipe names.
        likelihood: Instead of the categorical one.
        seed: Of the initialisation, the shuffling and the weight noise.
        device: Where to compute; the CPU when ``None``.
        precision: Of the products in the network; weights, gradients and their sums are
            float32 in any case, and the Pyro engine computes all in float32.
        compiled: Whether to compile the network (:func:`torch.compile`) for the fast
            engine; where that fails, the reporter is told and the fit goes on without.
        watch: Labelled images whose accuracy is shown after each pass; nothing is chosen by it.
        reporter: Told of each pass.

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
    if len(train) == 0:
        raise DataError(f"{train.name}: no image to train on")
    device = device or torch.device("cpu")
    with (
        explain_memory("training", "lower --batch-size or --image-size, or take a smaller network"),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        # Weights in half precision would lose the steps that they are to make.
        network = lay_out(copy.deepcopy(network).float().to(device))
        check_weights(network)
        few = to_float(train.images[:2].to(device))
        check_fit(network, few, len(train.classes))
        check_lifting(network, random_parameters(network, recipe.random), few)
        torch.manual_seed(derive(seed, Stream.WEIGHT_NOISE))
        run = _Run(
            network,
            train,
            recipe,
            learner=learner,
            prior=prior or parse_prior(recipe.prior),
            likelihood=likelihood or Categorical(),
            seed=seed,
            device=device,
            options=EngineOptions(
                kl_weight=recipe.kl_weight,
                analytic_kl=recipe.analytic_kl,
                precision=precision,
                estimator=_estimator(recipe, network),
                compiled=compiled,
                reporter=reporter,
                generator=torch.Generator(device).manual_seed(derive(seed, Stream.WEIGHT_NOISE)),
            ),
        )
        return run.all_epochs(Watch.of(watch) if watch else None, reporter)


def _estimator(recipe: Recipe, network: nn.Module) -> Estimator:
    if recipe.estimator != "auto":
        return recipe.estimator
    if recipe.engine == "pyro":
        return "shared"
    return suitable_estimator(network, random_parameters(network, recipe.random))


class _DivergedError(Exception):
    """The loss is not finite."""


class _Run:
    """One run of stochastic variational inference: the moving parts, kept together."""

    def __init__(
        self,
        network: nn.Module,
        train: ImageSet,
        recipe: Recipe,
        *,
        learner: LearnerOf,
        prior: Prior,
        likelihood: Likelihood,
        seed: int,
        device: torch.device,
        options: EngineOptions,
    ) -> None:
        self.recipe = recipe
        self.network = train_mode(network)
        self.images = train.images.to(device)
        self.labels = train.require_labels().to(device)
        self.shuffler = generator(seed, Stream.SHUFFLE)
        self.augmenter = generator(seed, Stream.AUGMENT)
        self.augmentation = parse_augmentation(recipe.augment)
        self.bayesian = BayesianNetwork(
            network,
            prior,
            likelihood,
            len(train),
            random=recipe.random,
            scale_likelihood=recipe.scale_likelihood,
        )
        start = generator(seed, Stream.START)
        self.learner: Learner = learner(self.bayesian, recipe, options, start)
        self.fixed = [
            parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad and name not in self.bayesian.priors
        ]
        self.optimisers = self.learner.optimisers(self.fixed, recipe.learning_rate)
        self.schedulers = [self._scheduler(each, len(train)) for each in self.optimisers]

    def all_epochs(self, watch: Watch | None, reporter: Reporter) -> Fit:
        history: list[Epoch] = []
        kept = self._snapshot(history)
        steps = self.recipe.steps_per_epoch(len(self.images))
        passes = self.recipe.passes(len(self.images))
        try:
            with reporter.task("training", steps * passes, "steps") as task:
                for epoch in range(1, passes + 1):
                    start = time.perf_counter()
                    totals = self._zeros(4)
                    for count, batch in enumerate(self._batches(), 1):
                        totals += self._step(batch)
                        task.advance()
                        if count % CHECK_EVERY == 0:
                            _check_finite(totals)
                    # The last step may have ruined a state whose loss was still finite.
                    _check_finite(totals + self._probe(batch))
                    shown = _summary(epoch, totals, time.perf_counter() - start)
                    history.append(self._watched(shown, watch))
                    kept = self._snapshot(history)
                    task.advance(0, _status(history[-1], passes, watch, self.learner.terms))
        except _DivergedError:
            return self._stopped(kept, "diverged")
        except KeyboardInterrupt:
            if not history:
                raise
            return self._stopped(kept, "interrupted")
        return kept

    def _batches(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.images), generator=self.shuffler)
        return iter(order.to(self.images.device).split(self.recipe.batch_size))

    def _step(self, batch: Tensor) -> Tensor:
        """One step; gives loss, log-likelihood, KL and the images that it spoke for."""
        x, y = to_float(self.images[batch]), self.labels[batch]
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
        images = self._zeros(1) + size
        loss = self.recipe.kl_weight * elbo.kl - elbo.log_likelihood
        parts = torch.stack([loss, elbo.log_likelihood, elbo.kl])
        return torch.cat([parts.to(images.dtype), images])

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

    def _watched(self, epoch: Epoch, watch: Watch | None) -> Epoch:
        """With the accuracy on what is watched: for people to see, nothing is chosen by it."""
        if watch is None:
            return epoch
        size = self.recipe.batch_size
        return replace(epoch, accuracy=watch.accuracy(self.network, self.learner.center(), size))

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

    def _snapshot(self, history: list[Epoch]) -> Fit:
        return Fit(copy.deepcopy(self.network).eval(), self.learner.snapshot(), tuple(history))

    def _stopped(self, kept: Fit, why: Literal["diverged", "interrupted"]) -> Fit:
        if not kept.history:
            raise DivergenceError(
                "training diverged in the first pass (the loss is not finite); lower "
                f"--learning-rate (it was {self.recipe.learning_rate:g})"
            )
        return Fit(kept.network, kept.guide, kept.history, why)


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
