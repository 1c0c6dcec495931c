"""What is to be scored, in pieces: each is read, scored and written by itself.

A source knows how many pieces it has before any of them is read. The pieces, and what goes through
the networks together, are the same however many processes share them, and so is every answer.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from nescio.data import Preprocessing, Stack, adapt, all_images, list_images, load
from nescio.data.encoded import Encoded, file_stamp, read_encoded
from nescio.data.idx import find_idx_images, is_images_file, read_idx_set, set_name
from nescio.data.npz import find_npz_images, read_npz
from nescio.data.parquet import ParquetFile, names_parquet
from nescio.data.raw import RawImages
from nescio.data.reading import MEMORY
from nescio.data.shards import expand, list_members, names_shards
from nescio.errors import DataError, UnreadableImage
from nescio.progress import SILENT, Reporter
from nescio.scoring.batches import Batch, batch_of_files, is_image_file

PIECE = 2048
"""Images of one piece, where that can be chosen: what a kill may cost each process."""

BATCH_BYTES = 2**26
"""Bytes of decoded images in memory at a time: 64 MiB, a piece of 28x28 or 426 of 224x224."""

STAMP = 10
"""Letters of a stamp."""


class Source(Protocol):
    """What one argument names, or several that name a file each."""

    @property
    def images(self) -> int | None:
        """How many images there are, where that is known before all is read."""
        ...

    def __len__(self) -> int:
        """How many pieces there are."""
        ...

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        ...

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order, in bounded memory."""
        ...


@dataclass(frozen=True)
class Plan:
    """All sources, as one row of pieces.

    Attributes:
        sources: In the order of the arguments.
    """

    sources: tuple[Source, ...]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(source) for source in self.sources)]

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def images(self) -> int | None:
        """How many images there are, where that is known before all is read."""
        counts = [source.images for source in self.sources]
        return None if None in counts else sum(count or 0 for count in counts)

    def _find(self, piece: int) -> tuple[Source, int]:
        number = bisect_right(self._starts, piece) - 1
        return self.sources[number], piece - self._starts[number]

    def stamp(self, piece: int) -> str:
        """Some letters that change where the content of a piece does."""
        source, own = self._find(piece)
        return _digest(source.identity(own))[:STAMP]

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        source, own = self._find(piece)
        return source.batches(own)

    def outline(self) -> str:
        """Some letters that change with the number of pieces and images, file by file."""
        return _digest(f"{len(source)} {source.images}" for source in self.sources)


def open_plan(
    arguments: Sequence[str],
    preprocessing: Preprocessing,
    *,
    seed: int = 0,
    memory: int = MEMORY,
    reporter: Reporter = SILENT,
) -> Plan:
    """Find out what arguments name; of files, what is in them is looked up and not read.

    Args:
        arguments: Image files, folders, data sets, shards, Parquet files.
        preprocessing: What every image is brought to.
        seed: Of sets that are made at run time, and of shifts.
        memory: Bytes of a compressed set that may be held in memory; more are decoded once into
            the cache folder.
        reporter: Told of progress.

    Raises:
        DataError: One is nothing of the kind, or cannot be used.
    """
    sources: list[Source] = []
    for argument in arguments:
        for source in _open(argument, preprocessing, seed, memory, reporter):
            last = sources[-1] if sources else None
            if isinstance(source, FileSource) and isinstance(last, FileSource):
                # A thousand files that a shell wrote out are one row of files.
                sources[-1] = FileSource([*last.files, *source.files], preprocessing)
            else:
                sources.append(source)
    return Plan(tuple(sources))


def _open(
    argument: str, preprocessing: Preprocessing, seed: int, memory: int, reporter: Reporter
) -> Iterator[Source]:
    path = Path(argument)
    files = [path] if is_image_file(path) else list_images(path) if path.is_dir() else []
    if files:
        yield FileSource(files, preprocessing)
    elif names_shards(argument):
        yield from (ShardSource(shard, preprocessing) for shard in expand(argument))
    elif names_parquet(argument):
        for file in expand(argument):
            yield ParquetSource(ParquetFile.look_at(file), preprocessing)
    elif path.is_file() and (is_images_file(path) or path.name.endswith(".npz")):
        yield _open_array(path, preprocessing, memory, reporter)
    else:
        made = load(
            argument, labelled=False, preprocessing=preprocessing, seed=seed, reporter=reporter
        )
        images = all_images(made)
        names = images.names or images.name
        yield SetSource(images.fingerprint(), names, images.images, preprocessing)


