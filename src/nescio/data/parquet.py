"""Parquet files with encoded images in a column, such as ``image``.

The column holds the bytes of image files, or, as Hugging Face's ``datasets`` writes it, a struct
with ``bytes`` and ``path``. Labels stand in a column such as ``label``, names in ``key`` or
``path``.
Files named ``train-...``, ``validation-...`` and ``test-...`` are parts.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from nescio.data.class_numbers import name_values
from nescio.data.columns import IMAGES, LABELS
from nescio.data.encoded import file_stamp
from nescio.data.encoded_parts import Table, read_table
from nescio.data.images import Dataset
from nescio.data.parts import parts_of_files
from nescio.data.reading import Reading
from nescio.data.shards import RANGE, expand
from nescio.errors import DataError, UnreadableImage, UsageError
from nescio.names import name_of
from nescio.progress import SILENT, Reporter

NAMES = ("key", "path")
"""Columns that may say what images are called."""

BUFFER = 2**20
"""Bytes of a column that are read at a time, so that a row group need not be in memory whole."""

LISTED = 30
"""Columns that a message names."""

KEPT_GROUPS = 2
"""Row groups whose images are in memory where images are asked for one by one."""


def names_parquet(text: str) -> bool:
    """Whether a data argument names Parquet files: it ends in ``.parquet``."""
    return text.lower().endswith(".parquet")


@dataclass(frozen=True)
class ParquetFile:
    """One file, of which the metadata alone were read.

    Attributes:
        path: The file.
        groups: How many rows each row group has.
        columns: Its columns.
        image: The column of images.
        nested: Whether it is a struct with ``bytes``.
        classes: The class names that Hugging Face noted, by column.
    """

    path: Path
    groups: tuple[int, ...]
    columns: tuple[str, ...]
    image: str
    nested: bool
    classes: Mapping[str, tuple[str, ...]]

    @staticmethod
    def look_at(path: Path, image: str | None = None, reporter: Reporter = SILENT) -> ParquetFile:
        """Find out what is in a file.

        Args:
            path: The file.
            image: The column of images; ``None`` to find it.
            reporter: Told of other columns of images.

        Raises:
            UsageError: PyArrow is not installed.
            DataError: It is no Parquet file, or has no images of a kind that is read, or nobody can
                tell in which column.
        """
        pa, pq = load_pyarrow(str(path))
        try:
            with pq.ParquetFile(path) as file:
                schema, metadata = file.schema_arrow, file.metadata
                groups = tuple(
                    metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)
                )
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{path}: not a readable Parquet file ({_line(error)})") from error
        columns = tuple(schema.names)
        kinds = {name: _contents_of(pa, schema.field(name).type) for name in columns}
        found = [name for name, kind in kinds.items() if kind is not None]
        chosen = IMAGES.choose(str(path), found, columns, image, reporter)
        if chosen is None or kinds[chosen] is None:
            listed = ", ".join(f"{name} ({schema.field(name).type})" for name in columns[:LISTED])
            raise DataError(
                f"{path}: {'no column' if chosen is None else repr(chosen)} "
                "holds bytes of image files, or a struct with 'bytes'; --image-column names one; "
                f"its columns are {listed or 'none'}"
            )
        nested = kinds[chosen] == "nested"
        return ParquetFile(path, groups, columns, chosen, nested, _noted_classes(schema))

    def __len__(self) -> int:
        return sum(self.groups)

    def rows(
        self, groups: Sequence[int], batch: int, wanted: Sequence[str] | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """The rows of row groups, at most ``batch`` at a time, column by column.

        Args:
            groups: Numbers of row groups.
            batch: The most rows at a time.
            wanted: Columns; ``None`` for images and names.

        Raises:
            DataError: What follows is damaged.
        """
        pa, pq = load_pyarrow(str(self.path))
        wanted = (self.image, *NAMES) if wanted is None else wanted
        columns = [name for name in wanted if name.partition(".")[0] in self.columns]
        try:
            with pq.ParquetFile(self.path, buffer_size=BUFFER) as file:
                found = file.iter_batches(batch, row_groups=list(groups), columns=columns)
                for rows in found:
                    yield rows.to_pydict()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{self.path}: damaged ({_line(error)}); fetch it again") from error

    def names(self) -> Iterator[str]:
        """What each image is called; no image is read."""
        own = next((name for name in NAMES if name in self.columns), None)
        wanted = own or (f"{self.image}.path" if self.nested else None)
        if wanted is None:
            yield from self._named([None] * len(self), 0)
            return
        first = 0
        for rows in self.rows(range(len(self.groups)), 2**16, (wanted,)):
            given = rows[own] if own else [(each or {}).get("path") for each in rows[self.image]]
            yield from self._named(given, first)
            first += len(given)

    def _named(self, given: Sequence[Any], first: int) -> Iterator[str]:
        for place, name in enumerate(given):
            plain = isinstance(name, str) and name
            yield name_of(name if plain else f"{self.path.name}[{first + place}]")

    def contents(self, rows: dict[str, list[Any]], first: int) -> list[tuple[str, bytes | None]]:
        """The name and the content of each image of some rows.

        Args:
            rows: As :meth:`rows` gives them.
            first: The number of the first row in the file.
        """
        images: list[Any] = rows[self.image]
        given = next((rows[name] for name in NAMES if name in rows), None)
        if self.nested:
            own = [image or {} for image in images]
            given = given or [each.get("path") for each in own]
            images = [each.get("bytes") for each in own]
        names = self._named(given or [None] * len(images), first)
        return list(zip(names, images, strict=True))


@dataclass(frozen=True, eq=False)
class ParquetImages:
    """The images of files, asked for one by one, as :class:`nescio.data.encoded.Encoded` says.

    An image costs the reading of its row group, unless that is one of the last few asked for:
    in order each group is read once, at random nearly one a image.
    """

    files: tuple[ParquetFile, ...]
    _kept: OrderedDict[int, list[tuple[str, bytes | None]]] = field(default_factory=OrderedDict)
    _lock: Any = field(default_factory=Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads for itself."""
        return ParquetImages, (self.files,)

    @cached_property
    def names(self) -> Sequence[str]:
        """What each is called."""
        return [name for file in self.files for name in file.names()]

    @cached_property
    def _groups(self) -> list[tuple[ParquetFile, int]]:
        return [(file, group) for file in self.files for group in range(len(file.groups))]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(file.groups[group] for file, group in self._groups)]

    def open(self, index: int) -> BytesIO:
        """The content of one image."""
        group = bisect_right(self._starts, index) - 1
        try:
            _, content = self._group(group)[index - self._starts[group]]
        except DataError as error:
            raise UnreadableImage(f"{self.names[index]}: {error}") from error
        if content is None:
            raise UnreadableImage(f"{self.names[index]}: it is empty")
        return BytesIO(content)

    def _group(self, number: int) -> list[tuple[str, bytes | None]]:
        with self._lock:  # several threads ask, and nearly always for the same group
            if number not in self._kept:
                file, group = self._groups[number]
                while len(self._kept) >= KEPT_GROUPS:
                    self._kept.popitem(last=False)
                parts = file.rows([group], max(1, file.groups[group]), (file.image,))
                self._kept[number] = [each for rows in parts for each in file.contents(rows, 0)]
            return self._kept[number]

    def stamps(self) -> Iterator[str]:
        """The files, and how many images each has."""
        for file in self.files:
            yield f"{file_stamp(file.path)}\t{len(file)}"

    def groups(self) -> Sequence[int]:
        """The row group of each, over all files."""
        sizes = [file.groups[group] for file, group in self._groups]
        return [number for number, size in enumerate(sizes) for _ in range(size)]


