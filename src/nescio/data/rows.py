"""Images that stay where they are, on a disk, until they are asked for.

A set larger than memory is a tensor over a memory map. To split or join such sets copies no image:
:class:`Rows` remembers which images it has, in which order, and reads those that an index names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

BATCH = 1024
"""How many images are in memory at a time where all are gone through."""


CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Rows:
    """``(N, K, H, W)`` uint8 images that are read by batches.

    An index gives a tensor, as that of a tensor does; :meth:`split`, :meth:`take` and :meth:`to`
    read nothing.

    Attributes:
        parts: Tensors of images of one shape, one after another; on the CPU, perhaps mapped.
        rows: ``(N,)`` int64, places in the parts as if they were one tensor.
        device: Where what is read goes to.
    """

    parts: tuple[Tensor, ...]
    rows: Tensor
    device: torch.device = CPU

    @staticmethod
    def of(images: Tensor) -> Rows:
        """All images of a tensor ``(N, K, H, W)``."""
        return Rows((images,), torch.arange(len(images)))

    @property
    def shape(self) -> torch.Size:
        """``(N, K, H, W)``."""
        return torch.Size((len(self), *self.parts[0].shape[1:]))

    @property
    def ndim(self) -> int:
        """4."""
        return self.parts[0].ndim

    @property
    def dtype(self) -> torch.dtype:
        """uint8."""
        return self.parts[0].dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> Tensor:
        """Read images: ``(n, K, H, W)``, or ``(K, H, W)`` for one number."""
        if isinstance(index, Tensor):
            index = index.to(self.rows.device)
        chosen = self.rows[index]
        read = self._read(chosen.reshape(-1)).to(self.device)
        return read if chosen.ndim else read[0]

    def _read(self, rows: Tensor) -> Tensor:
        read = torch.empty(len(rows), *self.shape[1:], dtype=self.dtype)
        start = 0
        for part in self.parts:
            inside = (rows >= start) & (rows < start + len(part))
            read[inside] = part[rows[inside] - start]
            start += len(part)
        return read

    def take(self, index: Tensor | slice) -> Rows:
        """The images at ``index`` ``(n,)`` int64, in that order, unread."""
        return replace(self, rows=self.rows[index])

    def split(self, size: int) -> tuple[Rows, ...]:
        """Successive parts of ``size`` images, the last perhaps smaller, unread."""
        return tuple(replace(self, rows=rows) for rows in self.rows.split(size))

    def to(self, device: torch.device | str) -> Rows:
        """The same images, which will be read to ``device``."""
        return replace(self, device=torch.device(device))


Stack: TypeAlias = Tensor | Rows
"""``(N, K, H, W)`` uint8 images, in memory or not."""


def take(images: Stack, index: Tensor | slice) -> Stack:
    """The images at ``index``; of those in memory as an index gives them, else unread."""
    return images.take(index) if isinstance(images, Rows) else images[index]


def join(first: Stack, second: Stack) -> Stack:
    """One after the other, of one shape; images that are not in memory stay where they are."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    one, two = (each if isinstance(each, Rows) else Rows.of(each) for each in (first, second))
    behind = sum(map(len, one.parts))
    return Rows((*one.parts, *two.parts), torch.cat([one.rows, two.rows + behind]), one.device)


def read_batches(images: Stack, size: int = BATCH) -> Iterator[Tensor]:
    """All images, ``size`` at a time in memory."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def read_all(images: Stack) -> Tensor:
    """All images in memory."""
    return images if isinstance(images, Tensor) else images[:]
