"""What a form of result is: how answers are written, and parts are joined."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from nescio.errors import DataError
from nescio.scoring.answers import Answers


class Writer(Protocol):
    """Writes answers into one part."""

    def write(self, answers: Answers) -> None:
        """Add answers, in order."""
        ...


class Format(Protocol):
    """How answers lie in a file."""

    @property
    def suffix(self) -> str:
        """How its files end."""
        ...

    def writer(self, part: Path) -> AbstractContextManager[Writer]:
        """What writes a part."""
        ...

    def join(self, parts: Sequence[tuple[Path, int]], out: Path) -> None:
        """Write parts into one file, in order.

        Args:
            parts: Each with how many answers it must have.
            out: The file.

        Raises:
            DataError: One has another number of answers.
        """
        ...

    def first_error(self, part: Path) -> str:
        """The first error in a part that has one."""
        ...


def check_count(part: Path, found: int, expected: int) -> None:
    """See that a part has as many answers as its name says."""
    if found != expected:
        raise DataError(
            f"{part}: it has {found} answers, not {expected} as its name says; remove it, and go "
            "on with --resume"
        )
