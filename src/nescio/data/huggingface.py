"""Data sets that Hugging Face's ``datasets`` saved with ``save_to_disk``; nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from nescio.data.class_numbers import label_text, number_texts
from nescio.data.encoded import choose_shape, file_stamp
from nescio.data.folders import read_labelled, tell_alike
from nescio.data.images import Dataset, ImageSet
from nescio.data.reading import Reading
from nescio.errors import DataError, UnreadableImage, UsageError
from nescio.progress import SILENT, Reporter

PREFIX = "hf:"
"""Before the folder, in a data argument."""

LABELS = ("label", "labels", "class", "fine_label")
"""Columns that may hold the label, where none says that it does."""


def read_saved(folder: Path, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Read a folder that ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote.

    Of a ``DatasetDict`` the parts ``train`` and ``test`` count; of one with a single part, that
    one. Images come from the first column of images, labels from the first of class labels, or
    from one called ``label``.

    Args:
        folder: The folder.
        reading: What to bring images to, and how.
        reporter: Told of progress, and of what is left out.

    Raises:
        UsageError: The library ``datasets`` is not installed.
        DataError: The folder is none of these, or lacks images, or labels where they are needed.
        UnreadableImage: An image cannot be decoded, and none may be skipped.
    """
    parts = _parts(folder, reporter)
    name = folder.resolve().name
    columns = {part: _Column.of(folder, part, saved) for part, saved in parts.items()}
    labels = {part: _labels(folder, saved, reading) for part, saved in parts.items()}
    classes = labels["train"][1]
    tell_alike(name, classes, reporter)
    every = columns["train"] if len(columns) == 1 else _Both(*columns.values())
    shaped = replace(reading, preprocessing=choose_shape(every, reading, reporter))
    sets: dict[str, ImageSet] = {}
    for part, column in columns.items():
        own, names = labels[part]
        if names != classes and not set(names) <= set(classes):
            raise DataError(f"{folder}: train and test have different classes")
        numbers = None if own is None else [classes.index(names[i]) for i in own]
        sets[part] = read_labelled(
            name, column, shaped, labels=numbers, classes=classes, reporter=reporter
        )
    return Dataset(name, sets["train"], sets.get("test"))


def _parts(folder: Path, reporter: Reporter) -> dict[str, Any]:
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
        return {"train": saved}
    if len(saved) == 1:
        return {"train": next(iter(saved.values()))}
    if "train" not in saved:
        raise DataError(f"{PREFIX}{folder}: it has no part 'train', but {', '.join(saved)}")
    others = [part for part in saved if part not in ("train", "test")]
    if others:
        reporter.note(f"{folder}: the parts {', '.join(others)} are left out")
    return {part: saved[part] for part in ("train", "test") if part in saved}


@dataclass(frozen=True)
class _Column:
    """The encoded images of one part."""

    folder: Path
    part: str
    saved: Any
    column: str

    @staticmethod
    def of(folder: Path, part: str, saved: Any) -> _Column:
        import datasets

        columns = [n for n, kind in saved.features.items() if isinstance(kind, datasets.Image)]
        if not columns or not len(saved):
            raise DataError(
                f"{PREFIX}{folder}: it has no images (columns {', '.join(saved.features)})"
            )
        # As the file holds them: what is decoded, and how, is for nescio to say.
        raw = saved.select_columns([columns[0]]).with_format("arrow")
        return _Column(folder, part, raw, columns[0])

    @property
    def names(self) -> Sequence[str]:
        return [f"{self.folder.resolve().name}/{self.part}[{i}]" for i in range(len(self.saved))]

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
class _Both:
    """The images of two parts, one after the other."""

    first: _Column
    second: _Column

    @property
    def names(self) -> Sequence[str]:
        return [*self.first.names, *self.second.names]

    def open(self, index: int) -> Path | BytesIO:
        behind = len(self.first.saved)
        return self.first.open(index) if index < behind else self.second.open(index - behind)

    def stamps(self) -> Iterator[str]:
        yield from self.first.stamps()
        yield from self.second.stamps()

    def groups(self) -> Sequence[int]:
        return range(len(self.first.saved) + len(self.second.saved))


def _labels(folder: Path, saved: Any, reading: Reading) -> tuple[list[int] | None, tuple[str, ...]]:
    """The labels of one part as indices, and the class names."""
    import datasets

    kinds = saved.features
    named = [name for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
    column = next(iter([*named, *(name for name in LABELS if name in kinds)]), None)
    if column is None:
        if reading.labelled:
            raise DataError(
                f"{PREFIX}{folder}: no column holds labels; expected a ClassLabel, or one called "
                f"label (columns {', '.join(kinds)})"
            )
        return None, ()
    values = list(saved[column])
    if named:
        if min(values) < 0:
            raise DataError(f"{PREFIX}{folder}: image {values.index(min(values))} has no label")
        return values, tuple(kinds[column].names)
    try:
        texts = [label_text(value) for value in values]
    except ValueError as error:
        raise DataError(f"{PREFIX}{folder}: column {column!r}: {error}") from error
    numbers, classes = number_texts(texts, f"{PREFIX}{folder}")
    return numbers.tolist(), classes
