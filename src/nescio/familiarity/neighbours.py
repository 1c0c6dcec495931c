"""How far an image is from the training images of every class that are nearest to it.

Images of a class lie on a thin curved sheet of their space, which no Gaussian follows. Two
distances follow it: to the ``k``-th nearest image (Loftsgaarden & Quesenberry 1965), and to the
plane through the nearest ones (Vincent & Bengio 2001, *K-local hyperplane and convex distance
nearest neighbor algorithms*), which takes what lies between familiar images for familiar. Both
are in units of the covariance within classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nescio.familiarity.axes import Axes

NEIGHBOUR = 3
"""The distance to which neighbour counts; to the farthest one in classes with fewer."""

PLANE = 128
"""Neighbours that span a plane; all in classes with fewer, which are then told by one Gaussian."""

RIDGE = 1.0
"""How dear it is to leave the middle of the neighbours along their plane, for each axis."""

MOST_NEIGHBOURS = 60_000
"""Training images that are kept, of all classes together."""

MOST_AXES = 48
"""Principal axes that are kept of each."""

BATCH_SIZE = 512
"""Images whose distances are taken at once."""


@dataclass(frozen=True)
class NeighbourDensities:
    """Training images of every class, as points.

    Attributes:
        axes: What features are brought to first.
        whitener: ``(r, r)``, from axes to units of the covariance within classes.
        points: ``(M, r)`` float16, whitened, class after class.
        counts: ``(C,)`` int64, how many of each class; none is 0.
        plane: Whether the distance is to the plane through the nearest images.
    """

    axes: Axes
    whitener: Tensor
    points: Tensor
    counts: Tensor
    plane: bool

    @staticmethod
    def of(
        axes: Axes, whitener: Tensor, along: Tensor, labels: Tensor, classes: int, *, plane: bool
    ) -> NeighbourDensities:
        """Keep images that lie at ``(M, r)`` along the axes, with labels ``(M,)``."""
        order = labels.argsort(stable=True)
        counts = torch.bincount(labels, minlength=classes)
        points = (along[order] @ whitener.T).half()
        return NeighbourDensities(axes, whitener, points, counts, plane)

    @property
    def classes(self) -> int:
        """``C``."""
        return len(self.counts)

    def distances(self, features: Tensor) -> Tensor:
        """``(n, C)``: squared distances of features ``(n, d)`` from each class."""
        white = self.axes(features) @ self.whitener.T
        return torch.stack([self._away(white, *own) for own in self._by_class], 1)

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Distances ``(M,)`` of the images kept from the others of their classes, and labels."""
        parts = []
        for points, squares in self._by_class:
            for places in torch.arange(len(points), device=points.device).split(BATCH_SIZE):
                parts.append(self._away(points[places], points, squares, left_out=places))
        labels = torch.arange(self.classes, device=self.counts.device)
        return torch.cat(parts), labels.repeat_interleave(self.counts)

    @cached_property
    def _by_class(self) -> Sequence[tuple[Tensor, Tensor]]:
        """The points of each class in float32 ``(m, r)``, and their squared lengths ``(m,)``.

        Kept, since to make them anew would take longer than one image's distances.
        """
        parts = self.points.float().split(self.counts.tolist())
        return [(own, own.square().sum(1)) for own in parts]

    def _away(
        self, white: Tensor, points: Tensor, squares: Tensor, left_out: Tensor | None = None
    ) -> Tensor:
        """``(n,)``: from the points of one class, but for those at the places ``left_out``."""
        # Squared distances but for what is the same for all points.
        pairs = torch.addmm(squares, white, points.T, alpha=-2)
        count = len(points)
        if left_out is not None and count > 1:  # the only image of a class has no other
            pairs.scatter_(1, left_out[:, None], torch.inf)
            count -= 1
        nearest = min(PLANE if self.plane else NEIGHBOUR, count)
        index = _smallest(pairs, nearest)
        if self.plane:
            return _from_plane(white, points[index])
        # Once more, since a product loses the digits of small distances.
        return (white - points[index[:, -1]]).square().sum(1)

    def describe(self) -> str:
        """In plain words."""
        kind = "planes through neighbours" if self.plane else "neighbours"
        return f"{self.axes.describe()}, {kind} among {len(self.points):,} training images"

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        return {
            **self.axes.tensors(),
            "whitener": self.whitener,
            "points": self.points,
            "counts": self.counts,
            "plane": torch.tensor(self.plane),
        }

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
        return NeighbourDensities(axes, whitener, points, counts, bool(tensors["plane"]))


def _smallest(values: Tensor, count: int) -> Tensor:
    """The places ``(n, count)`` of the smallest numbers in each row of ``(n, m)``, rising.

    As ``topk`` gives them, in half the time where ``count`` is far below ``m``: each of
    them lies in one of the ``count`` groups of columns with the smallest minima, so two short
    searches, for these groups and then in them, take the place of a long one.
    """
    size = math.isqrt(values.shape[1] // count)
    if size < 2:
        return values.topk(count, dim=1, largest=False).indices
    groups = values.shape[1] // size
    minima = values[:, : size * groups].unflatten(1, (size, groups)).amin(1)
    chosen = minima.topk(count, dim=1, largest=False, sorted=False).indices
    columns = torch.arange(values.shape[1], device=values.device)
    among = (chosen[:, None] + columns[: size * groups : groups, None]).flatten(1)
    left = columns[size * groups :].expand(len(values), -1)  # too few to fill a group each
    places = torch.cat([among, left], 1)
    nearest = values.gather(1, places).topk(count, dim=1, largest=False).indices
    return places.gather(1, nearest)


def _from_plane(white: Tensor, near: Tensor) -> Tensor:
    """Squared distances ``(n,)`` of ``(n, r)`` from the planes through ``(n, m, r)``.

    The place on the plane is found by ridge regression on the neighbours about their mean, so
    that a place far from all of them is not reached for nothing. What is left of ``rest`` is then
    ``k (spans' spans + k)^-1 rest``, with the ridge ``k``.
    """
    middle = near.mean(1)
    spans = near.sub_(middle[:, None])  # what was gathered is nobody else's
    ridge = RIDGE * white.shape[1]
    gram = spans.transpose(1, 2) @ spans
    gram.diagonal(dim1=1, dim2=2).add_(ridge)
    rest = (white - middle)[:, :, None]
    left: Tensor = ridge * torch.cholesky_solve(rest, torch.linalg.cholesky(gram))
    return left.square().sum((1, 2))
