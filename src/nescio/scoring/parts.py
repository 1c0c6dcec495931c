"""The folder of parts: what is done of a run, so that a killed one goes on where it was.

``OUT.parts`` holds ``about.json``, which says of which run the parts are, and one file for each
piece that is done. Its name tells the piece, what became of its images, and the stamp of what was
read: ``00000012.1990-40-15-3.ab12cd34ef.jsonl`` is piece 12, with 1,990 images answered, 40
ambiguous, 15 unfamiliar, 3 not readable. A part is written beside and moved there whole, so what is
there is done: to go on is to list the folder.
"""

from __future__ import annotations

import glob
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nescio.errors import DataError, UsageError
from nescio.files import put_in_place, write_text

ABOUT = "about.json"

NAME = re.compile(r"(\d{8,})\.(\d+)-(\d+)-(\d+)-(\d+)\.([0-9a-f]+)(\.[a-z]+)")

BEGUN = re.compile(r"\.begun\..*\.part|\.about\.json\..*\.part")
"""What a killed run may leave: parts that were not whole yet."""

DONE = re.compile(r"done\.\d+")
"""A process's sign that it has done its share."""


@dataclass(frozen=True)
class Counts:
    """What became of images.

    Attributes:
        answered: With a label.
        ambiguous: Refused for that reason.
        unfamiliar: Refused for that reason.
        unreadable: Without any answer.
    """

    answered: int = 0
    ambiguous: int = 0
    unfamiliar: int = 0
    unreadable: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.answered + other.answered,
            self.ambiguous + other.ambiguous,
            self.unfamiliar + other.unfamiliar,
            self.unreadable + other.unreadable,
        )

    @property
    def images(self) -> int:
        """How many they are."""
        return self.answered + self.ambiguous + self.unfamiliar + self.unreadable


@dataclass(frozen=True)
class Part:
    """A piece that is done.

    Attributes:
        piece: Its number.
        stamp: Of what was read.
        counts: What became of its images.
        suffix: Of its file.
    """

    piece: int
    stamp: str
    counts: Counts
    suffix: str

    @property
    def name(self) -> str:
        """Of its file."""
        own = self.counts
        numbers = f"{own.answered}-{own.ambiguous}-{own.unfamiliar}-{own.unreadable}"
        return f"{self.piece:08d}.{numbers}.{self.stamp}{self.suffix}"

    @staticmethod
    def parse(name: str) -> Part | None:
        """The part whose file is called so; ``None`` where no part's is."""
        found = NAME.fullmatch(name)
        if found is None:
            return None
        piece, *numbers, stamp, suffix = found.groups()
        return Part(int(piece), stamp, Counts(*map(int, numbers)), suffix)


