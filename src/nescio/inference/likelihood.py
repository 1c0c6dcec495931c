"""Likelihoods: what the network's output says of the label."""

from __future__ import annotations

from typing import ClassVar, Protocol

import pyro.distributions as dist
import torch
from torch import Tensor

EMPTY = torch.Size()


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


class Weighted:
    """Another likelihood in which an image of class ``c`` counts ``weights[c]`` times.

    Args:
        likelihood: The other one, of labels that are class numbers.
        weights: ``(C,)``.
    """

    def __init__(self, likelihood: Likelihood, weights: Tensor) -> None:
        self.likelihood, self.weights = likelihood, weights

    def __call__(self, output: Tensor) -> dist.Distribution:
        """The labels' distribution, with a weighted logarithm of its density."""
        return _WeightedLabels(self.likelihood(output), self.weights.to(output.device))


class _WeightedLabels(dist.TorchDistribution):  # type: ignore[misc]
    """Draws as its base does; ``log_prob`` is that of its base, times the label's weight."""

    arg_constraints: ClassVar[dict[str, object]] = {}

    def __init__(self, base: dist.Distribution, weights: Tensor) -> None:
        self.base, self.weights = base, weights
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> object:
        return self.base.support

    def sample(self, sample_shape: torch.Size = EMPTY) -> Tensor:
        drawn: Tensor = self.base.sample(sample_shape)
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        weighted: Tensor = self.base.log_prob(value) * self.weights[value]
        return weighted
