"""Hamiltonian Monte Carlo (NUTS) through Pyro: networks from the posterior itself, for small ones.

Hoffman & Gelman 2014, *The No-U-Turn sampler*. The network is trained first; layers that are not
random keep their trained values. Then a few chains, each from its own start near the trained
weights, walk over the random ones, all images at once and in double precision. It is the gold
standard that other kinds are compared with, as far as its diagnostics say that it converged.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from nescio.errors import UsageError
from nescio.inference.choice import Choice
from nescio.inference.fit import fit_guide
from nescio.inference.fitted import Fit
from nescio.inference.head import Head
from nescio.inference.job import Job
from nescio.inference.mixture import Mixture
from nescio.inference.model import random_parameters
from nescio.inference.point import log_prior, point
from nescio.progress import Task
from nescio.randomness import Stream, derive, generator
from nescio.threads import ThreadTuner

MOST_WEIGHTS = 2_000
"""Random weights for which it is feasible: a draw takes up to hundreds of passes."""

MOST_IMAGES = 2_000
"""Training images for which it is feasible."""

CHAINS = 4
"""Chains that are compared with each other."""

LEAST_WARMUP = 150
"""Steps of each chain that tune it and are thrown away; at least as many as are kept."""

DEPTH = 7
"""A path is doubled at most so many times: 128 steps."""

SPREAD = 0.1
"""Standard deviation of the chains' starts around the trained weights."""

JUDGED = 200
"""Training images whose probabilities are judged for convergence."""


def fit_hmc(job: Job, choice: Choice) -> Fit:
    """Train a network, then walk over its random weights."""
    _check_size(job)
    fitted = fit_guide(job, point)
    if fitted.stopped is not None:
        return fitted
    head = Head.of(job, fitted)
    try:
        chains = _walk(job, head, math.ceil(choice.number / CHAINS))
    except KeyboardInterrupt:
        return replace(fitted, stopped="interrupted")
    # Networks are taken in order, so the order must say nothing: neighbours on a chain are alike.
    lot = generator(job.seed, Stream.CHAIN, CHAINS)
    order = torch.randperm(chains.shape[0] * chains.shape[1], generator=lot)
    draws = chains.flatten(0, 1)[order[: int(choice.number)]]
    layout = _Layout.of(head)
    guide = Mixture({name: value.float() for name, value in layout.split(draws).items()})
    return replace(fitted, guide=guide, diagnostics=_diagnose(head, layout, chains))


def _check_size(job: Job) -> None:
    weights = sum(p.numel() for p in random_parameters(job.network, job.recipe.random).values())
    if weights > MOST_WEIGHTS:
        raise UsageError(
            f"--posterior hmc: {weights:,} random weights are too many (at most {MOST_WEIGHTS:,}); "
            "let fewer be random (--random 'LAYER.*'), take a smaller network (--network "
            "module:factory), or another posterior"
        )
    if len(job.train) > MOST_IMAGES:
        raise UsageError(
            f"--posterior hmc: {len(job.train):,} training images are too many (at most "
            f"{MOST_IMAGES:,}); take fewer, or another posterior"
        )


class _Layout:
    """All random weights as one vector, and back."""

    def __init__(self, shapes: dict[str, torch.Size]) -> None:
        self.shapes = shapes

    @staticmethod
    def of(head: Head) -> _Layout:
        own = dict(head.bayesian.network.named_parameters())
        return _Layout({name: own[name].shape for name in head.bayesian.priors})

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """``(..., P)`` to ``(..., *shape)`` for each weight."""
        parts = flat.split([shape.numel() for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(*part.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def _walk(job: Job, head: Head, kept: int) -> Tensor:
    """The kept steps of all chains, ``(CHAINS, kept, P)`` float64."""
    own = dict(head.bayesian.network.named_parameters())
    middle = torch.cat([own[name].detach().flatten().double() for name in head.bayesian.priors])
    energy = _energy(job, head)
    warmup = max(kept, LEAST_WARMUP)
    chains = []
    devices = [job.device] if job.device.type == "cuda" else []

    def trial() -> object:
        at = middle.clone().requires_grad_()
        return torch.autograd.grad(energy(at), at)

    with (
        ThreadTuner(lambda: trial, job.device).tuned(job.reporter) as reporter,
        reporter.task("sampling", CHAINS * (warmup + kept), "steps") as task,
    ):
        for chain in range(CHAINS):
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(derive(job.seed, Stream.CHAIN, chain))
                start = middle + SPREAD * torch.randn_like(middle)
                chains.append(nuts(energy, start, kept, warmup, task))
    return torch.stack(chains)


def nuts(
    energy: Callable[[Tensor], Tensor], start: Tensor, kept: int, warmup: int, task: Task | None
) -> Tensor:
    """One chain over a vector, ``(kept, P)``; PyTorch's own random state is its seed.

    Args:
        energy: The negative log density, up to a constant, of a vector ``(P,)``.
        start: ``(P,)``.
        kept: Steps that are kept.
        warmup: Steps before, that tune step size and masses.
        task: Told of each step.
    """
    kernel = NUTS(potential_fn=lambda at: energy(at["w"]), max_tree_depth=DEPTH)
    walk = MCMC(
        kernel,
        num_samples=kept,
        warmup_steps=warmup,
        initial_params={"w": start},
        disable_progbar=True,
        hook_fn=lambda *_: None if task is None else task.advance(),
    )
    walk.run()
    draws: Tensor = walk.get_samples()["w"]
    return draws


def _energy(job: Job, head: Head) -> Callable[[Tensor], Tensor]:
    logits = _double_logits(head)
    layout = _Layout.of(head)

    def energy(flat: Tensor) -> Tensor:
        weights = layout.split(flat)
        fits: Tensor = job.likelihood(logits(weights)).log_prob(head.labels).sum()
        return -fits - job.recipe.kl_weight * log_prior(head.bayesian, weights)

    return energy


def _double_logits(head: Head) -> Callable[[dict[str, Tensor]], Tensor]:
    """The logits ``(N, C)`` of all training images, in double precision."""
    cut = replace(head.cut, trunk=None, head=copy.deepcopy(head.cut.head).double())
    features = head.features.double()
    return lambda weights: cut.logits(weights, features)


@torch.no_grad()
def _diagnose(head: Head, layout: _Layout, chains: Tensor) -> dict[str, float]:
    """Whether the chains agree, judged by what networks say and not by single weights.

    Networks with units in another order are the same, so chains need not agree on weights. Judged
    are the probability of the true class of some training images, and the log prior.
    """
    logits = _double_logits(replace(head, features=head.features[:JUDGED]))
    labels = head.labels[:JUDGED]
    judged = []
    for flat in chains.flatten(0, 1):
        weights = layout.split(flat)
        probability = logits(weights).softmax(-1)[torch.arange(len(labels)), labels]
        judged.append(torch.cat([probability, log_prior(head.bayesian, weights)[None]]))
    values = torch.stack(judged).unflatten(0, chains.shape[:2])
    figures = {
        "worst R-hat": float(split_gelman_rubin(values, 0, 1).nan_to_num(math.inf).max()),
        "least effective sample size": float(effective_sample_size(values, 0, 1).min()),
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}
