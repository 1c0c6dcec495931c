"""WebDataset shards: tar files with an image and its label under one key.

Members ``KEY.jpg`` (or another image) and ``KEY.cls`` (a class number or name) or ``KEY.json``
(an object with ``label`` or ``cls``) belong together; a key goes up to the first dot of the
file's name. Shards are read from where they lie: a first pass notes where each image stands, and
nothing is ever extracted, so what a member is called cannot reach the disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from nescio.data.class_numbers import natural_key, number_texts
from nescio.data.encoded import choose_shape
from nescio.data.folders import read_labelled, tell_alike
from nescio.data.images import Dataset
from nescio.data.members import Members, Record, State, look_through, state_of
from nescio.data.reading import Reading
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

MOST_SHARDS = 100_000
"""More are taken for a mistake in the pattern."""

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
"""``{000..003}`` or ``{a,b}``."""


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
    skipped = 0
    with reporter.task("looking through shards", len(shards), "shards") as task:
        for number, shard in enumerate(shards):
            states.append(state_of(shard.stat()))
            found, others = look_through(shard, number)
            records += found
            skipped += others
            task.advance()
    if not records:
        raise DataError(f"{pattern}: no images in these {len(shards)} shards")
    if skipped:
        reporter.note(f"{pattern}: {skipped} members are neither images nor labels of any")
    name = re.sub(r"[-_.]+$", "", RANGE.sub("", Path(pattern).name.removesuffix(".tar")))
    name = re.sub(r"[-_.*?\[\]]+$", "", name) or "shards"
    labels, classes = number_labels(
        pattern,
        [record.label for record in records],
        [repr(record.name) for record in records],
        reading,
        'put one beside it, as KEY.cls or as "label" in KEY.json',
    )
    tell_alike(name, classes, reporter)
    images = Members(tuple(shards), tuple(states), tuple(records))
    shaped = choose_shape(images, reading, reporter)
    return Dataset(
        name,
        read_labelled(
            name,
            images,
            replace(reading, preprocessing=shaped),
            labels=labels,
            classes=classes,
            reporter=reporter,
        ),
    )


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


def number_labels(
    source: str,
    labels: Sequence[str | None],
    names: Sequence[str],
    reading: Reading,
    mend: str,
) -> tuple[list[int] | None, tuple[str, ...]]:
    """The labels as indices into the names that occur, in natural order.

    Args:
        source: What they come from, for errors.
        labels: Of each image, as they are written; ``None`` where there is none.
        names: Of the images, for errors.
        reading: Whether labels are needed.
        mend: What to do where one is missing.

    Raises:
        DataError: Labels are needed and one is missing, or is no class.
    """
    if None in labels:
        if reading.labelled:
            raise DataError(f"{source}: {names[labels.index(None)]} has no label; {mend}")
        return None, ()
    numbers, classes = number_texts(labels, source)
    if reading.labelled and not classes:
        raise DataError(f"{source}: every label is -1, which stands for none; {mend}")
    return (numbers.tolist(), classes) if classes else (None, ())
