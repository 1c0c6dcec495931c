"""The part of a fitted network that has random weights, for methods that go on from there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nescio.data import to_float
from nescio.inference.fitted import Fit
from nescio.inference.job import Job
from nescio.inference.model import BayesianNetwork
from nescio.inference.posterior import Posterior
from nescio.network import Cut, cut_network, named_tensors

BATCH = 512
"""Images through a network at once, where no gradient step is made."""


def settle(network: nn.Module, guide: Posterior) -> nn.Module:
    """Put the posterior's central weights into ``network``, in place."""
    center = guide.center()
    with torch.no_grad():
        for name, value in named_tensors(network).items():
            if name in center:
                value.copy_(center[name])
    return network


@dataclass(frozen=True)
class Head:
    """The part of a trained network that has random weights, and what comes into it.

    Attributes:
        bayesian: The model of the whole network, in evaluation mode.
        cut: The network, cut before its first random weight.
        features: ``(N, ...)`` float32: the training images after all layers before that.
        labels: ``(N,)`` int64.
    """

    bayesian: BayesianNetwork
    cut: Cut
    features: Tensor
    labels: Tensor

    @staticmethod
    @torch.no_grad()
    def of(job: Job, fitted: Fit) -> Head:
        """Cut a network that is fitted as a point, and run the images through the first part.

        The images are not augmented.
        """
        network = settle(fitted.network, fitted.guide).eval()
        bayesian = job.bayesian(network)
        images = job.train.images
        cut = cut_network(network, bayesian.priors, to_float(images[:2].to(job.device)))
        parts = (cut.features(to_float(p.to(job.device))) for p in images.split(BATCH))
        features = torch.cat(list(parts))
        return Head(bayesian, cut, features, job.train.require_labels().to(job.device))