@dataclass(frozen=True)
class PartsFolder:
    """The folder of one result.

    Attributes:
        out: The result.
    """

    out: Path

    @property
    def path(self) -> Path:
        """The folder."""
        return self.out.with_name(f"{self.out.name}.parts")

    def begin(self, about: Mapping[str, Any], *, resume: bool, force: bool) -> None:
        """Make the folder ready for a run; one process does it for all.

        Args:
            about: What binds parts to a run.
            resume: Go on with what is there.
            force: Remove what is there.

        Raises:
            UsageError: A result or parts are there, and neither was asked for; parts of another
                run are there, or a folder that is none of parts.
        """
        foreign = self.path.exists() and not (self.path / ABOUT).is_file() and self._holds_any()
        if foreign:
            raise UsageError(
                f"{self.path} is no folder of parts (it has no {ABOUT}); remove it, or name "
                "another --out"
            )
        if force:
            self.clear()
        elif not resume:
            there = [str(each) for each in (self.out, self.path) if each.exists()]
            if there:
                raise UsageError(
                    f"{' and '.join(there)} {'exists' if len(there) == 1 else 'exist'} "
                    f"(the result is {self.out}, its parts lie in {self.path}); go on with "
                    "--resume, begin anew with --force, or name another file"
                )
        elif self.out.exists() and not self.path.exists():
            raise UsageError(
                f"{self.out} is complete, nothing is left to resume; begin anew with --force"
            )
        if (self.path / ABOUT).is_file():
            self._compare(about)
        self.path.mkdir(parents=True, exist_ok=True)
        for each in self.path.iterdir():
            if BEGUN.fullmatch(each.name) or DONE.fullmatch(each.name):
                each.unlink(missing_ok=True)
        # What a run left that was killed as it joined its parts: a result that is not whole.
        for cut in self.out.parent.glob(f".{glob.escape(self.out.name)}.*.part"):
            cut.unlink(missing_ok=True)
        write_text(self.path / ABOUT, json.dumps(about, indent=2, ensure_ascii=False))

    def _holds_any(self) -> bool:
        """Whether anything is in it but what a run leaves that was killed as it began."""
        if not self.path.is_dir():
            return True
        return any(not BEGUN.fullmatch(each.name) for each in self.path.iterdir())

    def _compare(self, about: Mapping[str, Any]) -> None:
        try:
            before: Any = json.loads((self.path / ABOUT).read_text(encoding="utf-8"))
            differing = [key for key in {**about, **before} if about.get(key) != before.get(key)]
        except (ValueError, TypeError) as error:
            raise UsageError(f"{self.path / ABOUT} is damaged; begin anew with --force") from error
        if differing:
            told = "; ".join(
                f"its {key} is {_short(before.get(key))}, not {_short(about.get(key))}"
                for key in differing
            )
            raise UsageError(
                f"{self.path} holds parts of another run: {told}; resume with the same, or begin "
                "anew with --force"
            )

    def check_shared(self, about: Mapping[str, Any]) -> None:
        """See that this process finds what another one wrote.

        Raises:
            UsageError: It does not: the folder is on a disk of its own.
        """
        try:
            same = json.loads((self.path / ABOUT).read_text(encoding="utf-8")) == dict(about)
        except (OSError, ValueError):
            same = False
        if not same:
            raise UsageError(
                f"{self.path} is not what the first process made there: --out must lie on a disk "
                "that all processes share"
            )

    def parts(self) -> Iterator[Part]:
        """All parts that are there, in no order; other files are passed over."""
        for entry in os.scandir(self.path):
            part = Part.parse(entry.name)
            if part is not None:
                yield part

    @contextmanager
    def open(self) -> Iterator[Path]:
        """A file to write a part into, before its name is known; it is gone after that."""
        handle, name = tempfile.mkstemp(prefix=".begun.", suffix=".part", dir=self.path)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def keep(self, written: Path, part: Part) -> None:
        """Make a whole file the one of a part."""
        put_in_place(written, self.path / part.name)

    def say_done(self, rank: int) -> None:
        """Leave a sign that a process has done its share."""
        (self.path / f"done.{rank}").touch()

    def are_done(self, size: int) -> bool:
        """Whether all processes have left it."""
        return all((self.path / f"done.{rank}").exists() for rank in range(size))

    def clear(self) -> list[str]:
        """Remove all that a run makes, and the folder; gives the names of other files in it."""
        if not self.path.is_dir():
            return []
        others = []
        for each in sorted(self.path.iterdir()):
            own = Part.parse(each.name) or DONE.fullmatch(each.name) or BEGUN.fullmatch(each.name)
            if own:
                each.unlink(missing_ok=True)
            elif each.name != ABOUT:
                others.append(each.name)
        # Last: a folder with parts in it always says whose they are.
        (self.path / ABOUT).unlink(missing_ok=True)
        if not others:
            self.path.rmdir()
        return others


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """What a full disk or its owner says, with what to do.

    Raises:
        DataError: The disk did not take what was written.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise DataError(
            f"{error.filename or folder}: {os.strerror(error.errno)}; parts that are complete "
            "stay: mend it, and go on with --resume"
        ) from error


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
