"""What stands in a tar file: images, their labels, what else; and whether it is whole."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nescio.data.class_numbers import label_text
from nescio.data.members import Members, Record, state_of
from nescio.data.walk import SUFFIXES, is_hidden
from nescio.errors import DataError

LARGEST_LABEL = 1 << 20
"""Bytes; a larger label is no label."""

KINDS = 6
"""Kinds of members that a note names."""

IMAGE, LABEL, DOTTED, FOLDER = "image", "label", "dotted", "folder"
"""What a member is: ``KEY.png``; ``KEY.cls`` or ``KEY.json``; ``KEY.more.png``; no file."""

TAR_ERRORS = (tarfile.TarError, EOFError, OverflowError, OSError, ValueError)
"""How a file that is no tar shows, or one that is damaged."""


@dataclass(frozen=True)
class Looked:
    """What stands in a shard.

    Attributes:
        records: The images, with their labels.
        left: How many members of each kind are neither image nor label of one.
    """

    records: list[Record]
    left: Counter[str]


def look_through(shard: Path, number: int, *, labelled: bool = True) -> Looked:
    """The images of a shard with their labels, and what else is in it.

    Args:
        shard: Its path.
        number: Its number, for the records.
        labelled: Whether labels are needed; else those that are none are no error.

    Raises:
        DataError: It is damaged, or no tar file; a label is none; or images are named so that
            their keys are not their own.
    """
    found = _Found(shard, number, labelled=labelled)
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
    return found.looked()


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


@dataclass(frozen=True)
class Listed:
    """The images of a shard, to be answered.

    Attributes:
        members: Those that can be read.
        failures: The name of each other one, and why; last where the shard itself ends early.
        left: How many members of each kind are neither images nor what stands for labels.
    """

    members: Members
    failures: tuple[tuple[str, str], ...]
    left: Counter[str]


def list_members(shard: Path) -> Listed:
    """The images of one shard as they stand in it, labelled or not, up to where it ends.

    Args:
        shard: The file.
    """
    images: list[Record] = []
    dotted: list[tuple[str, str]] = []
    left: Counter[str] = Counter()
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
                key, kind = _sort(member)
                if kind == IMAGE:
                    images.append(Record(0, member.name, member.offset_data, member.size))
                elif kind == DOTTED:
                    dotted.append((key, member.name))
                elif kind not in (LABEL, FOLDER):
                    left[kind] += 1
            else:
                broken = _check_end(shard, archive.offset)
                end = None if broken is None else (str(shard), broken)
    except TAR_ERRORS as error:
        why = " ".join(str(error).split())
        what = (
            "damaged or cut off after what was read"
            if images
            else "not a readable tar file, uncompressed"
        )
        end = str(shard), f"{shard}: {what} ({why})"
    lost, more = _dotted_alone(dotted, {_key(image.name)[0] for image in images})
    failures = [(f"{shard.name}/{name}", f"{shard}: {_explain(key, name)}") for key, name in lost]
    members = Members((shard,), (state,), tuple(images))
    return Listed(members, tuple(failures if end is None else [*failures, end]), left + more)


def describe_left(left: Mapping[str, int]) -> str:
    """``12 .txt, 3 .mask.png``."""
    most = sorted(left.items(), key=lambda kind: (-kind[1], kind[0]))
    more = ", ..." if len(most) > KINDS else ""
    return ", ".join(f"{count} {kind}" for kind, count in most[:KINDS]) + more


def _sort(member: tarfile.TarInfo) -> tuple[str, str]:
    """A member's key, and what it is: one of the kinds above, or another kind by its name."""
    key, ending = _key(member.name)
    if member.isdir():
        kind = FOLDER
    elif any(is_hidden(part) for part in PurePosixPath(member.name).parts):
        kind = "hidden"
    elif not member.isreg() or member.issparse():
        kind = "links and the like"  # never followed
    elif f".{ending}" in SUFFIXES:
        kind = IMAGE
    elif ending in ("cls", "json"):
        kind = LABEL
    elif f".{ending.rpartition('.')[2]}" in SUFFIXES:
        kind = DOTTED
    else:
        kind = f".{ending}" if ending else "without ending"
    return key, kind


def _dotted_alone(
    dotted: Sequence[tuple[str, str]], keys: Collection[str]
) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Images with a dot before their ending: those whose key has no other image, others by kind.

    ``a.mask.png`` beside ``a.png`` is another column of the same sample; alone it is an image
    whose name has a dot in it.
    """
    alone = [(key, name) for key, name in dotted if key not in keys]
    return alone, Counter(f".{_key(name)[1]}" for key, name in dotted if key in keys)


def _explain(key: str, name: str) -> str:
    """Why an image with a dot before its ending is none, and the mend."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.rpartition(".")
    better = f"{folder}{slash}{stem.replace('.', '_')}.{ending}"
    return (
        f"{name!r} has a dot before its ending, and in WebDataset a key goes to the first dot, so "
        f"it is part of {key!r}; name it {better!r}, say, and its label likewise"
    )


class _Found:
    """What was met in a shard so far."""

    def __init__(self, shard: Path, number: int, *, labelled: bool) -> None:
        self.shard, self.number, self.labelled = shard, number, labelled
        self.length = shard.stat().st_size
        self.images: dict[str, Record] = {}
        self.labels: dict[str, dict[str, str]] = {"cls": {}, "json": {}}
        self.dotted: list[tuple[str, str]] = []
        self.left: Counter[str] = Counter()

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Sort one member in; links, devices and holes are never followed."""
        key, kind = _sort(member)
        if kind == IMAGE:
            self._add_image(key, member)
        elif kind == DOTTED:
            self.dotted.append((key, member.name))
        elif kind == LABEL:
            self._add_label(key, archive, member)
        else:
            self.left[kind] += 1

    def _add_image(self, key: str, member: tarfile.TarInfo) -> None:
        if key in self.images:
            raise DataError(f"{self.shard}: two images have the key {key!r}")
        if member.offset_data + member.size > self.length:
            raise DataError(f"{self.shard}: it ends within {member.name!r}; fetch it again")
        self.images[key] = Record(self.number, member.name, member.offset_data, member.size)

    def _add_label(self, key: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        ending = _key(member.name)[1]
        try:
            label = _label(f"{self.shard}: {member.name!r}", archive, member, ending)
        except DataError:
            if self.labelled:
                raise
            label = None
        if label is None:
            self.left[f".{ending} without a label"] += 1
        else:
            self.labels[ending][key] = label

    def looked(self) -> Looked:
        """The images with their labels, wherever in the shard these stood."""
        lost, left = _dotted_alone(self.dotted, self.images)
        if lost:
            raise DataError(f"{self.shard}: {_explain(*lost[0])}")
        for ending, labels in self.labels.items():
            count = len(labels.keys() - self.images.keys())
            left.update({f".{ending} without an image": count} if count else {})
        # What is in a .json may be said in other words; .cls is the label.
        known = self.labels["json"] | self.labels["cls"]
        records = [replace(each, label=known.get(key)) for key, each in self.images.items()]
        return Looked(records, self.left + left)


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
