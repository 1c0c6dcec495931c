"""How far few training images lie from their classes when all is fitted without them.

Densities fitted to few images know them too well: with nearly as many axes as images, the axes
pass through every one of them and leave nothing, and of a new image they leave much. Taking one
image out of its class (``left_out`` of the densities) does not take it out of the axes and out of
what the classes share. So where images are few, axes and densities are fitted to four fifths of
them, and the rest is measured, in turn (cross-fitting: Stone 1974).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nescio.familiarity.axes import MOST_AXES, axes_of_few
from nescio.familiarity.density import ClassMoments, GaussianDensities
from nescio.familiarity.neighbours import NeighbourDensities

FEW = 5 * MOST_AXES
"""Below so many images distances are cross-fitted."""

FOLDS = 5
"""Parts that are measured in turn."""


def fit_density(
    features: Tensor, labels: Tensor, classes: int, plane: bool | None, most: int
) -> GaussianDensities | NeighbourDensities | None:
    """One stage's density, from features that are all in memory.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)`` int64; every class occurs.
        classes: ``C``.
        plane: ``None`` for Gaussians; else by neighbours, and whether by planes through them.
        most: Principal axes that are kept at most.

    Returns:
        The density; ``None`` where the features do not vary.
    """
    axes = axes_of_few(features, most)
    if axes is None:
        return None
    along = axes(features)
    moments = ClassMoments(axes, classes)
    moments.add(along, labels)
    if plane is None:
        return moments.densities()
    return NeighbourDensities.of(axes, moments.whitener(), along, labels, classes, plane=plane)


def cross_fitted(
    features: Tensor, labels: Tensor, classes: int, plane: bool | None, most: int
) -> tuple[Tensor, Tensor] | None:
    """Distances ``(m,)`` of images from their own classes, without them, and labels ``(m,)``.

    A class's only image is never left out, and has no distance.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)`` int64; every class occurs.
        classes: ``C``.
        plane: See :func:`fit_density`.
        most: Principal axes; as many as where no image is left out, since distances grow with them.

    Returns:
        ``None`` where nothing can be left out, or what is left does not vary.
    """
    fold = _folds(labels, classes)
    distances, own = [], []
    for number in range(FOLDS):
        out = fold == number
        if not bool(out.any()):
            continue
        density = fit_density(features[~out], labels[~out], classes, plane, most)
        if density is None:
            return None
        far = density.distances(features[out])
        distances.append(far.gather(1, labels[out][:, None])[:, 0])
        own.append(labels[out])
    return (torch.cat(distances), torch.cat(own)) if distances else None


def _folds(labels: Tensor, classes: int) -> Tensor:
    """``(n,)``: in which part an image is left out, class by class in turn; -1 in none."""
    sizes = torch.bincount(labels, minlength=classes)
    return torch.where(sizes[labels] > 1, rank_in_class(labels) % FOLDS, -1)


def rank_in_class(labels: Tensor) -> Tensor:
    """``(n,)`` int64: the place of each image among those of its class, from 0."""
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    rank = torch.empty_like(labels)
    starts = (sizes.cumsum(0) - sizes)[labels[order]]
    rank[order] = torch.arange(len(labels), device=labels.device) - starts
    return rank
