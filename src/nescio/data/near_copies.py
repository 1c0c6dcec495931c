"""Near-copies across the parts of a split: frames of one film, views of one object.

How near is too near is asked of the data themselves. Where images are drawn independently the
training images around one lie as if by chance in as many dimensions as the data have there: of
``K`` neighbours at distances ``r_1 <= ... <= r_K`` the logarithms ``log(r_K / r_j)`` are ``K - 1``
independent exponential variables of rate ``d`` (Levina & Bickel 2005, *Maximum likelihood
estimation of intrinsic dimension*). So the outer half of the neighbours tells ``d``, and then how
surprising the nearest one is: it lies nearer than ``r_1`` with a chance of at most

    (K - 1) exp(-d log(r_K / r_1)).

Digits are alike by nature and their neighbours thin out evenly; a frame of a film lies in a
cluster with nothing around it. ``K`` must be more than twice the cluster, so several are tried,
also among an eighth of the training images, where a cluster has an eighth of its size.

An image is seen as 8 x 8 grey values without their mean and contrast, which small shifts and noise
hardly change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nescio.data.images import ImageSet
from nescio.data.rows import Rows, Stack, read_batches, take
from nescio.data.split import Splits
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, generator

SIDE = 8
"""Of the thumbnails."""

NEIGHBOURS = (32, 128)
"""``K``, tried where there are :data:`WIDE` times as many images to train on."""

WIDE = 4
"""Among fewer images ``K`` neighbours reach so far that the space bends: it looks too wide."""

THINNED = (1, 8)
"""Among all training images, and among one in so many."""

CHANCE = 1e-5
"""A nearest neighbour that is less likely than this is a near-copy. Of 5,999 of MNIST's training
images held out 7 are (of one hand, it seems), of 153 ``digits`` none."""

LEAST_SHARE = 0.005
"""Of held-out images with a near-copy that are told; fewer change no guarantee by much."""

HELD_OUT, TRAINED = 1_000, 50_000
"""Images that are compared at most: a few seconds."""

DECODED = 10
"""Where each image must be decoded for it, so many times fewer."""

AT_ONCE = 256
"""Held-out images that are compared at a time."""

NOISE = 1e-6
"""Squared distances below are rounding."""


@dataclass(frozen=True)
class NearCopies:
    """What was found.

    Attributes:
        looked: How many held-out images were compared.
        of: How many there are.
        pairs: Of those with a near-copy the number among the held-out images (calibration, then
            test), and that of the nearest training image, ``(n, 2)`` int64, the nearest first.
    """

    looked: int
    of: int
    pairs: Tensor

    @property
    def share(self) -> float:
        """Of the images that were compared, those with a near-copy."""
        return len(self.pairs) / max(1, self.looked)


def tell_near_copies(name: str, splits: Splits, seed: int, reporter: Reporter) -> None:
    """Note how many held-out images have a near-copy among the training images.

    Args:
        name: Of the data set.
        splits: Its parts.
        seed: Of the images that are compared, where there are too many.
        reporter: Told, where there are any; where nobody is, nothing is looked for.
    """
    if reporter is SILENT:
        return
    found = near_copies(splits, seed)
    if found.share < LEAST_SHARE or len(found.pairs) < 2:
        return
    held_out, trained = found.pairs[0].tolist()
    which = f"{found.looked:,} images" + (
        f" drawn from the {found.of:,}" if found.looked < found.of else ""
    )
    mend = (
        "keep such images together by train --group-by or --groups"
        if splits.train.groups is None
        else "group them otherwise: these groups part them"
    )
    calibration = splits.calibration
    of = calibration if held_out < len(calibration) else splits.test
    place = held_out if of is calibration else held_out - len(calibration)
    reporter.note(
        f"{name}: {len(found.pairs):,} of {which} for calibration and test have a near-copy among "
        f"the training images (the first: {of.image_name(place)} and "
        f"{splits.train.image_name(trained)}), so what is measured and guaranteed holds where as "
        f"many of the images to come are near-copies, too; else {mend}"
    )


def near_copies(splits: Splits, seed: int = 0) -> NearCopies:
    """Compare held-out images with training images; both drawn by ``seed`` where they are many."""
    parts = (splits.calibration, splits.test)
    of = sum(map(len, parts))
    draw = generator(seed, Stream.SUBSET)
    few = any(isinstance(p.images, Rows) and p.images.lazy for p in (splits.train, *parts))
    chosen = _some(of, HELD_OUT // (DECODED if few else 1), draw)
    trained = _some(len(splits.train), TRAINED // (DECODED if few else 1), draw)
    if not len(chosen) or len(trained) < WIDE * min(NEIGHBOURS):
        return NearCopies(0, of, torch.zeros(0, 2, dtype=torch.int64))
    inside = chosen < len(splits.calibration)
    behind = chosen[~inside] - len(splits.calibration)
    held_out = torch.cat([_thumbnails(parts[0], chosen[inside]), _thumbnails(parts[1], behind)])
    against = _thumbnails(splits.train, trained)
    surprise, nearest = _surprise(held_out, against, draw)
    alike = surprise > -math.log(CHANCE)
    order = surprise[alike].argsort(descending=True)
    pairs = torch.stack([chosen[alike], trained[nearest[alike]]], 1)[order]
    return NearCopies(len(chosen), of, pairs)


def _some(count: int, most: int, draw: torch.Generator) -> Tensor:
    """At most ``most`` of the numbers below ``count``, rising."""
    return torch.randperm(count, generator=draw)[:most].sort().values


def _thumbnails(images: ImageSet, index: Tensor) -> Tensor:
    """``(n, 64)`` of unit length; nought for an image without contrast."""
    some: Stack = take(images.images, index)
    rows = [torch.zeros(0, SIDE**2)]
    for batch in read_batches(some):
        grey = batch.float().mean(1, keepdim=True)
        small = F.adaptive_avg_pool2d(grey, SIDE).flatten(1)
        centred = small - small.mean(1, keepdim=True)
        length = centred.norm(dim=1, keepdim=True)
        rows.append(torch.where(length > 1, centred / length.clamp(min=1), 0.0))
    return torch.cat(rows)


def _surprise(held_out: Tensor, trained: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each held-out image -log of the chance of so near a neighbour, and that neighbour."""
    most = torch.full((len(held_out),), -math.inf)
    nearest = torch.zeros(len(held_out), dtype=torch.int64)
    for share in THINNED:
        some = _some(len(trained), len(trained) // share, draw)
        counts = [k for k in NEIGHBOURS if WIDE * k <= len(some)]
        if not counts:
            continue
        for start in range(0, len(held_out), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            likeness, place = (held_out[rows] @ trained[some].T).topk(max(counts))
            distance = (2 - 2 * likeness).clamp(min=NOISE).sqrt()
            for k in counts:
                own = _of_nearest(distance[:, :k])
                nearest[rows] = torch.where(own > most[rows], some[place[:, 0]], nearest[rows])
                most[rows] = torch.maximum(own, most[rows])
    return most, nearest


def _of_nearest(distance: Tensor) -> Tensor:
    """-log of the chance of a neighbour as near as the first of ``(n, K)`` rising distances."""
    k = distance.shape[1]
    logs = (distance[:, -1:] / distance[:, :-1]).log()
    # The inner half may be the cluster: of it is known only that it lies farther inside.
    half = k // 2
    total = logs[:, half:].sum(1) + half * logs[:, half]
    dimension = (k - 1 - half) / total.clamp(min=1e-9)
    surprise = dimension * logs[:, 0] - math.log(k - 1)
    return torch.where(logs[:, half] > 0, surprise, -math.inf)
