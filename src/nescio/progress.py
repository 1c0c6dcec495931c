"""How long work tells where it is, without knowing who listens.

Library code takes a :class:`Reporter` and the default says nothing; the command
line passes one that draws bars on a terminal and prints plain lines when piped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

PACE_SECONDS = 20.0
"""How far back the rate is measured: work changes its pace, as from reading to computing."""

SAMPLE_SECONDS = 0.5
"""How often is noted how far it has come."""


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


class Pace:
    """How fast work goes of late, and so when it will be done.

    Args:
        start: When it began, by any clock.
    """

    def __init__(self, start: float) -> None:
        self._noted: deque[tuple[float, float]] = deque([(start, 0.0)])

    def tell(self, done: float, now: float) -> None:
        """Note how far it has come."""
        if now - self._noted[-1][0] >= SAMPLE_SECONDS:
            self._noted.append((now, done))
        while len(self._noted) > 1 and self._noted[1][0] <= now - PACE_SECONDS:
            self._noted.popleft()

    def left(self, done: float, total: float | None, now: float) -> float | None:
        """The seconds left at the rate of late; ``None`` where they cannot be told."""
        since, before = self._noted[0]
        if total is None or not before < done < total:
            return None
        return (now - since) * (total - done) / (done - before)


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
