"""A little of the work of a training step, without effect: to time how many threads pay."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from nescio.data import parse_augmentation, to_float
from nescio.devices import lowered
from nescio.inference.job import Job
from nescio.network import lay_out, train_mode
from nescio.randomness import Stream, generator
from nescio.threads import ThreadTuner


def step_tuner(job: Job, network: nn.Module | None = None) -> ThreadTuner:
    """Looks after the threads of a job's steps.

    Args:
        job: Its images, recipe and device.
        network: As it is trained; ``None`` for the job's own. It is copied for each look.
    """
    return ThreadTuner(lambda: _trial(job, network or job.network), job.device)


def _trial(job: Job, network: nn.Module) -> Callable[[], object]:
    """Augmentation, forward and backward through a copy of the network, on one batch."""
    own = train_mode(lay_out(copy.deepcopy(network).float().to(job.device)))
    batch = to_float(job.train.images[: job.recipe.batch_size].to(job.device))
    vary = parse_augmentation(job.recipe.augment)
    draws = generator(job.seed, Stream.AUGMENT)
    learns = any(parameter.requires_grad for parameter in own.parameters())

    def trial() -> None:
        with torch.set_grad_enabled(learns), lowered(job.device, job.precision):
            output = own(vary(batch, draws))
        if learns:
            own.zero_grad()
            output.float().square().mean().backward()

    return trial
