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
"""Of the training images, or their groups, are held out: this share, so many at most, and no fewer;
else none."""

OF_A_CLASS = 5
"""Of as many images of a class one may be held out."""


def hold_out(train: ImageSet, seed: int) -> tuple[ImageSet, ImageSet | None]:
    """What is trained on, and what is held out; of images that belong together all or none.

    Args:
        train: The training part.
        seed: Of the choice.
    """
    labels = train.require_labels()
    groups = torch.arange(len(labels)) if train.groups is None else train.groups
    names, of = groups.unique(return_inverse=True)
    order = torch.randperm(len(names), generator=generator(seed, Stream.HELD)).tolist()
    members, ends = of.argsort(stable=True), torch.bincount(of).cumsum(0).tolist()
    left = torch.bincount(labels) // OF_A_CLASS
    chosen: list[Tensor] = []
    for group in order:
        if len(chosen) == min(MOST, round(SHARE * len(names))):
            break
        inside = members[ends[group - 1] if group else 0 : ends[group]]
        own = torch.bincount(labels[inside], minlength=len(left))
        if bool((own <= left).all()):
            left -= own
            chosen.append(inside)
    if len(chosen) < LEAST:
        return train, None
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[torch.cat(chosen)] = True
    return train.subset((~held).nonzero()[:, 0]), train.subset(held.nonzero()[:, 0])
