"""The forms of a result by the name of its file; those that are lines of text."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nescio.errors import UsageError
from nescio.scoring.answers import Answers, json_lines, table_columns, table_rows
from nescio.scoring.parquet import Parquet
from nescio.scoring.writing import Format, Writer, check_count


@dataclass(frozen=True)
class JsonLines:
    """A line an answer, as ``predict --json`` prints them."""

    suffix: str = ".jsonl"

    @contextmanager
    def writer(self, part: Path) -> Iterator[Writer]:
        """What writes a part."""
        with part.open("w", newline="\n", encoding="utf-8") as file:
            yield _LineWriter(file)

    def join(self, parts: Sequence[tuple[Path, int]], out: Path) -> None:
        """Write parts into one file, in order."""
        with out.open("wb") as file:
            for part, count in parts:
                check_count(part, _count_lines(part), count)
                _append(part, file)

    def first_error(self, part: Path) -> str:
        """The first error in a part that has one."""
        with part.open(encoding="utf-8") as file:
            found = (json.loads(line) for line in file if '"error": ' in line)
            return next(str(each["error"]) for each in found if "error" in each)


@dataclass(frozen=True)
class _LineWriter:
    file: IO[str]

    def write(self, answers: Answers) -> None:
        self.file.writelines(f"{line}\n" for line in json_lines(answers))


@dataclass(frozen=True)
class Csv:
    """A row an answer, as ``predict --csv`` writes them; parts have no header."""

    classes: tuple[str, ...]
    suffix: str = ".csv"

    @contextmanager
    def writer(self, part: Path) -> Iterator[Writer]:
        """What writes a part."""
        with part.open("w", newline="", encoding="utf-8") as file:
            yield _RowWriter(file, len(table_columns(self.classes)))

    def join(self, parts: Sequence[tuple[Path, int]], out: Path) -> None:
        """Write parts into one file, in order."""
        with out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(table_columns(self.classes))
        with out.open("ab") as joined:
            for part, count in parts:
                check_count(part, _count_rows(part, count), count)
                _append(part, joined)

    def first_error(self, part: Path) -> str:
        """The first error in a part that has one."""
        place = table_columns(()).index("error")
        with part.open(newline="", encoding="utf-8") as file:
            return next(row[place] for row in csv.reader(file) if row[place])


@dataclass(frozen=True)
class _RowWriter:
    file: IO[str]
    width: int

    def write(self, answers: Answers) -> None:
        rows = table_rows(answers)
        if answers.errors:
            rows = ((*row, *[""] * (self.width - len(row))) for row in rows)
        csv.writer(self.file).writerows(rows)


def choose_format(out: Path, classes: tuple[str, ...]) -> Format:
    """The format that a file's name asks for.

    Raises:
        UsageError: It asks for none that is written; or PyArrow, which Parquet takes, is not
            installed.
    """
    match out.suffix.lower():
        case ".jsonl":
            return JsonLines()
        case ".csv":
            return Csv(classes)
        case ".parquet":
            return Parquet.of(classes, str(out))
    raise UsageError(f"{out}: --out takes a file named .csv, .jsonl or .parquet")


def _append(part: Path, file: IO[bytes]) -> None:
    with part.open("rb") as source:
        shutil.copyfileobj(source, file, 2**20)


def _count_lines(part: Path) -> int:
    with part.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


def _count_rows(part: Path, expected: int) -> int:
    lines = _count_lines(part)
    if lines <= expected:
        return lines
    with part.open(newline="", encoding="utf-8") as file:  # a name has a line break in it
        return sum(1 for _ in csv.reader(file))
