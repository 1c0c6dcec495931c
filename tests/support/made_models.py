"""A classifier of stripes whose weights are made, not trained: the same ones on every processor."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
from tests_support import CLASSES, QUICK, SEED, SIDE

import nescio
from nescio.data import Dataset
from nescio.inference import Epoch, Fit, Job, MeanField

SCALE = 0.03
"""Of every weight's posterior: sampled networks differ, but seldom in what they say of stripes."""


def made_classifier(data: Dataset, *, samples: int = 20) -> nescio.Classifier:
    """An ``mlp`` of stripes, made instead of trained, then calibrated as any other is."""
    with patch("nescio.training.fitting.fit_posterior", _made_fit):
        return nescio.fit("mlp", data, recipe=QUICK, max_refusal=0.05, samples=samples)


def _made_fit(job: Job) -> Fit:
    """Hidden units look for a bright half each, and speak for or against its class."""
    rng = np.random.default_rng(1000 * SEED)
    half = np.where(np.arange(SIDE) < SIDE // 2, 1.0, -1.0) / (SIDE * SIDE / 2)
    left, top = np.tile(half, (SIDE, 1)), np.tile(half[:, None], (1, SIDE))
    halves = np.stack([left, -left, top, -top]).reshape(4, -1)
    hidden, last = job.network[1], job.network[3]
    kind = np.arange(hidden.out_features) % 4
    against = np.where(np.arange(len(CLASSES))[:, None] == kind, 1.0, -0.5)
    values = {
        "1.weight": halves[kind] + rng.normal(0, 0.02, hidden.weight.shape),
        "1.bias": rng.normal(0, 0.01, hidden.bias.shape),
        "3.weight": against * 0.02 + rng.normal(0, 0.005, last.weight.shape),
        "3.bias": rng.normal(0, 0.01, last.bias.shape),
    }
    means = {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}
    first = Epoch(1, elbo=-2.0, log_likelihood=-1.0, kl=1.0, seconds=0.1, accuracy=0.5)
    history = tuple(
        replace(first, epoch=n, elbo=-2.0 / n, log_likelihood=-1.0 / n, kl=1.0 / n, accuracy=0.9)
        for n in range(1, job.recipe.epochs + 1)
    )
    return Fit(job.network, MeanField.around(means, SCALE), history)
