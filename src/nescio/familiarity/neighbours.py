"""How far an image is from its nearest neighbours of every class.

The network's output is far from Gaussian: between the classes lies nothing, and that is
where strange images fall. There the density is told by the distance to the ``k``-th nearest of
the training images of a class (Loftsgaarden & Quesenberry 1965), in units of the covariance
within classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.familiarity.density import Axes

NEIGHBOUR = 3
"""The distance to which neighbour counts; to the farthest one in classes with fewer."""

MOST_NEIGHBOURS = 10_000
"""Training images that are kept, of all classes together."""

BATCH_SIZE = 512
"""Images whose distances are taken at once."""


@dataclass(frozen=True)
class NeighbourDensities:
    """Training images of every class, as points.

    Attributes:
        axes: What features are brought to first.
        whitener: ``(r, r)``, from axes to units of the covariance within classes.
        points: ``(M, r)``, whitened, class after class.
        counts: ``(C,)`` int64, how many of each class; none is 0.
    """

    axes: Axes
    whitener: Tensor
    points: Tensor
    counts: Tensor

    @staticmethod
    def of(
        axes: Axes, whitener: Tensor, features: Tensor, labels: Tensor, classes: int
    ) -> NeighbourDensities:
        """Keep the images with features ``(M, d)`` and labels ``(M,)``."""
        order = labels.argsort(stable=True)
        counts = torch.bincount(labels, minlength=classes)
        return NeighbourDensities(axes, whitener, axes(features[order]) @ whitener.T, counts)

    @property
    def classes(self) -> int:
        """``C``."""
        return len(self.counts)

    def distances(self, features: Tensor) -> Tensor:
        """``(n, C)``: squared distances of features ``(n, d)`` to a near image of each class."""
        return self._nearest(self.axes(features) @ self.whitener.T, skipped=0)

    def left_out(self) -> Tensor:
        """``(M,)``: squared distance of each image kept to a near other one of its class."""
        parts = []
        labels = torch.arange(self.classes, device=self.counts.device)
        labels = labels.repeat_interleave(self.counts)
        for white, own in zip(self.points.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True):
            parts.append(self._nearest(white, skipped=1).gather(1, own[:, None])[:, 0])
        return torch.cat(parts)

    def _nearest(self, white: Tensor, skipped: int) -> Tensor:
        columns = []
        for points in self.points.split(self.counts.tolist()):
            rank = min(NEIGHBOUR + skipped, len(points))
            # By one product for any size of batch, so that an answer does not depend on it.
            away = torch.cdist(white, points, compute_mode="use_mm_for_euclid_dist")
            columns.append(away.kthvalue(rank, dim=1).values)
        return torch.stack(columns, 1).square()

    def describe(self) -> str:
        """In plain words."""
        return f"{self.axes.describe()}, neighbours among {len(self.points):,} training images"

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        own = {"whitener": self.whitener, "points": self.points, "counts": self.counts}
        return {**self.axes.tensors(), **own}

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> NeighbourDensities:
        """What :meth:`tensors` gave.

        Raises:
            ValueError: They do not fit together.
        """
        axes = Axes.unpack(tensors)
        whitener, points, counts = (tensors[n] for n in ("whitener", "points", "counts"))
        size = axes.size
        if (
            whitener.shape != (size, size)
            or points.shape[1:] != (size,)
            or counts.ndim != 1
            or int(counts.min()) < 1
            or int(counts.sum()) != len(points)
        ):
            raise ValueError("the tensors of a stage do not fit together")
        return NeighbourDensities(axes, whitener, points, counts)
