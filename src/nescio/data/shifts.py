"""Shifts of another set: ``BASE@SHIFT[:SEVERITY]``, such as ``mnist@blur:3``.

What is judged is shifted, never what is trained on: the test split of the base, or, where
it has none, all images beside the originals, by which a classifier tells what it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from nescio.data.corruptions import CHUNK, CORRUPTIONS, corrupt
from nescio.data.images import Dataset, ImageSet, Preprocessing
from nescio.data.preprocess import adapt
from nescio.data.rows import read_all
from nescio.errors import UsageError
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, numpy_generator

MARK = "@"
"""Between the base and the shift; the last one counts."""

SEVERITIES = (1, 2, 3, 4, 5)

SEVERITY = 3
"""Unless told otherwise."""


@dataclass(frozen=True)
class Rearrangement:
    """A shift without grades.

    Attributes:
        description: One line for a person.
        change: From images ``(N, K, H, W)`` uint8 and a generator to others of that shape.
        keeps_labels: Whether an image still shows what its label says.
    """

    description: str
    change: Callable[[Tensor, np.random.Generator], Tensor]
    keeps_labels: bool = True


@dataclass(frozen=True)
class Shift:
    """A shift as it was asked for.

    Attributes:
        text: As written, such as ``blur:3``.
        name: Which, in :data:`SHIFTS`.
        severity: 1 to 5; without meaning for a :class:`Rearrangement`.
    """

    text: str
    name: str
    severity: int = SEVERITY

    @property
    def keeps_labels(self) -> bool:
        """Whether an image still shows what its label says."""
        return self.name in CORRUPTIONS or REARRANGEMENTS[self.name].keeps_labels


def parse_shift(text: str) -> Shift:
    """The shift of that description, such as ``inverted`` or ``blur:3``.

    Raises:
        UsageError: There is none of that name, or not of that severity.
    """
    name, colon, severity = text.partition(":")
    if name not in SHIFTS:
        near = get_close_matches(name, SHIFTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(SHIFTS)}"
        raise UsageError(f"{MARK}{text}: no shift is called {name!r}; {hint}")
    if not colon:
        return Shift(text, name)
    if name in REARRANGEMENTS:
        raise UsageError(f"{MARK}{text}: {name} has no severity; write {MARK}{name}")
    if severity not in map(str, SEVERITIES):
        raise UsageError(
            f"{MARK}{text}: the severity of {name} must be a whole number from 1 to 5, "
            f"got {severity!r}"
        )
    return Shift(text, name, int(severity))


def split_source(source: str | Path) -> tuple[str, Shift] | None:
    """A data argument's base and shift; ``None`` where it names no shift.

    What is there as a path is a path, whatever it is called; a shift has no slash.

    Raises:
        UsageError: See :func:`parse_shift`.
    """
    base, mark, text = str(source).rpartition(MARK)
    if not mark or not base or "/" in text or Path(source).exists():
        return None
    return base, parse_shift(text)


def shift_images(
    images: Tensor, shift: Shift, seed: int = 0, reporter: Reporter = SILENT
) -> Tensor:
    """Shifted copies of images.

    Args:
        images: ``(N, K, H, W)`` uint8.
        shift: What happens to them.
        seed: Of all that is random about it; the severity does not change the numbers drawn.
        reporter: Told of progress.
    """
    # By the name, so that a shift more or fewer changes no other.
    generator = numpy_generator(seed, Stream.SHIFT, crc32(shift.name.encode()))
    if shift.name in CORRUPTIONS:
        return corrupt(images, CORRUPTIONS[shift.name], shift.severity, generator, reporter)
    return REARRANGEMENTS[shift.name].change(images, generator)


def shift_set(
    images: ImageSet, shift: Shift, seed: int = 0, reporter: Reporter = SILENT
) -> ImageSet:
    """A shifted copy of a set, named ``BASE@SHIFT``."""
    kept = shift.keeps_labels
    return replace(
        images,
        name=f"{images.name}{MARK}{shift.text}",
        images=shift_images(read_all(images.images), shift, seed, reporter),
        labels=images.labels if kept else None,
        classes=images.classes if kept else (),
    )


def shift_dataset(
    dataset: Dataset, shift: Shift, seed: int = 0, reporter: Reporter = SILENT
) -> Dataset:
    """The data set with what is judged of it shifted: its test split, or else all images."""
    name, base = f"{dataset.name}{MARK}{shift.text}", dataset.base or dataset
    if dataset.test is None:
        return Dataset(name, shift_set(dataset.train, shift, seed, reporter), base=base)
    return Dataset(name, dataset.train, shift_set(dataset.test, shift, seed, reporter), base=base)


def _invert(images: Tensor, _: np.random.Generator) -> Tensor:
    return 255 - images


def _turn(images: Tensor, generator: np.random.Generator) -> Tensor:
    """A quarter to a random side; one that is not square is scaled to fit its frame."""
    left = torch.from_numpy(generator.random(len(images)) < 0.5)
    shape = Preprocessing(*images.shape[1:])
    result = torch.empty_like(images)
    result[left] = adapt(images[left].rot90(1, (2, 3)), shape)
    result[~left] = adapt(images[~left].rot90(-1, (2, 3)), shape)
    return result


def _pair(images: Tensor, generator: np.random.Generator) -> Tensor:
    """Each image with another one at its right, scaled to fit one frame."""
    count = len(images)
    steps = 1 + (torch.from_numpy(generator.random(count)) * (count - 1)).long()
    others = (torch.arange(count) + steps) % max(1, count)
    shape = Preprocessing(*images.shape[1:])
    result = torch.empty_like(images)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = adapt(torch.cat([images[part], images[others[part]]], 3), shape)
    return result


REARRANGEMENTS: Mapping[str, Rearrangement] = MappingProxyType(
    {
        "inverted": Rearrangement("dark and light exchanged", _invert),
        "turned": Rearrangement("a quarter to the left or right, at random", _turn),
        "pairs": Rearrangement("two images side by side", _pair, keeps_labels=False),
    }
)
"""All shifts without grades, by name."""

SHIFTS = (*REARRANGEMENTS, *CORRUPTIONS)
"""The names of all shifts."""