def _open_array(
    path: Path, preprocessing: Preprocessing, memory: int, reporter: Reporter
) -> Source:
    idx = is_images_file(path)
    found = find_idx_images(path) if idx else find_npz_images(path)
    if found is not None and found.offset is not None:
        name = set_name(path) if idx else path.name.removesuffix(".npz")
        return ArraySource(name, found, preprocessing)
    read = read_idx_set if idx else read_npz
    images = read(path, memory=memory, reporter=reporter)
    return SetSource(file_stamp(path), images.name, images.images, preprocessing)


@dataclass(frozen=True)
class FileSource:
    """Image files of their own; only their names are in memory."""

    files: Sequence[Path]
    preprocessing: Preprocessing

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.files)

    def __len__(self) -> int:
        return _pieces(len(self.files))

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        for file in self.files[_places(piece)]:
            yield f"{file}\t{file_stamp(file)}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        files = self.files[_places(piece)]
        for part in _parts(len(files), self.preprocessing):
            yield batch_of_files(files[part], self.preprocessing)


@dataclass(frozen=True)
class ArraySource:
    """An array in a file, read piece by piece from where it lies."""

    name: str
    array: RawImages
    preprocessing: Preprocessing

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.array)

    def __len__(self) -> int:
        return _pieces(len(self.array))

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        yield f"{file_stamp(self.array.path)}\t{self.array.shape}\t{_places(piece)}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        first = piece * PIECE
        count = min(PIECE, len(self.array) - first)
        for part in _parts(count, self.preprocessing, prod(self.array.shape[1:])):
            numbers = range(first + part.start, first + part.stop)
            images, errors = self._read(numbers)
            names = [f"{self.name}[{i}]" for i in numbers]
            yield Batch(names, errors, adapt(images, self.preprocessing))

    def _read(self, numbers: range) -> tuple[Tensor, dict[int, str]]:
        """The images that can be read, and why the others cannot, by their places."""
        try:
            return self.array.read(numbers.start, numbers.stop), {}
        except DataError:  # of some of them: floats outside [0, 1], a file that was cut
            images, errors = [torch.empty(0, *self.preprocessing.shape, dtype=torch.uint8)], {}
        for place, number in enumerate(numbers):
            try:
                own = self.array.read(number, number + 1)
                images.append(adapt(own, self.preprocessing))
            except DataError as error:
                errors[place] = f"{self.name}[{number}]: {error}"
        return torch.cat(images), errors


@dataclass(frozen=True)
class SetSource:
    """A set that is in memory, or mapped from the cache folder.

    Attributes:
        known_by: What changes where its content does.
        names: Of its images; or its own, and they are called by their numbers.
        stack: ``(N, K, H, W)`` uint8.
        preprocessing: What they are brought to.
    """

    known_by: str
    names: Sequence[str] | str
    stack: Stack
    preprocessing: Preprocessing

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.stack)

    def __len__(self) -> int:
        return _pieces(len(self.stack))

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        yield f"{self.known_by}\t{tuple(self.stack.shape)}\t{_places(piece)}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        first = piece * PIECE
        count = min(PIECE, len(self.stack) - first)
        for part in _parts(count, self.preprocessing, prod(self.stack.shape[1:])):
            numbers = range(first + part.start, first + part.stop)
            images = adapt(self.stack[numbers.start : numbers.stop], self.preprocessing)
            yield Batch([self._name(i) for i in numbers], {}, images)

    def _name(self, number: int) -> str:
        named = isinstance(self.names, str)
        return f"{self.names}[{number}]" if named else self.names[number]


