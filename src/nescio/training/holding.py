"""Training images that the network is not trained on: to see how far new ones lie.

A network knows the images that it was trained on too well: at its last layers they lie closer to
their classes than any new image will. How much closer is seen on a few that it was not shown. They
are taken from the training part, so that calibration stays what it promises by.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nescio.data import ImageSet
from nescio.randomness import Stream, generator

SHARE, MOST, LEAST = 0.05, 500, 8
"""Of the training images are held out: this share, so many at most, and no fewer; else none."""

OF_A_CLASS = 5
"""Of as many images of a class, or groups of them, one may be held out."""


def hold_out(train: ImageSet, seed: int) -> tuple[ImageSet, ImageSet | None]:
    """What is trained on, and what is held out; of images that belong together all or none.

    Args:
        train: The training part.
        seed: Of the choice.
    """
    labels = train.require_labels()
    groups = torch.arange(len(labels)) if train.groups is None else train.groups
    names, of = groups.unique(return_inverse=True)
    order = torch.randperm(len(names), generator=generator(seed, Stream.HELD))
    # A group counts for the class of one of its images.
    label = torch.zeros(len(names), dtype=torch.int64).scatter_(0, of, labels)
    allowed = _places(label[order]) < torch.bincount(label)[label[order]] // OF_A_CLASS
    chosen = order[allowed][: min(MOST, round(SHARE * len(names)))]
    held = torch.isin(of, chosen)
    if len(chosen) < LEAST:
        return train, None
    return train.subset((~held).nonzero()[:, 0]), train.subset(held.nonzero()[:, 0])


def _places(labels: Tensor) -> Tensor:
    """The place of each among those with its label, from 0."""
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    starts = (sizes.cumsum(0) - sizes)[labels[order]]
    return torch.empty_like(labels).scatter_(0, order, torch.arange(len(labels)) - starts)
