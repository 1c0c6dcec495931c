"""One fit to be done: all that a method of fitting is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from nescio.data import ImageSet
from nescio.inference.checkpoint import Checkpoints
from nescio.inference.likelihood import Categorical, Likelihood
from nescio.inference.model import BayesianNetwork
from nescio.inference.prior import Prior, parse_prior
from nescio.inference.recipe import Recipe
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, derive
from nescio.ranks import SOLO, Ranks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Job:
    """A network, images, and how to fit the one to the other.

    Attributes:
        network: Any module from ``(n, K, H, W)`` to logits ``(n, C)``; not changed.
        train: Labelled images.
        recipe: How to fit.
        prior: Of the weights; ``None`` for the one that the recipe names.
        likelihood: Of the labels.
        seed: Of everything: the initialisation, the shuffling, the weight noise.
        device: Where to compute.
        precision: Of the products in the network; weights, gradients and their sums are
            float32 in any case, and the Pyro engine computes all in float32.
        compiled: Whether to compile the network (:func:`torch.compile`), for mean fields alone;
            where that fails, the reporter is told and the fit goes on without.
        watch: Labelled images whose accuracy is shown after each pass; nothing is chosen by it.
        again: Builds the network with other initial weights, by a seed, for ensembles; ``None``
            where it cannot be built.
        reporter: Told of progress.
        ranks: The processes that fit together, each on its part of every batch.
        checkpoints: Where to write them, and to go on from; ``None`` for none.
    """

    network: nn.Module
    train: ImageSet
    recipe: Recipe
    prior: Prior | None = None
    likelihood: Likelihood = field(default_factory=Categorical)
    seed: int = 0
    device: torch.device = CPU
    precision: torch.dtype = torch.float32
    compiled: bool = False
    watch: ImageSet | None = None
    again: Callable[[int], nn.Module] | None = None
    reporter: Reporter = SILENT
    ranks: Ranks = SOLO
    checkpoints: Checkpoints | None = None

    @property
    def own_seed(self) -> int:
        """Of what differs from process to process: weight noise and augmentation."""
        rank = self.ranks.rank
        return derive(self.seed, Stream.RANK, rank) if rank else self.seed

    def member(self, number: int) -> Job:
        """The same job from another seed, and from other initial weights where that is possible."""
        seed = derive(self.seed, Stream.MEMBER, number)
        network = self.network if self.again is None else self.again(seed)
        own = None if self.checkpoints is None else self.checkpoints.part(f"member-{number:03d}")
        return replace(self, seed=seed, network=network, checkpoints=own)

    def bayesian(self, network: nn.Module) -> BayesianNetwork:
        """The model, for ``network``."""
        return BayesianNetwork(
            network,
            self.prior or parse_prior(self.recipe.prior),
            self.likelihood,
            len(self.train),
            random=self.recipe.random,
            scale_likelihood=self.recipe.scale_likelihood,
        )