@dataclass(frozen=True)
class ShardSource:
    """One tar file: a piece, of which nobody knows beforehand how many images it has."""

    shard: Path
    preprocessing: Preprocessing
    images: int | None = None

    def __len__(self) -> int:
        return 1

    def identity(self, piece: int) -> Iterator[str]:  # noqa: ARG002 - there is one
        """Lines that change where the content of a piece does."""
        yield file_stamp(self.shard)

    def batches(self, piece: int) -> Iterator[Batch]:  # noqa: ARG002
        """The images of a piece in their order."""
        members, end = list_members(self.shard)
        for part in _parts(len(members.names), self.preprocessing):
            yield _decoded(_Some(members, range(part.start, part.stop)), self.preprocessing)
        if end is not None:
            yield _failed([end[0]], end[1], self.preprocessing)


@dataclass(frozen=True)
class ParquetSource:
    """One Parquet file: a piece is a row group, or as many small ones as make one."""

    file: ParquetFile
    preprocessing: Preprocessing

    @cached_property
    def _runs(self) -> tuple[range, ...]:
        return _runs(self.file.groups)

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.file)

    def __len__(self) -> int:
        return len(self._runs)

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        yield f"{file_stamp(self.file.path)}\t{self._runs[piece]}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        groups = self._runs[piece]
        row = sum(self.file.groups[: groups.start])
        end = row + sum(self.file.groups[i] for i in groups)
        try:
            for rows in self.file.rows(groups, _at_once(self.preprocessing)):
                found = self.file.contents(rows, row)
                row += len(found)
                yield _decoded(_Contents(found), self.preprocessing)
        except DataError as error:
            names = [f"{self.file.path.name}[{i}]" for i in range(row, end)]
            yield _failed(names, str(error), self.preprocessing)


def _runs(groups: Sequence[int]) -> tuple[range, ...]:
    """Successive row groups, together of at most :data:`PIECE` rows where there are several."""
    runs: list[range] = []
    rows = 0
    for number, count in enumerate(groups):
        if runs and rows + count <= PIECE:
            runs[-1] = range(runs[-1].start, number + 1)
            rows += count
        elif count:
            runs.append(range(number, number + 1))
            rows = count
    return tuple(runs)


@dataclass(frozen=True)
class _Some:
    """Some of the images of a shard."""

    whole: Encoded
    places: range

    @property
    def names(self) -> Sequence[str]:
        return [self.whole.names[i] for i in self.places]

    def open(self, index: int) -> Path | BytesIO:
        opened = self.whole.open(self.places[index])
        assert isinstance(opened, Path | BytesIO)  # noqa: S101 - of shards
        return opened

    def stamps(self) -> Iterator[str]:
        return iter(())

    def groups(self) -> Sequence[int]:
        return [0] * len(self.places)


@dataclass(frozen=True)
class _Contents:
    """Names and contents of images."""

    found: Sequence[tuple[str, bytes | None]]

    @property
    def names(self) -> Sequence[str]:
        return [name for name, _ in self.found]

    def open(self, index: int) -> BytesIO:
        name, content = self.found[index]
        if content is None:
            raise UnreadableImage(f"{name}: it is empty")
        return BytesIO(content)

    def stamps(self) -> Iterator[str]:
        return iter(())

    def groups(self) -> Sequence[int]:
        return [0] * len(self.found)


def _decoded(encoded: Encoded, preprocessing: Preprocessing) -> Batch:
    result = read_encoded(encoded, preprocessing)
    errors = {failure.index: failure.error for failure in result.failures}
    return Batch(encoded.names, errors, result.images)


def _failed(names: Sequence[str], why: str, preprocessing: Preprocessing) -> Batch:
    none = read_encoded(_Contents([]), preprocessing).images
    return Batch(names, dict.fromkeys(range(len(names)), why), none)


def _pieces(count: int) -> int:
    return -(-count // PIECE)


def _places(piece: int) -> slice:
    return slice(piece * PIECE, (piece + 1) * PIECE)


def _at_once(preprocessing: Preprocessing, own: int = 0) -> int:
    """How many images are in memory at a time; ``own`` is their size before they are adapted."""
    return max(1, min(PIECE, BATCH_BYTES // max(prod(preprocessing.shape), own)))


def _parts(count: int, preprocessing: Preprocessing, own: int = 0) -> Iterator[slice]:
    size = _at_once(preprocessing, own)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