def read_parquet(pattern: str, reading: Reading, reporter: Reporter = SILENT) -> Dataset:
    """Read the Parquet files that a pattern names.

    Args:
        pattern: A path, with ranges, lists and wildcards as :func:`nescio.data.shards.expand`
            takes them.
        reading: What to bring images to, and how.
        reporter: Told of progress, and of what is left out.

    Raises:
        UsageError: PyArrow is not installed.
        DataError: A file is missing, damaged or has no images; a label is missing or no label.
        UnreadableImage: An image cannot be decoded, and none may be skipped.
    """
    files = look_at_files(expand(pattern), reading.image_column, reporter)
    images = ParquetImages(files)
    if not images.names:
        raise DataError(f"{pattern}: no images in these {len(files)} files")
    name = re.sub(r"[-_.*?\[\]]+$", "", RANGE.sub("", Path(pattern).name[: -len(".parquet")]))
    texts, order = _labels(pattern, files, reading, reporter)
    parts = parts_of_files(pattern, [file.path for file in files]) if reading.labelled else None
    every = parts and [
        part for part, file in zip(parts, files, strict=True) for _ in range(len(file))
    ]
    mend = (
        "expected class numbers or names in a column 'label' (columns "
        f"{', '.join(files[0].columns)}); --label-column names another"
    )
    table = Table(pattern, images, texts, every, order, mend)
    return read_table(name or "parquet", table, reading, reporter)


