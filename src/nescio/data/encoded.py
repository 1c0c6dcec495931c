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

from nescio.data.images import Preprocessing
from nescio.data.preprocess import adapt, as_images
from nescio.data.ranges import find_decoding
from nescio.data.reading import Reading
from nescio.data.rows import Rows, Stack
from nescio.data.store import fetch_stored, key_of
from nescio.decode import Look, Measure, decode_image, look_at_image, measure_image
from nescio.errors import UnreadableImage
from nescio.names import name_of
from nescio.progress import SILENT, Reporter

DECODERS = max(4, min(16, os.cpu_count() or 4))
"""Files decoded at once; decoding lets go of Python's lock."""

WINDOW = 1024
"""Files that are on their way at a time, so that memory does not grow with their number."""

BACKGROUND_SAMPLE = 256
"""Transparent images that are looked at for how dark they are."""

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
    """

    images: Stack
    indices: tuple[int, ...]
    failures: tuple[Failure, ...]


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
    if memory is not None and count * prod(shape) > memory:
        key = key_of(preprocessing, encoded.stamps())
        stored = fetch_stored(
            key, count, shape, lambda: _decoded(encoded, preprocessing, reporter), reporter
        )
        images: Stack = Rows.of(stored.images)
        errors = stored.errors
    else:
        errors = {}
        images = torch.empty(count, *shape, dtype=torch.uint8)
        done = 0
        for index, decoded in enumerate(_decoded(encoded, preprocessing, reporter)):
            if isinstance(decoded, str):
                errors[index] = decoded
            else:
                images[done] = decoded
                done += 1
        images = images[:done]
    failures = tuple(Failure(i, encoded.names[i], why) for i, why in errors.items())
    return ReadResult(images, tuple(i for i in range(count) if i not in errors), failures)


def _decoded(
    encoded: Encoded, preprocessing: Preprocessing, reporter: Reporter
) -> Iterator[Tensor | str]:
    """Each image ``(K, H, W)``, or why it cannot be read."""
    names = encoded.names

    def read(index: int) -> Tensor | str:
        try:
            return decode_one(encoded, names[index], index, preprocessing)
        except UnreadableImage as error:
            return str(error)

    with (
        ThreadPoolExecutor(DECODERS) as pool,
        reporter.task("reading", len(names), "files") as task,
    ):
        for start in range(0, len(names), WINDOW):
            for result in pool.map(read, range(start, min(start + WINDOW, len(names)))):
                yield result
                task.advance()


def decode_one(encoded: Encoded, name: str, index: int, preprocessing: Preprocessing) -> Tensor:
    """One image ``(K, H, W)``.

    Raises:
        UnreadableImage: It cannot be decoded.
    """
    pixels = decode_image(encoded.open(index), name, decoding=preprocessing.decoding)
    return adapt(as_images(pixels[None]), preprocessing)[0]


def choose_shape(encoded: Encoded, reading: Reading, reporter: Reporter = SILENT) -> Preprocessing:
    """What to bring images to, by what the user asked for and by what they are.

    All are opened to see their sizes and kinds. Deep ones are decoded for their range, and some of
    the transparent ones for their background.

    Raises:
        UnreadableImage: One cannot be read, and none may be skipped.
        DataError: No range suits all deep images.
    """
    if reading.settled is not None:
        return reading.settled
    looks = _look_at_all(encoded, reading, reporter)
    if not looks:
        raise UnreadableImage(f"none of {len(encoded.names)} image files can be read")
    deep = [i for i, look in looks.items() if look.deep and reading.value_range is None]
    clear = [i for i, look in looks.items() if look.transparent and reading.background == "auto"]
    some = clear[:: max(1, len(clear) // BACKGROUND_SAMPLE)]
    measures = _measure(encoded, deep, reading, reporter)
    decoding = find_decoding(
        measures, _measure(encoded, some, reading, reporter), reading, reporter
    )
    sizes = [(look.height, look.width) for look in looks.values()]
    colour = any(look.colour for look in looks.values())
    return reading.choose(sizes, colour=colour, decoding=decoding)


def _look_at_all(encoded: Encoded, reading: Reading, reporter: Reporter) -> dict[int, Look]:
    """What each image is, by its place, but those that may be skipped."""
    looks: dict[int, Look] = {}
    with reporter.task("looking at sizes", len(encoded.names), "files") as task:
        for index, name in enumerate(encoded.names):
            try:
                looks[index] = look_at_image(encoded.open(index), name, decoding=reading.decoding)
            except UnreadableImage as error:
                if not reading.skip_unreadable:
                    raise UnreadableImage(mend(str(error))) from error
            task.advance()
    return looks


def _measure(
    encoded: Encoded, places: Sequence[int], reading: Reading, reporter: Reporter
) -> list[Measure]:
    """The values of some images, but those that may be skipped."""
    names, measures = encoded.names, list[Measure]()
    if not places:
        return measures

    def measure(index: int) -> Measure | UnreadableImage:
        try:
            return measure_image(encoded.open(index), names[index], reading.decoding)
        except UnreadableImage as error:
            return error

    with (
        ThreadPoolExecutor(DECODERS) as pool,
        reporter.task("looking at values", len(places), "files") as task,
    ):
        for start in range(0, len(places), WINDOW):
            for found in pool.map(measure, places[start : start + WINDOW]):
                if isinstance(found, Measure):
                    measures.append(found)
                elif not reading.skip_unreadable:
                    raise UnreadableImage(mend(str(found))) from found
                task.advance()
    return measures


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
