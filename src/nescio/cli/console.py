"""What a person at the terminal sees: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nescio.names import STREAM_ERRORS, printable
from nescio.progress import SILENT, Pace, Reporter, Task

PLAIN_SECONDS = 10.0
"""When piped, how often a line tells that work goes on."""

STATUS_SECONDS = 2.0
"""When piped, how often a line may tell a status, such as the figures after a pass."""


PIPED_WIDTH = 240
"""Columns that a table may take when piped; it is as wide as its content."""


def make_reporter(*, quiet: bool) -> Reporter:
    """Bars on a terminal, plain lines when piped, nothing when quiet."""
    if quiet:
        return SILENT
    console = Console(stderr=True)
    if not console.is_terminal:
        return PlainReporter()
    from nescio.cli.bars import BarReporter

    return BarReporter(console)


class _PlainTask:
    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done = 0
        self._last = ""
        self.status = ""
        self._start = self._said = time.monotonic()
        self._pace = Pace(self._start)

    def advance(self, amount: int = 1, status: str = "") -> None:
        self._done += amount
        self.status = status or self.status
        now = time.monotonic()
        self._pace.tell(self._done, now)
        if now - self._said >= (STATUS_SECONDS if status else PLAIN_SECONDS):
            self.say(status, now)

    def say(self, status: str, now: float, *, last: bool = False) -> None:
        self._said = now
        of_total = "" if self._total is None else f"/{self._total}"
        left = "" if last else self._left(now)
        rest = f"; {status}" if status else ""
        line = (
            f"{self._description}: {self._done}{of_total} {self._unit}, "
            f"{now - self._start:.0f} s{left}{rest}"
        )
        if line != self._last:
            _stderr(line)
        self._last = line

    def _left(self, now: float) -> str:
        """The time left, where it can be told."""
        seconds = self._pace.left(self._done, self._total, now)
        return "" if seconds is None else f", about {_duration(seconds)} left"


class PlainReporter:
    """Plain lines, for pipes and log files."""

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Task]:
        """Lines now and then, and one at the end."""
        task = _PlainTask(description, total, unit)
        yield task
        task.say(task.status or "done", time.monotonic(), last=True)

    def note(self, message: str) -> None:
        """One line."""
        _stderr(f"note: {message}")


def set_up_streams() -> None:
    """Let both streams take any name, whatever their encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=STREAM_ERRORS)


def print_result(text: str) -> None:
    """Results, to stdout."""
    sys.stdout.write(f"{printable(text, lines=True)}\n")


def print_json(record: Any, *, indent: int | None = None) -> None:
    """JSON, to stdout: letters as they are where its encoding has them, and nothing is odd."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, indent=indent)
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    if not (text.isascii() or utf8) or printable(text, lines=True) != text:
        text = json.dumps(record, allow_nan=False, indent=indent)
    print_result(text)


def print_error(text: str) -> None:
    """One line that says what is wrong, to stderr."""
    _stderr(f"error: {one_line(text)}")


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Names and what is to be said of each, on stdout; on a terminal long texts wrap."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        width = max(map(len, facts))
        print_result("\n".join([title, *(f"{n:{width}}  {text}" for n, text in facts.items())]))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts.items():
        grid.add_row(name, Text(printable(text, lines=True)))
    console.print(Text(printable(title), style="bold"), grid, sep="\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout; all columns but the first are right aligned.

    When piped, it is as wide as it needs to be, so that no cell is cut.
    """
    table = Table(
        title=Text(printable(title), style="bold"), title_justify="left", header_style="bold"
    )
    for index, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify="right" if index else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell, lines=True)) for cell in row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=PIPED_WIDTH)
    console.print(table)


def _duration(seconds: float) -> str:
    """As a person would say it: seconds, then minutes, then hours and minutes."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def one_line(text: str) -> str:
    """A message in one line, in which nothing commands a terminal."""
    return printable(" ".join(text.split()))


def _stderr(text: str) -> None:
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()
