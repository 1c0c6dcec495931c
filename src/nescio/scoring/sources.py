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
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from nescio.data import Preprocessing, all_images, load
from nescio.data.encoded import file_stamp
from nescio.data.idx import find_idx_images, read_idx_set
from nescio.data.idx_names import is_images_file, set_name
from nescio.data.npz import find_npz_images, read_npz
from nescio.data.parquet import look_at_files, names_parquet
from nescio.data.reading import MEMORY, Reading
from nescio.data.shards import expand, names_shards
from nescio.progress import SILENT, Reporter
from nescio.scoring.arrays import ArraySource, SetSource
from nescio.scoring.batches import Batch, find_image_files
from nescio.scoring.encoded import FileSource, ParquetSource, ShardSource

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
    skip_unreadable: bool = False,
    image_column: str | None = None,
    reporter: Reporter = SILENT,
) -> Plan:
    """Find out what arguments name; of files, what is in them is looked up and not read.

    Args:
        arguments: Image files, folders, data sets, shards, Parquet files.
        preprocessing: What every image is brought to.
        seed: Of sets that are made at run time, and of shifts.
        memory: Bytes of a compressed set that may be held in memory; more are decoded once into
            the cache folder.
        skip_unreadable: Whether to leave out folders that cannot be opened.
        image_column: Of Parquet and ``hf:``, the column of images; ``None`` to find it.
        reporter: Told of progress, and of what is left out of folders.

    Raises:
        DataError: One is nothing of the kind, or cannot be used.
    """
    reading = Reading(preprocessing, labelled=False, memory=memory, image_column=image_column)
    sources: list[Source] = []
    for argument in arguments:
        files = find_image_files(argument, reporter, skip_unreadable=skip_unreadable)
        opened: Iterable[Source] = (
            [FileSource(files, preprocessing)]
            if files
            else _open(argument, preprocessing, reading, seed, reporter)
        )
        for source in opened:
            last = sources[-1] if sources else None
            if isinstance(source, FileSource) and isinstance(last, FileSource):
                # A thousand files that a shell wrote out are one row of files.
                sources[-1] = FileSource([*last.files, *source.files], preprocessing)
            else:
                sources.append(source)
    return Plan(tuple(sources))


def _open(
    argument: str, preprocessing: Preprocessing, reading: Reading, seed: int, reporter: Reporter
) -> Iterator[Source]:
    path = Path(argument)
    if names_shards(argument):
        yield from (ShardSource(shard, preprocessing) for shard in expand(argument))
    elif names_parquet(argument):
        for file in look_at_files(expand(argument), reading.image_column, reporter):
            yield ParquetSource(file, preprocessing)
    elif path.is_file() and (is_images_file(path) or path.name.endswith(".npz")):
        yield _open_array(path, preprocessing, reading, reporter)
    else:
        images = all_images(load(argument, reading=reading, seed=seed, reporter=reporter), reporter)
        names = images.names or images.name
        yield SetSource(images.fingerprint(), names, images.images, preprocessing)


def _open_array(
    path: Path, preprocessing: Preprocessing, reading: Reading, reporter: Reporter
) -> Source:
    idx = is_images_file(path)
    found = find_idx_images(path) if idx else find_npz_images(path, reporter)
    if found is not None and found.offset is not None:
        name = set_name(path) if idx else path.name.removesuffix(".npz")
        return ArraySource(name, found, preprocessing)
    if idx:
        images = read_idx_set(path, reading=reading, reporter=reporter)
    else:
        images = read_npz(path, reading, reporter).train
    return SetSource(file_stamp(path), images.name, images.images, preprocessing)


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
