"""What is shown of images that are not trained on while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.data import ImageSet, Stack, take, to_float
from nescio.network import train_mode
from nescio.ranks import SOLO, Ranks, share_of, total_

MOST_WATCHED = 2_000
"""Images, so that watching takes a small part of a pass."""


@dataclass(frozen=True)
class Watch:
    """A fixed part of the calibration images.

    The accuracy on them is shown and kept, and nothing is chosen by it: no pass, no setting, no
    end of training. So the same images may set thresholds afterwards.

    Attributes:
        images: ``(N, K, H, W)`` uint8.
        labels: ``(N,)`` int64.
    """

    images: Stack
    labels: Tensor

    @staticmethod
    def of(images: ImageSet) -> Watch:
        """At most :data:`MOST_WATCHED` of ``images``, evenly from the first to the last."""
        count = min(len(images), MOST_WATCHED)
        index = torch.linspace(0, len(images) - 1, count).round().long()
        return Watch(take(images.images, index), images.require_labels()[index])

    @torch.no_grad()
    def accuracy(
        self,
        network: nn.Module,
        means: Mapping[str, Tensor],
        batch_size: int,
        ranks: Ranks = SOLO,
    ) -> float:
        """The share that ``network`` answers rightly at the means of the guide.

        Args:
            network: In training mode, and left in it.
            means: What its random parameters are.
            batch_size: Images that go through it at once.
            ranks: The processes that share the images.
        """
        device = next(iter(means.values())).device
        network.eval()
        right = torch.zeros((), dtype=torch.int64, device=device)
        own = share_of(ranks, len(self.labels))
        of_images, of_labels = take(self.images, own), self.labels[own]
        for images, labels in zip(
            of_images.split(batch_size), of_labels.split(batch_size), strict=True
        ):
            output: Tensor = functional_call(network, dict(means), (to_float(images.to(device)),))
            right += (output.argmax(-1) == labels.to(device)).sum()
        train_mode(network)
        total_(ranks, [right])
        return int(right) / len(self.labels)

    def describe(self, accuracy: float) -> str:
        """What :meth:`accuracy` gave, in words."""
        return f"{100 * accuracy:.1f} % of {len(self.labels):,} calibration images right"
