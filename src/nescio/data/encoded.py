"""Many encoded images, wherever they lie: decoded side by side, into memory or onto the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from nescio.data.decoder import NOTHING, Adapted, Budget, Remarks, decode_one
from nescio.data.images import Preprocessing
from nescio.data.reading import Reading
from nescio.data.rows import Rows, Stack
from nescio.data.store import fetch_stored, key_of
from nescio.errors import UnreadableImage
from nescio.names import name_of
from nescio.progress import SILENT, Reporter

DECODERS = max(4, min(16, os.cpu_count() or 4))
"""Files decoded at once; decoding lets go of Python's lock."""

WINDOW = 1024
"""Files that are on their way at a time, so that memory does not grow with their number."""

LISTED = 20
"""Unreadable files that are told by name."""


class Encoded(Protocol):
    """Image files, or what holds such."""

    @property
    def names(self) -> Sequence[str]:
        """What each is called: its path, or its place in an archive."""
        ...

    def open(self, index: int) -> Path | BinaryIO:
        """The file, or its content. Called by several threads at once."""
        ...

    def stamps(self) -> Iterator[str]:
        """For each image a line that changes where its content does, such as size and time."""
        ...

    def groups(self) -> Sequence[int]:
        """For each image the number of what holds it, such as its shard; else its own number."""
        ...


@dataclass(frozen=True)
class Files:
    """Image files of their own."""

    paths: Sequence[Path]

    @property
    def names(self) -> Sequence[str]:
        """Their paths."""
        return [name_of(path) for path in self.paths]

    def open(self, index: int) -> Path:
        """The path."""
        return self.paths[index]

    def stamps(self) -> Iterator[str]:
        """Path, size and time of the last change."""
        for path in self.paths:
            yield file_stamp(path)

    def groups(self) -> Sequence[int]:
        """Each lies alone."""
        return range(len(self.paths))


@dataclass(frozen=True)
class Chosen:
    """Some of the images of a whole, in an order of their own."""

    whole: Encoded
    places: Sequence[int]

    @staticmethod
    def of(whole: Encoded, places: Sequence[int]) -> Encoded:
        """Those at ``places``; the whole itself where that is all of it."""
        return whole if [*places] == [*range(len(whole.names))] else Chosen(whole, tuple(places))

    @property
    def names(self) -> Sequence[str]:
        """What each is called."""
        names = self.whole.names
        return [names[place] for place in self.places]

    def open(self, index: int) -> Path | BinaryIO:
        """The file, or its content."""
        return self.whole.open(self.places[index])

    def stamps(self) -> Iterator[str]:
        """Of the whole, and which of it."""
        yield from self.whole.stamps()
        yield from map(str, self.places)

    def groups(self) -> Sequence[int]:
        """Of each, as the whole has it."""
        groups = self.whole.groups()
        return [groups[place] for place in self.places]


def file_stamp(path: Path) -> str:
    """Path, size and time of the last change, in one line."""
    try:
        found = path.stat()
    except OSError:  # it will be told of when it is read
        return f"{path}\tmissing"
    return f"{path.resolve()}\t{found.st_size}\t{found.st_mtime_ns}"


@dataclass(frozen=True)
class Failure:
    """An image that could not be read.

    Attributes:
        index: Its place among those asked for.
        name: Its path, or what else it is called.
        error: Why not, in one line.
    """

    index: int
    name: str
    error: str


@dataclass(frozen=True)
class ReadResult:
    """Images read, those that could be.

    Attributes:
        images: ``(n, K, H, W)`` uint8, in the order of the files.
        indices: Which files they are.
        failures: Those that could not be read.
        remarks: What should be said of those that were decoded.
    """

    images: Stack
    indices: tuple[int, ...]
    failures: tuple[Failure, ...]
    remarks: Remarks = NOTHING


