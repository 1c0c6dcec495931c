"""What a fit tells while it goes on, kept for those who do not watch."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nescio.progress import SILENT, Task


class Notes:
    """A reporter that keeps the notes; with ``verbose`` it writes them, and how long work took.

    Args:
        verbose: Whether to write to stderr.
    """

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self.kept: list[str] = []

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Task]:
        """Begin a stretch of work; its end is told, with its time."""
        start = time.perf_counter()
        with SILENT.task(description, total, unit) as task:
            yield task
        amount = "" if total is None else f"{total:,} {unit}, "
        self._write(f"{description}: {amount}{time.perf_counter() - start:.1f} s")

    def note(self, message: str) -> None:
        """Keep one line."""
        self.kept.append(message)
        self._write(message)

    def _write(self, line: str) -> None:
        if self._verbose:
            sys.stderr.write(f"[NescioClassifier] {line}\n")
