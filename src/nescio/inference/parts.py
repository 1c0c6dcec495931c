"""Each process's part of a step, and what comes of all parts together.

With ``n_r`` of the ``n`` images of a batch, process ``r`` estimates the whole objective from its
images alone, with weight noise of its own, and weighs the estimate by ``n_r / n``. The weights sum
to one, so the sum over all processes is the objective once: every image counts alike, and the KL
counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.ranks import Ranks, share_of, total_


@dataclass(frozen=True)
class Parts:
    """What this process does of each step.

    Attributes:
        ranks: The processes.
    """

    ranks: Ranks

    def own(self, batch: Tensor) -> tuple[Tensor, float]:
        """This process's part of a batch ``(n,)``, and its share of it.

        A process without a part gets one image that counts nothing: it has to take part in the
        sums of all.
        """
        if self.ranks.size == 1:
            return batch, 1.0
        own = batch[share_of(self.ranks, len(batch))]
        return (own, len(own) / len(batch)) if len(own) else (batch[:1], 0.0)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Sum over all processes, in place: gradients and figures in one message for each dtype."""
        if self.ranks.size == 1:
            return
        for dtype in dict.fromkeys(value.dtype for value in tensors):
            total_(self.ranks, [value for value in tensors if value.dtype == dtype])

    @torch.no_grad()
    def average_(self, buffers: Sequence[Tensor]) -> None:
        """The mean over all processes, in place, of statistics that each has of its images."""
        if self.ranks.size == 1:
            return
        floating = [value for value in buffers if value.is_floating_point()]
        for value in floating:
            value.div_(self.ranks.size)
        self.sum_(floating)
