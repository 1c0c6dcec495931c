"""Stochastic variational inference: fit the guide by gradient steps on the ELBO."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from nescio.data import to_float
from nescio.devices import explain_memory
from nescio.errors import DataError
from nescio.inference.balance import class_weights
from nescio.inference.fitted import Fit
from nescio.inference.job import Job
from nescio.inference.learner import LearnerOf, mean_field
from nescio.inference.likelihood import Likelihood, Weighted
from nescio.inference.model import random_parameters
from nescio.inference.run import Run
from nescio.network import check_fit, check_lifting, check_weights, lay_out
from nescio.randomness import Stream, derive
from nescio.ranks import together


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
        with together(job.ranks):
            # Weights in half precision would lose the steps that they are to make.
            network = lay_out(copy.deepcopy(job.network).float().to(device))
            check_weights(network)
            few = to_float(train.images[:2].to(device))
            check_fit(network, few, len(train.classes))
            check_lifting(network, random_parameters(network, job.recipe.random), few)
            torch.manual_seed(derive(job.own_seed, Stream.WEIGHT_NOISE))
            run = Run(replace(job, network=network, likelihood=_balanced(job)), learner)
        return run.all_epochs()


def _balanced(job: Job) -> Likelihood:
    if job.recipe.balance != "weighted":
        return job.likelihood
    weights = class_weights(job.train.require_labels(), len(job.train.classes))
    return Weighted(job.likelihood, weights)
