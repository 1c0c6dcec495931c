"""Data sets that Hugging Face's ``datasets`` saved with ``save_to_disk``; nothing is fetched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

from nescio.data.class_numbers import name_values
from nescio.data.columns import IMAGES, LABELS
from nescio.data.encoded import file_stamp
from nescio.data.encoded_parts import Table, read_table
from nescio.data.images import Dataset
from nescio.data.layout import CALIBRATION, CALLED, TEST, TRAIN, part_of
from nescio.data.reading import Reading
from nescio.data.telling import tell_no_parts, tell_others
from nescio.errors import DataError, UnreadableImage, UsageError
from nescio.names import name_of
from nescio.progress import SILENT, Reporter

PREFIX = "hf:"
"""Before the folder, in a data argument."""


def read_saved(folder: Path, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Read a folder that ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote.

    Of a ``DatasetDict`` the parts for training, validation and test count, by their names; of one
    with a single part, that one. Images come from the column called ``image`` or the like, or the
    only one of images; labels likewise from ``label`` or the only one of class labels.

    Args:
        folder: The folder.
        reading: What to bring images to, and how.
        reporter: Told of progress, and of what is left out.

    Raises:
        UsageError: The library ``datasets`` is not installed.
        DataError: The folder is none of these, or lacks images, or labels where they are needed.
        UnreadableImage: An image cannot be decoded, and none may be skipped.
    """
    parts = _parts(folder, reading, reporter)
    source = f"{PREFIX}{folder}"
    columns = _columns(folder, parts, reading, reporter)
    texts, order = _texts(source, parts, reading, reporter)
    named = [part for part, saved in parts.items() for _ in range(len(saved))]
    kinds = ", ".join(next(iter(parts.values())).features)
    mend = (
        f"expected a column of ClassLabel, or one called label (columns {kinds}); --label-column "
        "names another"
    )
    whole = columns[0] if len(columns) == 1 else _Joined(tuple(columns))
    table = Table(source, whole, texts, named if len(parts) > 1 else None, order, mend)
    return read_table(folder.resolve().name, table, reading, reporter)


