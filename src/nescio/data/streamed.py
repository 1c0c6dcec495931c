"""Images that are never held decoded: each is decoded when it is needed, each time anew.

What all images have to be read for, their hashes and the fingerprint of the set, comes from one
reading and is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from nescio.data.decoder import NOTHING, Adapted, Budget, decode_one
from nescio.data.encoded import (
    DECODERS,
    Encoded,
    Failure,
    ReadResult,
    mend,
)
from nescio.data.images import Preprocessing
from nescio.data.reading import Reading
from nescio.data.rows import Rows, content_hashes
from nescio.errors import UnreadableImage
from nescio.progress import SILENT, Reporter

AT_ONCE = 256
"""Images that are in memory at a time when all are read for their hashes."""


@dataclass(frozen=True)
class Scan:
    """What one reading of all images tells.

    Attributes:
        hashes: ``(N,)`` int64, see :func:`nescio.data.rows.content_hashes`; 0 for one that
            cannot be read.
        digest: SHA-256 of a prefix and all pixels; ``None`` if some image cannot be read.
        failures: Those that cannot be read.
    """

    hashes: Tensor
    digest: hashlib._Hash | None
    failures: tuple[Failure, ...]


class Streamed:
    """Encoded images as a part of :class:`nescio.data.rows.Rows`: an index decodes.

    It may be sent to another process, which opens files of its own.

    Args:
        encoded: The images.
        preprocessing: What every image is brought to.
        workers: Processes that read ahead in training.
        buffer: See :attr:`nescio.data.rows.Lazy.buffer`.
        prefix: What the fingerprint begins with, so that it comes from the same reading as
            the hashes.
        reporter: Told of progress where all images are read.
    """

    def __init__(
        self,
        encoded: Encoded,
        preprocessing: Preprocessing,
        *,
        workers: int,
        buffer: int,
        prefix: bytes = b"",
        reporter: Reporter = SILENT,
    ) -> None:
        self.encoded, self.preprocessing = encoded, preprocessing
        self.workers, self.buffer, self.prefix, self.reporter = workers, buffer, prefix, reporter
        self._names = encoded.names
        self._scan: Scan | None = None
        self._budget = Budget()

    def __reduce__(self) -> tuple[Any, ...]:
        make = partial(Streamed, workers=self.workers, buffer=self.buffer)
        return make, (self.encoded, self.preprocessing)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def shape(self) -> torch.Size:
        """``(N, K, H, W)``."""
        return torch.Size((len(self), *self.preprocessing.shape))

    @property
    def groups(self) -> Tensor:
        """``(N,)`` int64: which images lie in one shard."""
        return torch.tensor(self.encoded.groups(), dtype=torch.int64)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Decode the images at ``index`` ``(n,)`` int64: ``(n, K, H, W)`` uint8.

        Raises:
            UnreadableImage: One cannot be decoded.
            DataError: A shard is not what it was.
        """
        images = torch.empty(len(index), *self.preprocessing.shape, dtype=torch.uint8)
        for place, image in enumerate(self._decode(index.tolist())):
            if isinstance(image, UnreadableImage):
                raise UnreadableImage(mend(str(image))) from image
            images[place] = image.image
        return images

    def scan(self) -> Scan:
        """Read all images, once: for their hashes, the fingerprint, and what cannot be read."""
        if self._scan is None:
            self._scan = self._read_through()
        return self._scan

    def hashes(self, index: Tensor) -> Tensor:
        """The content hash of each image at ``index``, ``(n,)`` int64.

        Raises:
            UnreadableImage: One of them cannot be decoded.
        """
        scan, asked = self.scan(), set(index.tolist())
        for failure in scan.failures:
            if failure.index in asked:
                raise UnreadableImage(mend(failure.error))
        return scan.hashes[index]

    def digest(self, prefix: bytes) -> hashlib._Hash | None:
        """SHA-256 of ``prefix`` and all pixels, if the one reading gives it."""
        known = self.scan().digest if prefix == self.prefix else None
        return None if known is None else known.copy()

    def _read_through(self) -> Scan:
        hashes, failures = torch.zeros(len(self), dtype=torch.int64), list[Failure]()
        digest, remarks = hashlib.sha256(self.prefix), NOTHING
        with self.reporter.task("reading", len(self), "files") as task:
            for start in range(0, len(self), AT_ONCE):
                some = range(start, min(start + AT_ONCE, len(self)))
                for index, image in zip(some, self._decode(some), strict=True):
                    if isinstance(image, UnreadableImage):
                        failures.append(Failure(index, self._names[index], str(image)))
                    else:
                        remarks += image.remarks
                        hashes[index] = content_hashes([image.image[None]])[0]
                        digest.update(image.image.contiguous().numpy().tobytes())
                    task.advance()
        remarks.tell(self.preprocessing, self.reporter)
        return Scan(hashes, None if failures else digest, tuple(failures))

    def _decode(self, places: list[int] | range) -> Iterator[Adapted | UnreadableImage]:
        """Each image, or why it cannot be read; side by side, but in a worker."""
        if get_worker_info() is not None:
            yield from map(self._decode_one, places)
            return
        with ThreadPoolExecutor(DECODERS) as pool:
            yield from pool.map(self._decode_one, places)

    def _decode_one(self, index: int) -> Adapted | UnreadableImage:
        try:
            source = self.encoded.open(index)
            return decode_one(source, self._names[index], self.preprocessing, self._budget)
        except UnreadableImage as error:
            return error


def stream_encoded(
    encoded: Encoded,
    preprocessing: Preprocessing,
    reading: Reading,
    *,
    prefix: bytes = b"",
    reporter: Reporter = SILENT,
) -> ReadResult:
    """As :func:`nescio.data.encoded.read_encoded`, but nothing is held or written.

    Only where unreadable images are to be left out are all images read now, since which these are
    decides what the set is. Otherwise the first that is met, at the latest when hashes are asked
    for, is an error.
    """
    images = Streamed(
        encoded,
        preprocessing,
        workers=reading.workers,
        buffer=reading.shuffle_buffer,
        prefix=prefix,
        reporter=reporter,
    )
    failures = images.scan().failures if reading.skip_unreadable else ()
    missing = {failure.index for failure in failures}
    kept = tuple(i for i in range(len(images)) if i not in missing)
    return ReadResult(Rows((images,), torch.tensor(kept, dtype=torch.int64)), kept, failures)