def look_at_files(
    paths: Sequence[Path], image: str | None = None, reporter: Reporter = SILENT
) -> tuple[ParquetFile, ...]:
    """Find out what is in files of one kind; of the first it is told where images are.

    Args:
        paths: The files.
        image: The column of images; ``None`` to find it.
        reporter: Told of other columns of images.

    Raises:
        UsageError: PyArrow is not installed.
        DataError: One is no Parquet file, or has no images.
    """
    tellers = (reporter, *[SILENT] * (len(paths) - 1))
    return tuple(
        ParquetFile.look_at(path, image, each) for path, each in zip(paths, tellers, strict=True)
    )


def _labels(
    pattern: str, files: Sequence[ParquetFile], reading: Reading, reporter: Reporter
) -> tuple[list[str | None] | None, tuple[str, ...]]:
    """The class name of each image, ``None`` without one; and the names that someone noted."""
    columns = dict.fromkeys(name for file in files for name in file.columns)
    noted = dict.fromkeys(name for file in files for name in file.classes)
    usual = [name for name in columns if name.casefold() in LABELS.standard]
    try:
        column = LABELS.choose(
            pattern, [*dict.fromkeys([*usual, *noted])], [*columns], reading.label_column, reporter
        )
    except DataError:
        if reading.labelled:
            raise
        return None, ()
    if column is None:
        return None, ()
    given: list[str | None] = []
    for file in files:
        if column not in file.columns:
            given += [None] * len(file)
            continue
        names, where = file.classes.get(column, ()), f"{file.path}: column {column!r}"
        for rows in file.rows(range(len(file.groups)), 2**16, (column,)):
            try:
                given += name_values(rows[column], where, names)
            except DataError:
                if reading.labelled:
                    raise
                return None, ()
    order = dict.fromkeys(name for file in files for name in file.classes.get(column, ()))
    return given, tuple(order)


def _contents_of(pa: Any, kind: Any) -> str | None:
    """How a column of a type holds files: ``plain``, ``nested``, or not at all."""
    if pa.types.is_struct(kind):
        inner = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        return "nested" if "bytes" in inner and _contents_of(pa, inner["bytes"]) else None
    return "plain" if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _noted_classes(schema: Any) -> dict[str, tuple[str, ...]]:
    """The names of classes by column, where Hugging Face's ``datasets`` noted them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {column: kind["names"] for column, kind in features.items() if "names" in kind}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    return {
        column: tuple(names)
        for column, names in found.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


def load_pyarrow(wanted: str) -> tuple[Any, Any]:
    """PyArrow, and its part for Parquet.

    Args:
        wanted: What it is needed for.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            f"{wanted}: Parquet takes PyArrow; pip install 'nescio[parquet]'"
        ) from error
    return pa, pq


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
