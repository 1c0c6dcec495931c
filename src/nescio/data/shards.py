"""WebDataset shards: tar files with an image and its label under one key.

Members ``KEY.jpg`` (or another image) and ``KEY.cls`` (a class number or name) or ``KEY.json``
(an object with ``label`` or ``cls``) belong together; a key goes up to the first dot of the
file's name. Shards named as parts, such as ``set-train-000.tar``, are parts. They are read from
where they lie: a first pass notes where each image stands, and nothing is ever extracted, so what
a member is called cannot reach the disk.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from nescio.data.class_numbers import natural_key
from nescio.data.encoded_parts import Table, read_table
from nescio.data.images import Dataset
from nescio.data.members import Members, Record, State, state_of
from nescio.data.parts import parts_of_files
from nescio.data.reading import Reading
from nescio.data.shard_index import describe_left, look_through
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

MOST_SHARDS = 100_000
"""More are taken for a mistake in the pattern."""

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
"""``{000..003}`` or ``{a,b}``."""


MEND = 'put one beside it, as KEY.cls or as "label" in KEY.json'
"""What to do about an image without a label."""


def names_shards(text: str) -> bool:
    """Whether a data argument names shards: it ends in ``.tar``."""
    return text.lower().endswith(".tar")


def read_shards(pattern: str, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Read the shards that a pattern names.

    Args:
        pattern: A path, with ranges such as ``shards-{000..003}.tar``, lists such as ``{a,b}``, or
            the wildcards ``*``, ``?`` and ``[]``.
        reading: What to bring images to, and how.
        reporter: Told of progress, and of what is left out.

    Raises:
        DataError: A shard is missing or damaged, or has no images; a label is missing or no label.
        UnreadableImage: An image cannot be decoded, and none may be skipped.
    """
    shards = expand(pattern)
    records: list[Record] = []
    states: list[State] = []
    left: Counter[str] = Counter()
    with reporter.task("looking through shards", len(shards), "shards") as task:
        for number, shard in enumerate(shards):
            states.append(state_of(shard.stat()))
            looked = look_through(shard, number, labelled=reading.labelled)
            records += looked.records
            left += looked.left
            task.advance()
    if not records:
        held = f"; they hold {describe_left(left)}" if left else ""
        raise DataError(f"{pattern}: no images in these {len(shards)} shards{held}")
    if left:
        reporter.note(f"{pattern}: members that are not used: {describe_left(left)}")
    name = re.sub(r"[-_.]+$", "", RANGE.sub("", Path(pattern).name.removesuffix(".tar")))
    name = re.sub(r"[-_.*?\[\]]+$", "", name) or "shards"
    parts = parts_of_files(pattern, shards) if reading.labelled else None
    of_each = parts and [parts[record.shard] for record in records]
    if reading.labelled:
        _require_labels(pattern, records, of_each)
    images = Members(tuple(shards), tuple(states), tuple(records))
    texts = [record.label for record in records]
    return read_table(name, Table(pattern, images, texts, of_each, (), MEND), reading, reporter)


def _require_labels(pattern: str, records: Sequence[Record], parts: Sequence[str] | None) -> None:
    """See that no image lacks a label where others of its part have one: a member may be lost.

    Raises:
        DataError: One does.
    """
    of_each = parts or [""] * len(records)
    pairs = [*zip(of_each, records, strict=True)]
    labelled = {part for part, record in pairs if record.label is not None} or {of_each[0]}
    for part, record in pairs:
        if part in labelled and record.label is None:
            raise DataError(f"{pattern}: {record.name!r} has no label; {MEND}")


def expand(pattern: str) -> list[Path]:
    """The files that a pattern names, in order.

    Raises:
        DataError: There are none, or one that is named is missing.
    """
    if Path(pattern).is_file():
        return [Path(pattern)]
    texts = _ranges(pattern)
    found: list[Path] = []
    for path in map(Path, texts):
        wild = any(mark in path.name for mark in "*?[")
        own = path.parent.glob(path.name) if wild else [path]
        found += sorted(own, key=lambda each: natural_key(each.name))
    if not found:
        raise DataError(f"{pattern}: there is no such shard")
    for path in found:
        if not path.is_file():
            raise DataError(f"{path}: there is no such shard (of {pattern})")
    return found


def _ranges(pattern: str) -> list[str]:
    """The pattern with each range and list written out."""
    pieces: list[list[str]] = []
    end, count = 0, 1
    for match in RANGE.finditer(pattern):
        first, last, names = match.groups()
        if names is not None:
            choices = names.split(",")
        else:
            wide = min(int(last) - int(first) + 1, MOST_SHARDS + 1)
            choices = [str(int(first) + i).zfill(len(first)) for i in range(wide)]
        count *= len(choices)
        if not 1 <= count <= MOST_SHARDS:
            raise DataError(f"{pattern}: stands for no shard, or for more than {MOST_SHARDS:,}")
        pieces += [[pattern[end : match.start()]], choices]
        end = match.end()
    return ["".join(parts) for parts in product(*pieces, [pattern[end:]])]
