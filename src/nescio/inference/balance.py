"""Classes of unequal size: what each image counts, or how often it is shown.

With ``weighted`` image ``i`` of class ``c`` counts ``w_c = N / (C n_c)`` times in the likelihood,
so the objective is

    sum_i w_{y_i} E_q[log p(y_i | x_i, w)] - KL(q || p),

the ELBO of a posterior in which every class has as much to say, N images in all as before. With
``sampled`` a pass draws N images, each from a class that is drawn uniformly; its objective is the
same in expectation. Either way the fitted posterior answers as if classes came equally often.
Calibration sees classes as often as they come, so promises stay what they were.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from nescio.data import ImageSet
from nescio.progress import Reporter

Balance = Literal["none", "weighted", "sampled"]

BALANCES: tuple[str, ...] = get_args(Balance)

VERY_UNEQUAL = 10
"""How many times more images than the smallest class the largest may have, before it is noted."""


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """What an image of each class counts, ``(C,)``; 1 on average over the images.

    Args:
        labels: ``(N,)`` int64.
        classes: ``C``; those without an image count nothing.
    """
    counts = torch.bincount(labels.cpu(), minlength=classes).float()
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(labels) / (present * counts.clamp_min(1)), 0.0)


def balanced_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """``(N,)`` int64 places of images, drawn with replacement, every class as likely.

    Args:
        labels: ``(N,)`` int64, on the CPU.
        generator: Of the draws.
    """
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    present = counts.nonzero().flatten()
    starts = counts.cumsum(0) - counts
    drawn = present[torch.randint(len(present), (len(labels),), generator=generator)]
    # In double precision, so that no image of a class of a million is out of reach.
    share = torch.rand(len(labels), generator=generator, dtype=torch.float64)
    return order[starts[drawn] + (share * counts[drawn]).long()]


def tell_imbalance(train: ImageSet, balance: str, reporter: Reporter) -> None:
    """Note classes that are very unequal, where nothing is done about it."""
    counts = torch.bincount(train.require_labels(), minlength=len(train.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if balance == "none" and counts[most] >= VERY_UNEQUAL * counts[least]:
        reporter.note(
            f"{train.name}: classes are very unequal, {int(counts[most]):,} images of "
            f"{train.classes[most]!r} and {int(counts[least]):,} of {train.classes[least]!r}; "
            "--balance weighted learns them alike, --per-class promises for each"
        )
