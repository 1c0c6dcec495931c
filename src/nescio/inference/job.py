"""One fit to be done: all that a method of fitting is given, and the steps that methods share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nescio.data import ImageSet, to_float
from nescio.inference.fit import Fit, fit_guide
from nescio.inference.learner import LearnerOf
from nescio.inference.likelihood import Likelihood
from nescio.inference.model import BayesianNetwork
from nescio.inference.posterior import Posterior
from nescio.inference.prior import Prior
from nescio.inference.recipe import Recipe
from nescio.network import Cut, cut_network, named_tensors
from nescio.progress import Reporter
from nescio.randomness import Stream, derive

BATCH = 512
"""Images through a network at once, where no gradient step is made."""


@dataclass(frozen=True)
class Job:
    """A network, images, and how to fit the one to the other.

    Attributes:
        network: The network; not changed.
        train: Labelled images.
        recipe: How to fit.
        prior: Of the weights.
        likelihood: Of the labels.
        seed: Of everything.
        device: Where to compute.
        precision: Of the products in the network.
        compiled: Whether to compile the network, where that is possible.
        watch: Images whose accuracy is shown; nothing is chosen by it.
        again: Builds the network with other initial weights, by a seed; ``None`` where it
            cannot be built.
        reporter: Told of progress.
    """

    network: nn.Module
    train: ImageSet
    recipe: Recipe
    prior: Prior
    likelihood: Likelihood
    seed: int
    device: torch.device
    precision: torch.dtype
    compiled: bool
    watch: ImageSet | None
    again: Callable[[int], nn.Module] | None
    reporter: Reporter

    def fit(self, learner: LearnerOf) -> Fit:
        """Fit by gradient steps."""
        return fit_guide(
            self.network,
            self.train,
            self.recipe,
            learner=learner,
            prior=self.prior,
            likelihood=self.likelihood,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            compiled=self.compiled,
            watch=self.watch,
            reporter=self.reporter,
        )

    def member(self, number: int) -> Job:
        """The same job from another seed, and from other initial weights where that is possible."""
        seed = derive(self.seed, Stream.MEMBER, number)
        network = self.network if self.again is None else self.again(seed)
        return replace(self, seed=seed, network=network)

    def bayesian(self, network: nn.Module) -> BayesianNetwork:
        """The model, for ``network``."""
        return BayesianNetwork(
            network, self.prior, self.likelihood, len(self.train), random=self.recipe.random
        )


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
