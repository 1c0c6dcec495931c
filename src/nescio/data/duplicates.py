"""Images that come more than once: across the parts of a split, or with two labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch

from nescio.data.images import ImageSet
from nescio.data.split import Splits
from nescio.progress import Reporter

_Place: TypeAlias = tuple[ImageSet, int]
"""A part and the number of an image in it."""


def tell_duplicates(name: str, splits: Splits, reporter: Reporter) -> None:
    """Note how many images are in two parts, and how many have two labels, with the first of each.

    An image is known by the hash of its pixels, after preprocessing.

    Args:
        name: Of the data set.
        splits: Its parts.
        reporter: Told, where there are any.
    """
    parts = (splits.train, splits.calibration, splits.test)
    crossing: list[str] = []
    conflicting: list[str] = []
    for (one, first), (other, second) in _pairs(parts):
        pair = f"{one.image_name(first)} and {other.image_name(second)}"
        if one is not other:
            crossing.append(pair)
        labels = _label(one, first), _label(other, second)
        if labels[0] != labels[1]:
            conflicting.append(f"{pair}, {labels[0]!r} and {labels[1]!r}")
    if crossing:
        reporter.note(
            f"{name}: {len(crossing)} {'image is' if len(crossing) == 1 else 'images are'} in "
            "more than one of training, calibration and test "
            f"(the first: {crossing[0]}); figures and promises look better than they are, "
            "so remove the copies"
        )
    if conflicting:
        reporter.note(
            f"{name}: {len(conflicting)} "
            f"{'image has' if len(conflicting) == 1 else 'images have'} two labels "
            f"(the first: {conflicting[0]}); correct them"
        )


def _pairs(parts: Sequence[ImageSet]) -> Iterator[tuple[_Place, _Place]]:
    """Each image that came before, behind the first one like it, in the order of the images."""
    hashes = torch.cat([images.hashes() for images in parts])
    ordered, order = hashes.sort(stable=True)
    repeats = torch.zeros(len(hashes), dtype=torch.bool)
    repeats[1:] = ordered[1:] == ordered[:-1]
    starts = (~repeats).nonzero().flatten()
    first = order[starts[(~repeats).cumsum(0) - 1]]
    later = order[repeats]
    for one, two in sorted(zip(later.tolist(), first[repeats].tolist(), strict=True)):
        yield _place(parts, two), _place(parts, one)


def _place(parts: Sequence[ImageSet], number: int) -> _Place:
    for images in parts:
        if number < len(images):
            return images, number
        number -= len(images)
    raise IndexError(number)


def _label(images: ImageSet, place: int) -> str | None:
    return None if images.labels is None else images.classes[int(images.labels[place])]
