"""Likelihoods: what the network's output says of the label."""

from __future__ import annotations

from typing import Protocol

import pyro.distributions as dist
from torch import Tensor


class Likelihood(Protocol):
    """From the output of a network ``(n, ...)`` to a distribution over ``n`` labels."""

    def __call__(self, output: Tensor) -> dist.Distribution:
        """The distribution of the labels; its batch shape is ``(n,)``."""
        ...


class Categorical:
    """Labels are drawn with the probabilities softmax(logits)."""

    def __call__(self, output: Tensor) -> dist.Distribution:
        """A Categorical with logits ``(n, C)``."""
        # Not validated: NaN in the logits shows in the loss, without a wait at each step.
        return dist.Categorical(logits=output, validate_args=False)
