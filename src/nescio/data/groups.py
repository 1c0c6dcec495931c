"""Images that belong together: frames of one film, pictures of one patient or of one object.

Such images are alike beyond what their class explains, so a group as a whole goes into one part of
a split. And groups, not images, are what is drawn independently of each other: what is counted to
guarantee something about new groups is one image of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from nescio.data.images import ImageSet
from nescio.errors import DataError

TRIES = 50
"""How often groups of several classes are dealt anew until every part has one of each class."""

LISTED = 8
"""How many classes a message names."""

Integers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
"""``(n,)`` int64."""


def count_groups(images: ImageSet) -> int:
    """How many groups there are; every image is one where none are known."""
    return len(images) if images.groups is None else len(images.groups.unique())


def one_of_each(images: ImageSet, generator: torch.Generator) -> ImageSet:
    """One image of each group, drawn evenly from it: independent draws where groups are.

    Args:
        images: All of them where no groups are known.
        generator: Of the choice.
    """
    if images.groups is None:
        return images
    order = torch.randperm(len(images), generator=generator)
    _, first = np.unique(images.groups[order].numpy(), return_index=True)
    return images.subset(order[torch.from_numpy(first)].sort().values)


def of_groups(images: ImageSet, others: Sequence[ImageSet]) -> Tensor:
    """Which images are of a group that others have, too, ``(N,)`` bool."""
    known = [other.groups for other in others if other.groups is not None]
    if images.groups is None or not known:
        return torch.zeros(len(images), dtype=torch.bool)
    return torch.isin(images.groups, torch.cat(known))


def deal_groups(
    name: str,
    images: ImageSet,
    shares: Sequence[float],
    generator: np.random.Generator,
) -> Tensor:
    """Deal whole groups to parts, by chance alone: of every class each part gets its share of them.

    The class with the fewest groups is dealt first, the more common ones then make up for what its
    groups hold of them. Sizes of groups play no part, so that groups stay exchangeable.

    Args:
        name: Of the data set, for messages.
        images: With labels and groups.
        shares: ``P - 1`` shares of a class's groups: for the last part, of all; for the one before
            it, of what is left; and so on. 0 for a part that stays empty.
        generator: Of the choice.

    Returns:
        ``(N,)`` uint8, the part of each image, 0 for what no share takes.

    Raises:
        DataError: A class has too few groups for each part to get one.
    """
    assert images.groups is not None  # noqa: S101 - asked by whoever calls
    _, number = np.unique(images.groups.numpy(), return_inverse=True)
    labels = images.require_labels().numpy()
    members = [np.unique(number[labels == c]) for c in range(len(images.classes))]
    needed = 1 + sum(share > 0 for share in shares)
    few = [c for c, own in enumerate(members) if len(own) < needed]
    if few:
        raise DataError(
            f"{name}: {_classes(images, few, members)}, too few for each of {needed} parts to get "
            f"one; every class needs images of at least {needed} groups"
        )
    missing: set[int] = set()
    for _ in range(TRIES):
        parts, lacking = _deal(members, generator.permutation(int(number.max()) + 1), shares)
        if not lacking:
            return torch.from_numpy(parts[number].astype(np.uint8))
        missing |= lacking
    raise DataError(
        f"{name}: its groups of several classes can't be shared out so that each of {needed} parts "
        f"gets a group of every class ({_classes(images, sorted(missing), members)}); "
        "add images of more groups"
    )


def _deal(
    members: Sequence[Integers], rank: Integers, shares: Sequence[float]
) -> tuple[Integers, set[int]]:
    """The part of each group, in the order of ``rank``, and the classes that a part lacks."""
    parts = np.full(len(rank), -1, dtype=np.int64)
    lacking = set()
    for number in sorted(range(len(members)), key=lambda c: len(members[c])):
        own = members[number][rank[members[number]].argsort()]
        wanted = _wanted(len(own), shares)
        free = own[parts[own] < 0]
        have = np.bincount(parts[own][parts[own] >= 0], minlength=len(wanted))
        first = (have == 0) & (wanted > 0)
        if first.sum() > len(free):
            lacking.add(number)
        more = np.maximum(wanted - have - first, 0)
        more[0] = len(free)  # what nobody else wants is trained on
        order = np.concatenate([np.flatnonzero(first)[::-1], np.repeat(*_last_first(more))])
        parts[free] = order[: len(free)]
    return parts, lacking


def _last_first(counts: Integers) -> tuple[Integers, Integers]:
    return np.arange(len(counts))[::-1], counts[::-1]


def _wanted(groups: int, shares: Sequence[float]) -> Integers:
    """How many groups each part should get: at least one where it has a share."""
    wanted = []
    for share in reversed(shares):
        wanted.append(0 if share == 0 else max(1, round(groups * share)))
        groups -= wanted[-1]
    return np.array([max(1, groups), *reversed(wanted)])


def _classes(images: ImageSet, numbers: Sequence[int], members: Sequence[Integers]) -> str:
    told = [
        f"class {images.classes[c]!r} has {len(members[c])} "
        f"{'group' if len(members[c]) == 1 else 'groups'}"
        for c in numbers[:LISTED]
    ]
    more = f" and {len(numbers) - LISTED} more classes likewise" * (len(numbers) > LISTED)
    return ", ".join(told) + more
