"""What stands in a tar file: images and their labels, where each is, and whether it is whole."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from nescio.data.class_numbers import label_text
from nescio.data.encoded import file_stamp
from nescio.data.walk import SUFFIXES, is_hidden
from nescio.errors import DataError, UnreadableImage

LARGEST_LABEL = 1 << 20
"""Bytes; a larger label is no label."""

LARGEST_IMAGE = 1 << 29
"""Bytes of one encoded image."""

TAR_ERRORS = (tarfile.TarError, EOFError, OverflowError, OSError, ValueError)
"""How a file that is no tar shows, or one that is damaged."""


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
        named = [f"{self.shards[each.shard].name}/{each.name}" for each in self.records]
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


def look_through(shard: Path, number: int) -> tuple[list[Record], int]:
    """The images of a shard with their labels, and how many members are neither.

    Args:
        shard: Its path.
        number: Its number, for the records.

    Raises:
        DataError: It is damaged, or no tar file; a label is none.
    """
    found = _Found(shard, number)
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isdir():
                    found.add(archive, member)
            broken = _check_end(shard, archive.offset)
            if broken is not None:
                raise DataError(broken)
    except TAR_ERRORS as error:
        if isinstance(error, DataError):
            raise
        why = " ".join(str(error).split())
        raise DataError(f"{shard}: not a readable tar file, uncompressed ({why})") from error
    return found.records(), found.skipped + len(found.labels.keys() - found.images.keys())


def _check_end(shard: Path, offset: int) -> str | None:
    """``tarfile`` takes whatever is no header for the end; images behind it would be lost unsaid.

    Args:
        shard: Its path.
        offset: Where the last member ends.

    Returns:
        What is wrong: there is no mark of the end, or something behind it.
    """
    with shard.open("rb") as file:
        file.seek(offset)
        mark = file.read(tarfile.BLOCKSIZE)
        if len(mark) < tarfile.BLOCKSIZE:
            return f"{shard}: it was cut off, the mark of its end is missing; fetch it again"
        if any(mark):
            return f"{shard}: it is damaged at byte {offset:,}; fetch it again"
        while rest := file.read(1 << 20):
            if any(rest):
                return (
                    f"{shard}: something follows behind its end, as where tar files were joined by "
                    "cat; join them by tar --concatenate, or keep them apart"
                )
    return None


def list_members(shard: Path) -> tuple[Members, tuple[str, str] | None]:
    """The images of one shard as they stand in it, labelled or not, up to where it ends.

    Args:
        shard: The file.

    Returns:
        The images; and what cannot be read of a shard that is cut off or damaged: its name, and
        why.
    """
    records: list[Record] = []
    end: tuple[str, str] | None = None
    state = (0, 0, 0)
    try:
        found = shard.stat()
        state, length = state_of(found), found.st_size
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                name = f"{shard.name}/{member.name}"
                if member.offset_data + member.size > length and not member.issparse():
                    end = name, f"{shard}: it ends within {member.name!r}; fetch it again"
                    break
                if _is_image(member):
                    records.append(Record(0, member.name, member.offset_data, member.size))
            else:
                broken = _check_end(shard, archive.offset)
                end = None if broken is None else (str(shard), broken)
    except TAR_ERRORS as error:
        why = " ".join(str(error).split())
        what = (
            "damaged or cut off after what was read"
            if records
            else "not a readable tar file, uncompressed"
        )
        end = str(shard), f"{shard}: {what} ({why})"
    return Members((shard,), (state,), tuple(records)), end


def _is_image(member: tarfile.TarInfo) -> bool:
    """Whether a member is an image."""
    return _is_plain(member) and f".{_key(member.name)[1]}" in SUFFIXES


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Whether a member is a file that is not hidden: links, devices and holes are not."""
    key, _ = _key(member.name)
    hidden = any(is_hidden(part) for part in PurePosixPath(key).parts if part != ".")
    return member.isreg() and not member.issparse() and not hidden


class _Found:
    """What was met in a shard so far."""

    def __init__(self, shard: Path, number: int) -> None:
        self.shard, self.number = shard, number
        self.length = shard.stat().st_size
        self.images: dict[str, Record] = {}
        self.labels: dict[str, str] = {}
        self.skipped = 0

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Sort one member in; links, devices and holes are never followed."""
        key, ending = _key(member.name)
        if not _is_plain(member):
            self.skipped += 1
        elif f".{ending}" in SUFFIXES:
            self._add_image(key, member)
        elif ending in ("cls", "json"):
            label = _label(f"{self.shard}: {member.name!r}", archive, member, ending)
            if label is not None:
                self.labels[key] = label
        else:
            self.skipped += 1

    def _add_image(self, key: str, member: tarfile.TarInfo) -> None:
        if key in self.images:
            raise DataError(f"{self.shard}: two images have the key {key!r}")
        if member.offset_data + member.size > self.length:
            raise DataError(f"{self.shard}: it ends within {member.name!r}; fetch it again")
        self.images[key] = Record(self.number, member.name, member.offset_data, member.size)

    def records(self) -> list[Record]:
        """The images with their labels, wherever in the shard these stood."""
        return [replace(record, label=self.labels.get(key)) for key, record in self.images.items()]


def _key(name: str) -> tuple[str, str]:
    """``a/b.jpg`` as ``a/b`` and ``jpg``."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _label(
    where: str, archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str
) -> str | None:
    if member.size > LARGEST_LABEL:
        raise DataError(f"{where} is too large for a label ({member.size:,} bytes)")
    content = archive.extractfile(member)
    assert content is not None  # noqa: S101 - a regular member has content
    try:
        text = content.read().decode("utf-8").strip()
        value = json.loads(text) if ending == "json" else text
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{where} is no label in UTF-8 ({type(error).__name__})") from error
    if isinstance(value, dict):
        value = value.get("label", value.get("cls"))
        if value is None:  # of another task; a .cls may stand beside it
            return None
    try:
        label = label_text(value)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if label is None:
        raise DataError(f"{where}: a label must be a class number or name, got {value!r:.60}")
    return label
