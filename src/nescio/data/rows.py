"""Images that stay where they are, on a disk, until they are asked for.

A set larger than memory is a tensor over a memory map, or encoded still (:class:`Lazy`). To split
or join such sets copies no image: :class:`Rows` remembers which images it has, in which order, and
reads those that an index names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

BATCH, BATCH_BYTES = 1024, 2**25
"""How many images, and bytes of them, are in memory at a time where all are gone through."""

CPU = torch.device("cpu")


class Lazy(Protocol):
    """Images that are decoded when an index asks for them, each time anew."""

    @property
    def shape(self) -> torch.Size:
        """``(N, K, H, W)``."""
        ...

    @property
    def groups(self) -> Tensor:
        """``(N,)`` int64: which images lie together, such as in one shard."""
        ...

    @property
    def workers(self) -> int:
        """How many processes read ahead; 0 for none."""
        ...

    @property
    def buffer(self) -> int:
        """By how many places an image may leave those that it lies with, in shuffling."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Tensor:
        """Decode the images at ``index`` ``(n,)`` int64: ``(n, K, H, W)`` uint8."""
        ...

    def hashes(self, index: Tensor) -> Tensor:
        """As :func:`content_hashes` of the images at ``index`` ``(n,)``; computed once for all."""
        ...

    def digest(self, prefix: bytes) -> hashlib._Hash | None:
        """SHA-256 of ``prefix`` and all pixels, if it is known without reading them again."""
        ...


@dataclass(frozen=True, eq=False)
class Rows:
    """``(N, K, H, W)`` uint8 images that are read by batches.

    An index gives a tensor, as that of a tensor does; :meth:`split`, :meth:`take` and :meth:`to`
    read nothing.

    Attributes:
        parts: Images of one shape, one after another: tensors on the CPU, perhaps mapped, or
            what decodes images when they are asked for.
        rows: ``(N,)`` int64, places in the parts as if they were one tensor.
        device: Where what is read goes to.
    """

    parts: tuple[Tensor | Lazy, ...]
    rows: Tensor
    device: torch.device = CPU

    @staticmethod
    def of(images: Tensor | Lazy) -> Rows:
        """All images of one part ``(N, K, H, W)``."""
        return Rows((images,), torch.arange(len(images)))

    @property
    def shape(self) -> torch.Size:
        """``(N, K, H, W)``."""
        return torch.Size((len(self), *self.parts[0].shape[1:]))

    @property
    def ndim(self) -> int:
        """4."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """uint8."""
        return torch.uint8

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
        if len(self.parts) == 1:
            return self.parts[0][rows]
        read = torch.empty(len(rows), *self.shape[1:], dtype=self.dtype)
        for part, inside, places in self._by_part(rows):
            read[inside] = part[places]
        return read

    def _by_part(self, rows: Tensor) -> Iterator[tuple[Tensor | Lazy, Tensor, Tensor]]:
        """Each part, with a mask ``(n,)`` of the rows in it, and their places there."""
        start = 0
        for part in self.parts:
            inside = (rows >= start) & (rows < start + len(part))
            yield part, inside, rows[inside] - start
            start += len(part)

    @property
    def lazy(self) -> tuple[Lazy, ...]:
        """The parts that decode images when they are asked for."""
        return tuple(part for part in self.parts if not isinstance(part, Tensor))

    def groups(self) -> Tensor:
        """``(N,)`` int64: which images lie together; one that is decoded already lies alone."""
        groups = torch.empty(len(self), dtype=torch.int64)
        behind = 0
        for part, inside, places in self._by_part(self.rows):
            own = torch.arange(len(part)) if isinstance(part, Tensor) else part.groups
            groups[inside] = behind + own[places]
            behind += int(own.max()) + 1
        return groups

    def hashes(self) -> Tensor:
        """As :func:`content_hashes`; images that are decoded each time are read once for it."""
        hashes = torch.empty(len(self), dtype=torch.int64)
        for part, inside, places in self._by_part(self.rows):
            hashes[inside] = (
                content_hashes(part[some] for some in places.split(BATCH))
                if isinstance(part, Tensor)
                else part.hashes(places)
            )
        return hashes

    def digest(self, prefix: bytes) -> hashlib._Hash:
        """SHA-256 of ``prefix`` and all pixels, in their order."""
        part = self.parts[0]
        if not isinstance(part, Tensor) and torch.equal(self.rows, torch.arange(len(part))):
            known = part.digest(prefix)
            if known is not None:
                return known
        return pixel_digest(prefix, read_batches(self))

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


def content_hashes(batches: Iterable[Tensor]) -> Tensor:
    """A 64-bit content hash of each image of all batches, ``(N,)`` int64 (BLAKE2b)."""
    digests = (
        hashlib.blake2b(row.tobytes(), digest_size=8).digest()
        for batch in batches
        for row in batch.flatten(1).contiguous().numpy()
    )
    buffer = bytearray(b"".join(digests))
    if not buffer:
        return torch.zeros(0, dtype=torch.int64)
    return torch.frombuffer(buffer, dtype=torch.int64)


def pixel_digest(prefix: bytes, batches: Iterable[Tensor]) -> hashlib._Hash:
    """SHA-256 of ``prefix`` and the pixels of all batches."""
    digest = hashlib.sha256(prefix)
    for batch in batches:
        digest.update(batch.contiguous().numpy().tobytes())
    return digest


def read_batches(images: Stack) -> Iterator[Tensor]:
    """All images, a few at a time in memory."""
    size = max(1, min(BATCH, BATCH_BYTES // max(1, prod(images.shape[1:]))))
    for start in range(0, len(images), size):
        yield images[start : start + size]


def read_all(images: Stack) -> Tensor:
    """All images in memory, and no second time while they are read."""
    if isinstance(images, Tensor):
        return images
    read = torch.empty(images.shape, dtype=images.dtype, device=images.device)
    done = 0
    for batch in read_batches(images):
        read[done : done + len(batch)] = batch
        done += len(batch)
    return read
