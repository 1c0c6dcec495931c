"""Images that lie in a file one after another, uncompressed: read from where they are.

MNIST's IDX files and the members of an ``.npz`` are arrays with a header. Where such an array is
larger than memory shall hold, it is mapped, or read piece by piece; one that is compressed, or
that is not grey of 8 bits, is decoded once into the cache folder (:mod:`nescio.data.store`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from nescio.data.encoded import file_stamp
from nescio.data.images import Preprocessing
from nescio.data.preprocess import as_images
from nescio.data.rows import Rows, Stack
from nescio.data.store import fetch_stored, key_of
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

BLOCK = 2**24
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class RawImages:
    """An array of images in a file.

    Attributes:
        path: The file.
        shape: ``(N, H, W)`` or ``(N, H, W, 3)``.
        dtype: Of its numbers.
        offset: Where the first byte of the first image stands; ``None`` where they are
            compressed.
        open: Gives the array's bytes from the first image on, for compressed ones.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Of all images, as they will be in memory."""
        return prod(self.shape)

    @property
    def stride(self) -> int:
        """Bytes of one image in the file."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> Tensor:
        """The images of these numbers, ``(n, K, H, W)`` uint8; they must not be compressed.

        Raises:
            DataError: The file has changed, or the images cannot be used.
        """
        assert self.offset is not None  # noqa: S101 - the caller looked
        with self.path.open("rb") as file:
            file.seek(self.offset + start * self.stride)
            return self._images(file.read((stop - start) * self.stride), stop - start)

    def stack(self, reporter: Reporter = SILENT) -> Stack:
        """All images, mapped from where they are or from the cache folder.

        Raises:
            DataError: They cannot be used, or the disk has no room for them.
        """
        if self.offset is not None and self.dtype == np.uint8 and len(self.shape) == 3:
            # Copied on write: whatever is done to the tensor, the file stays as it is.
            mapped = np.memmap(self.path, np.uint8, "c", self.offset, self.shape)
            return Rows.of(as_images(torch.from_numpy(mapped)))
        channels = 1 if len(self.shape) == 3 else self.shape[3]
        shape = channels, self.shape[1], self.shape[2]
        key = key_of(Preprocessing(*shape), [file_stamp(self.path), "its array of images"])
        kept = fetch_stored(key, len(self), shape, self._decoded, reporter)
        return Rows.of(kept.images)

    def _decoded(self) -> Iterator[Tensor]:
        at_once = max(1, BLOCK // max(1, self.stride))
        with self.open() as file:
            for start in range(0, len(self), at_once):
                count = min(at_once, len(self) - start)
                yield from self._images(_read(file, count * self.stride), count)

    def _images(self, content: bytes, count: int) -> Tensor:
        if len(content) < count * self.stride:
            raise DataError(f"{self.path}: it ends before its last image; fetch it again")
        array = np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])
        try:
            return as_images(array)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error


def _read(file: IO[bytes], size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        chunk = file.read(size - len(content))
        if not chunk:
            break
        content += chunk
    return bytes(content)
