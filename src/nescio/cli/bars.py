"""Bars with rate and time left, for a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.progress import Task as Row
from rich.table import Column
from rich.text import Text

from nescio.names import printable
from nescio.progress import Pace, Task

BAR_WIDTH = 16


class BarReporter:
    """Bars that stay, finished, when their work is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Task]:
        """A bar for one stretch of work."""
        progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]", table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(BAR_WIDTH, table_column=Column(min_width=4)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            _RateColumn(unit),
            _TimeColumn(),
            # Where the line is short, what it showed gives way first, then the bar.
            TextColumn(
                "[dim]{task.fields[status]}[/]",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            expand=True,
            console=self._console,
            # Results on stdout pass by the bar where both are on the screen. Where stdout is a
            # file or a pipe, rich must leave it alone, or they would end on the screen.
            redirect_stdout=sys.stdout.isatty(),
        )
        with progress:
            pace = Pace(time.monotonic())
            bar = progress.add_task(printable(description), total=total, status="", pace=pace)
            yield _BarTask(progress, bar, pace)

    def note(self, message: str) -> None:
        """One line in yellow."""
        self._console.print(Text(f"note: {printable(message)}", style="yellow"), soft_wrap=True)


class _BarTask:
    def __init__(self, progress: Progress, task: TaskID, pace: Pace) -> None:
        self._progress, self._task, self._pace = progress, task, pace
        self._done = 0

    def advance(self, amount: int = 1, status: str = "") -> None:
        self._done += amount
        self._pace.tell(self._done, time.monotonic())
        self._progress.advance(self._task, amount)
        if status:
            self._progress.update(self._task, status=printable(status))


class _RateColumn(ProgressColumn):
    """``850 images/s``, over all the time so far: work comes in bursts."""

    def __init__(self, unit: str) -> None:
        super().__init__(Column(no_wrap=True))
        self._unit = unit

    def render(self, task: Row) -> Text:
        elapsed = _elapsed(task)
        if not task.completed or not elapsed:
            return Text(self._unit, style="dim")
        rate = task.completed / elapsed
        return Text(f"{rate:,.{1 if rate < 10 else 0}f} {self._unit}/s", style="dim")


class _TimeColumn(ProgressColumn):
    """``0:01:10 left`` while it runs, at the rate of late; then how long it took."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Row) -> Text:
        elapsed = _elapsed(task)
        if task.finished or task.total is None:
            return Text(_clock(elapsed), style="yellow")
        pace: Pace = task.fields["pace"]
        left = pace.left(task.completed, task.total, time.monotonic())
        if left is None:
            return Text("-:--:-- left", style="cyan")
        return Text(f"{_clock(left)} left", style="cyan")


def _elapsed(task: Row) -> float:
    return task.finished_time or task.elapsed or 0.0


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