def read_images(
    paths: Sequence[Path], preprocessing: Preprocessing, reporter: Reporter = SILENT
) -> ReadResult:
    """Read image files into memory, in one shape; go on past those that fail.

    Args:
        paths: The files.
        preprocessing: What every image is brought to.
        reporter: Told of progress.
    """
    return read_encoded(Files(paths), preprocessing, reporter=reporter)


def read_encoded(
    encoded: Encoded,
    preprocessing: Preprocessing,
    *,
    memory: int | None = None,
    reporter: Reporter = SILENT,
) -> ReadResult:
    """Decode images and bring them to one shape; go on past those that fail.

    Args:
        encoded: The images.
        preprocessing: What every image is brought to.
        memory: Bytes that may be held in memory. Images that take more are decoded into a file of
            the cache folder, once, and mapped from there. ``None`` for no limit.
        reporter: Told of progress.
    """
    count, shape = len(encoded.names), preprocessing.shape
    decoding = SideBySide(encoded, preprocessing, reporter)
    if memory is not None and count * prod(shape) > memory:
        key = key_of(preprocessing, encoded.stamps())
        stored = fetch_stored(key, count, shape, decoding.images, reporter)
        images: Stack = Rows.of(stored.images)
        errors = stored.errors
    else:
        errors = {}
        images = torch.empty(count, *shape, dtype=torch.uint8)
        done = 0
        for index, decoded in enumerate(decoding.images()):
            if isinstance(decoded, str):
                errors[index] = decoded
            else:
                images[done] = decoded
                done += 1
        images = images[:done]
    failures = tuple(Failure(i, encoded.names[i], why) for i, why in errors.items())
    kept = tuple(i for i in range(count) if i not in errors)
    return ReadResult(images, kept, failures, decoding.remarks)


class SideBySide:
    """Decodes images side by side, in their order.

    Args:
        encoded: The images.
        preprocessing: What every image is brought to.
        reporter: Told of progress.

    Attributes:
        remarks: What should be said of those that were decoded.
    """

    def __init__(self, encoded: Encoded, preprocessing: Preprocessing, reporter: Reporter) -> None:
        self._encoded, self._preprocessing, self._reporter = encoded, preprocessing, reporter
        self._names, self._budget, self.remarks = encoded.names, Budget(), NOTHING

    def images(self) -> Iterator[Tensor | str]:
        """Each image ``(K, H, W)``, or why it cannot be read."""
        count = len(self._names)
        with (
            ThreadPoolExecutor(DECODERS) as pool,
            self._reporter.task("reading", count, "files") as task,
        ):
            for start in range(0, count, WINDOW):
                some = range(start, min(start + WINDOW, count))
                for result in pool.map(self._read, some):
                    if isinstance(result, str):
                        yield result
                    else:
                        if result.remarks is not NOTHING:
                            self.remarks += result.remarks
                        yield result.image
                    task.advance()

    def _read(self, index: int) -> Adapted | str:
        name = self._names[index]
        try:
            source = self._encoded.open(index)
            return decode_one(source, name, self._preprocessing, self._budget)
        except UnreadableImage as error:
            return str(error)


def check_failures(
    name: str, failures: Sequence[Failure], reading: Reading, reporter: Reporter
) -> None:
    """Stop at an image that cannot be read, or, where it may be skipped, tell of it.

    Raises:
        UnreadableImage: There is one, and none may be skipped.
    """
    if not failures:
        return
    if not reading.skip_unreadable:
        raise UnreadableImage(mend(failures[0].error))
    reporter.note(f"{name}: {len(failures)} images cannot be read and are left out:")
    for failure in failures[:LISTED]:
        reporter.note(f"  {failure.error}")
    if len(failures) > LISTED:
        reporter.note(f"  and {len(failures) - LISTED} more")


def mend(error: str) -> str:
    """The error, with what to do about it."""
    return f"{error}; remove or replace it, or leave out all such with --skip-unreadable"