def _parts(folder: Path, reading: Reading, reporter: Reporter) -> dict[str, Any]:
    """The parts that count, by what they are for."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            f"{PREFIX}{folder}: reading this takes Hugging Face's datasets; "
            "pip install 'nescio[hf]'"
        ) from error
    if not folder.is_dir():
        raise DataError(f"{PREFIX}{folder}: no such folder; write one with save_to_disk")
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:
        # What is wrong with a foreign folder shows in many ways.
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{PREFIX}{folder}: not a folder of save_to_disk ({why})") from error
    if not isinstance(saved, datasets.DatasetDict):
        return {TRAIN: saved}
    return _sorted_out(folder, saved, reading, reporter)


def _sorted_out(
    folder: Path, saved: Mapping[str, Any], reading: Reading, reporter: Reporter
) -> dict[str, Any]:
    """Of several parts those that are named as such; of one alone, that one."""
    if len(saved) == 1:
        return {TRAIN: next(iter(saved.values()))}
    found: dict[str, str] = {}
    for name in saved:
        part = part_of(name)
        if part is not None and (part not in found or name == part):
            found[part] = name
    if not reading.labelled and found:  # one counts: the test part if there is any
        only = next(part for part in (TEST, TRAIN, CALIBRATION) if part in found)
        found = {only: found[only]}
    if not found:
        raise DataError(
            f"{PREFIX}{folder}: it has no part 'train', but {', '.join(saved)}; save one of them"
        )
    left = {name: len(saved[name]) for name in saved if name not in found.values()}
    if reading.labelled:
        tell_no_parts(str(folder), left, reporter)
    else:
        (counted,) = found.values()
        mend = f"name {PREFIX}{folder / next(iter(left), '')} to have those answered"
        tell_others(str(folder), counted, left, mend, reporter)
    return {part: saved[name] for part, name in found.items()}


def _columns(
    folder: Path, parts: Mapping[str, Any], reading: Reading, reporter: Reporter
) -> list[_Column]:
    """The encoded images of each part; of the first it is told where they are."""
    tellers = (reporter, *[SILENT] * (len(parts) - 1))
    return [
        _Column.of(folder, CALLED[part], saved, reading.image_column, each)
        for (part, saved), each in zip(parts.items(), tellers, strict=True)
    ]


def _texts(
    source: str, parts: Mapping[str, Any], reading: Reading, reporter: Reporter
) -> tuple[list[str | None] | None, tuple[str, ...]]:
    """The class name of each image, ``None`` without one; and the names in their order.

    Raises:
        DataError: Labels are needed, and nobody can tell where they are, or they are none.
    """
    import datasets

    kinds = {name: kind for saved in parts.values() for name, kind in saved.features.items()}
    named = [name for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
    usual = [name for name in kinds if name.casefold() in LABELS.standard]
    given: list[str | None] = []
    order: dict[str, None] = {}
    try:
        column = LABELS.choose(
            source, [*dict.fromkeys([*usual, *named])], [*kinds], reading.label_column, reporter
        )
        if column is None:
            return None, ()
        for saved in parts.values():
            kind = saved.features.get(column)
            names = tuple(kind.names) if isinstance(kind, datasets.ClassLabel) else ()
            order |= dict.fromkeys(names)
            values = [None] * len(saved) if kind is None else [*saved[column]]
            given += name_values(values, f"{source}: column {column!r}", names)
    except DataError:
        if reading.labelled:
            raise
        return None, ()
    return given, tuple(order)


@dataclass(frozen=True)
class _Column:
    """The encoded images of one part."""

    folder: Path
    part: str
    saved: Any
    column: str

    @staticmethod
    def of(folder: Path, part: str, saved: Any, asked: str | None, reporter: Reporter) -> _Column:
        import datasets

        columns = [n for n, kind in saved.features.items() if isinstance(kind, datasets.Image)]
        chosen = IMAGES.choose(f"{PREFIX}{folder}", columns, [*saved.features], asked, reporter)
        if chosen is None or chosen not in columns or not len(saved):
            raise DataError(
                f"{PREFIX}{folder}: it has no images{f' in {asked!r}' if asked else ''} (columns "
                f"{', '.join(saved.features)})"
            )
        # As the file holds them: what is decoded, and how, is for nescio to say.
        raw = saved.select_columns([chosen]).with_format("arrow")
        return _Column(folder, part, raw, chosen)

    @property
    def names(self) -> Sequence[str]:
        folder = name_of(self.folder.resolve().name)
        return [f"{folder}/{self.part}[{i}]" for i in range(len(self.saved))]

    def open(self, index: int) -> Path | BytesIO:
        record = self.saved[index][self.column][0].as_py() or {"bytes": None, "path": None}
        content, path = record["bytes"], record["path"]
        if content is not None:
            return BytesIO(content)
        if path is None:
            raise UnreadableImage(f"{self.names[index]}: it is empty")
        return Path(path)

    def stamps(self) -> Iterator[str]:
        yield from (file_stamp(Path(each["filename"])) for each in self.saved.cache_files)
        yield f"{self.part}\t{self.column}\t{len(self.saved)}"

    def groups(self) -> Sequence[int]:
        return range(len(self.saved))


@dataclass(frozen=True)
class _Joined:
    """The images of several parts, one after the other."""

    columns: tuple[_Column, ...]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(column.saved) for column in self.columns)]

    @property
    def names(self) -> Sequence[str]:
        return [name for column in self.columns for name in column.names]

    def open(self, index: int) -> Path | BytesIO:
        number = bisect_right(self._starts, index) - 1
        return self.columns[number].open(index - self._starts[number])

    def stamps(self) -> Iterator[str]:
        for column in self.columns:
            yield from column.stamps()

    def groups(self) -> Sequence[int]:
        return range(self._starts[-1])
