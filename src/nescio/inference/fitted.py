"""What a fit gives: the posterior, and what each pass over the training images showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from nescio.inference.posterior import Posterior


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
