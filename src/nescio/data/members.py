"""The images of tar files: where each stands, and how its content is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

from nescio.data.encoded import file_stamp
from nescio.errors import DataError, UnreadableImage
from nescio.names import name_of

LARGEST_IMAGE = 1 << 29
"""Bytes of one encoded image."""


@dataclass(frozen=True)
class Record:
    """An image in a shard, and what its label is.

    Attributes:
        shard: The number of the shard.
        name: Of the member.
        offset: Where its content begins.
        size: Bytes.
        label: A class number or name, as it is written; ``None`` where there is none.
    """

    shard: int
    name: str
    offset: int
    size: int
    label: str | None = None


State: TypeAlias = tuple[int, int, int]
"""What changes where a file does: its number on the disk, its bytes, the time of its change."""


def state_of(found: os.stat_result) -> State:
    """Of a file, by what ``stat`` says of it."""
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class Members:
    """The images of all shards, which are opened for each: processes and threads share nothing."""

    shards: tuple[Path, ...]
    states: tuple[State, ...]
    records: tuple[Record, ...]
    names: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        named = [name_of(f"{self.shards[each.shard].name}/{each.name}") for each in self.records]
        object.__setattr__(self, "names", named)

    def open(self, index: int) -> BytesIO:
        """The content of one image.

        Raises:
            UnreadableImage: It is too large, or the disk fails.
            DataError: The shard is not the one that was looked through.
        """
        record = self.records[index]
        if record.size > LARGEST_IMAGE:
            raise UnreadableImage(f"{self.names[index]}: {record.size:,} bytes are no image")
        try:
            with self.shards[record.shard].open("rb") as file:
                # An offset into another file would give other images, or none.
                if state_of(os.fstat(file.fileno())) != self.states[record.shard]:
                    raise DataError(
                        f"{self.shards[record.shard]}: this shard has changed since it was looked "
                        "through; begin again when it stays as it is"
                    )
                file.seek(record.offset)
                return BytesIO(file.read(record.size))
        except FileNotFoundError as error:
            raise DataError(
                f"{self.shards[record.shard]}: this shard is gone since it was looked through; "
                "put it back and begin again"
            ) from error
        except OSError as error:
            raise UnreadableImage(f"{self.names[index]}: {error.strerror}") from error

    def stamps(self) -> Iterator[str]:
        """The shards, and where each image stands in them."""
        yield from map(file_stamp, self.shards)
        for record in self.records:
            yield f"{record.shard}\t{record.offset}\t{record.size}"

    def groups(self) -> Sequence[int]:
        """The shard of each."""
        return [record.shard for record in self.records]
