"""How long work tells where it is, without knowing who listens.

Library code takes a :class:`Reporter` and the default says nothing; the command
line passes one that draws bars on a terminal and prints plain lines when piped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One stretch of work with a known length."""

    def advance(self, amount: int = 1, status: str = "") -> None:
        """Say that ``amount`` more units are done, and optionally what they showed."""
        ...


class Reporter(Protocol):
    """Whoever listens to progress."""

    def task(self, description: str, total: int | None, unit: str) -> AbstractContextManager[Task]:
        """Begin a stretch of work of ``total`` units (``None``: not known)."""
        ...

    def note(self, message: str) -> None:
        """Tell one line that a person should read."""
        ...


class _SilentTask:
    def advance(self, amount: int = 1, status: str = "") -> None:
        pass


class Silent:
    """A reporter that says nothing."""

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Task]:  # noqa: ARG002
        """Begin a stretch of work that nobody watches."""
        yield _SilentTask()

    def note(self, message: str) -> None:
        """Drop the line."""


SILENT = Silent()


class Part:
    """A reporter for work that is a part of a longer stretch: its tasks advance that one.

    Args:
        whole: The longer stretch, in the same units.
        reporter: Who is told of notes.
    """

    def __init__(self, whole: Task, reporter: Reporter) -> None:
        self._whole, self._reporter = whole, reporter

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Task]:  # noqa: ARG002
        """Go on with the longer stretch."""
        yield self._whole

    def note(self, message: str) -> None:
        """Pass the line on."""
        self._reporter.note(message)
