"""Results as Parquet: a typed column for each of ``predict --csv``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nescio.data.parquet import load_pyarrow
from nescio.errors import DataError
from nescio.refusal import Decisions
from nescio.scoring.answers import SCORES, Answers, reasons, table_columns
from nescio.scoring.writing import Writer, check_count

GROUP_BYTES = 2**25
"""Of the rows that are joined to one row group: 32 MiB."""

TEXTS = ("image", "label", "reason", "error", "nearest", "stage")


@dataclass(frozen=True)
class Parquet:
    """A row an answer; empty where a CSV file has nothing, and ``proposed`` is a list.

    Attributes:
        classes: The names of the classes.
        schema: PyArrow's, of the columns.
    """

    classes: tuple[str, ...]
    schema: Any
    suffix: str = ".parquet"

    @staticmethod
    def of(classes: tuple[str, ...], wanted: str) -> Parquet:
        """For a model of these classes.

        Raises:
            UsageError: PyArrow is not installed.
        """
        pa, _ = load_pyarrow(wanted)
        kinds = {
            **dict.fromkeys(TEXTS, pa.string()),
            "accepted": pa.bool_(),
            "samples": pa.int32(),
            "proposed": pa.list_(pa.string()),
        }
        columns = table_columns(classes)
        return Parquet(
            classes, pa.schema([(name, kinds.get(name, pa.float32())) for name in columns])
        )

    @contextmanager
    def writer(self, part: Path) -> Iterator[Writer]:
        """What writes a part."""
        _, pq = load_pyarrow(str(part))
        with pq.ParquetWriter(part, self.schema) as writer:
            yield _TableWriter(self, writer)

    def table(self, answers: Answers) -> Any:
        """Answers as a table of PyArrow."""
        pa, _ = load_pyarrow("answers")
        count, readable = len(answers.names), np.array(answers.readable, dtype=np.int64)
        known = {} if answers.decisions is None else _columns(answers.decisions)
        known |= {"image": None, "error": None}
        arrays = []
        for field in self.schema:
            if field.name == "image":
                values: Any = pa.array(list(answers.names), field.type)
            elif field.name == "error":
                errors = [answers.errors.get(place) for place in range(count)]
                values = pa.array(errors, field.type)
            else:
                values = _spread(pa, known.get(field.name), readable, count, field.type)
            arrays.append(values)
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def join(self, parts: Sequence[tuple[Path, int]], out: Path) -> None:
        """Write parts into one file, in order."""
        pa, pq = load_pyarrow(str(out))
        with pq.ParquetWriter(out, self.schema) as writer:
            held, size = [], 0
            for part, count in parts:
                try:
                    table = pq.read_table(part, schema=self.schema)
                except (OSError, pa.ArrowException) as error:
                    raise DataError(
                        f"{part}: damaged ({error}); remove it, and go on with --resume"
                    ) from error
                check_count(part, table.num_rows, count)
                held.append(table)
                size += table.nbytes
                if size > GROUP_BYTES:
                    writer.write_table(pa.concat_tables(held))
                    held, size = [], 0
            if held:
                writer.write_table(pa.concat_tables(held))

    def first_error(self, part: Path) -> str:
        """The first error in a part that has one."""
        _, pq = load_pyarrow(str(part))
        errors = pq.read_table(part, columns=["error"])["error"].to_pylist()
        return str(next(error for error in errors if error))


@dataclass(frozen=True)
class _TableWriter:
    format: Parquet
    writer: Any

    def write(self, answers: Answers) -> None:
        self.writer.write_table(self.format.table(answers))


def _columns(decisions: Decisions) -> dict[str, Any]:
    """What is known of images that could be read: a list, or an array, a column."""
    verdicts, classes, stages = decisions.verdicts, decisions.classes, decisions.stages
    pairs = zip(verdicts.top.tolist(), decisions.accepted.tolist(), strict=True)
    found: dict[str, Any] = {
        "label": [classes[own] if answered else None for own, answered in pairs],
        "accepted": decisions.accepted.numpy(),
        "reason": reasons(decisions),
        "proposed": [list(compress(classes, mask)) for mask in verdicts.proposed.tolist()],
        "samples": decisions.samples.numpy().astype(np.int32),
    }
    if stages:
        found["nearest"] = [classes[i] for i in verdicts.nearest.tolist()]
        found["stage"] = [stages[i] for i in verdicts.stage.tolist()]
    for name in SCORES:
        if name in decisions.scores:
            score = decisions.scores[name].to(torch.float32)
            found[name] = score.numpy()
    for group, values in (("probability", decisions.probability), ("median", decisions.median)):
        for name, column in zip(classes, values.T, strict=True):
            found[f"{group} {name}"] = column.contiguous().numpy()
    return found


def _spread(pa: Any, values: Any, readable: Any, count: int, kind: Any) -> Any:
    """Values at the places of images that could be read, nothing at the others."""
    if values is None or not len(readable):
        return pa.nulls(count, kind)
    if isinstance(values, np.ndarray):
        full = np.zeros(count, values.dtype)
        absent = np.ones(count, bool)
        full[readable] = values
        absent[readable] = ~np.isfinite(values) if values.dtype.kind == "f" else False
        return pa.array(full, kind, mask=absent)
    spread: list[Any] = [None] * count
    for place, value in zip(readable.tolist(), values, strict=True):
        spread[place] = value
    return pa.array(spread, kind)
