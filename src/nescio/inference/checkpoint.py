"""Checkpoints: files from which a fit goes on as if it had never been stopped.

One safetensors file for each complete pass, ``pass-000007.safetensors``, and, in long passes, one
for the pass that is under way, ``pass-000007-step-000300.safetensors``: 300 steps after the
seventh. A file holds everything that the rest of the fit hangs on: weights, posterior, the state of
optimisers and schedules, and of every random stream. Each is written whole or not at all, and
none is removed before the next is there.

Facts say what a checkpoint is of: data, network, recipe, seed, versions. Whoever goes on has to
bring the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8

from nescio.errors import CheckpointError
from nescio.files import atomic_path, claimed
from nescio.progress import Reporter

FORMAT = 1
"""Raised when an older nescio could misread what a newer one wrote."""

NAME = re.compile(r"pass-(\d{6,})(?:-step-(\d{6,}))?\.safetensors")
"""What a checkpoint is called."""

LOCK = ".lock"
"""The file that says that a training writes to a folder."""

KEEP, MINUTES = 2, 10.0
"""How many complete passes are kept, and how long a pass under way may go without a checkpoint."""


@dataclass(frozen=True)
class Saved:
    """The content of one checkpoint.

    Attributes:
        tensors: By name.
        numbers: All else, as JSON.
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints of one fit are, and how often they are written.

    Attributes:
        folder: It holds those of one training and nothing else.
        resume: Whether to go on from what is there; else there must be nothing.
        keep: How many complete passes are kept.
        minutes: After how long within a pass one is written of the pass under way.
        facts: What they are of, by what it is called.
    """

    folder: Path
    resume: bool = False
    keep: int = KEEP
    minutes: float = MINUTES
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise CheckpointError(f"--keep-checkpoints must be at least 1, got {self.keep}")
        if not self.minutes > 0:
            raise CheckpointError(f"--checkpoint-minutes must be positive, got {self.minutes:g}")

    @contextmanager
    def claim(self) -> Iterator[None]:
        """See that the folder can be used, before any work is done; within it, it is ours alone.

        Raises:
            CheckpointError: It is no folder, or cannot be written; or it holds checkpoints, or
                anything else, and is not to be resumed from.
            UsageError: Another training writes to it.
        """
        with ExitStack() as held:
            try:
                held.enter_context(claimed(self.folder, self.folder / LOCK))
                self._check()
            except OSError as error:
                raise CheckpointError(
                    f"{self.folder}: checkpoints cannot be written there ({error.strerror}); name "
                    "another folder"
                ) from error
            yield

    def _check(self) -> None:
        for left in self.folder.glob(".pass-*.part"):  # of a writer that was killed
            left.unlink()
        found = sorted(path.name for path in self.folder.iterdir() if path.name != LOCK)
        others = [name for name in found if not _ours(name)]
        if others:
            raise CheckpointError(
                f"{self.folder}: holds other things than checkpoints, such as {others[0]!r}; name "
                "an empty or a new folder"
            )
        if found and not self.resume:
            raise CheckpointError(
                f"{self.folder}: holds checkpoints of an earlier training; go on from them with "
                "--resume, or name another folder"
            )

    def part(self, name: str) -> Checkpoints:
        """Those of one part of the work: ``member-NUMBER`` or ``snapshots``."""
        return replace(self, folder=self.folder / name)

    def write(self, passes: int, steps: int, saved: Saved) -> None:
        """Write the checkpoint of ``steps`` steps after so many passes; remove what it outdates.

        Raises:
            OSError: The disk is full, or failed; what is there stays.
        """
        name = f"pass-{passes:06d}" + (f"-step-{steps:06d}" if steps else "") + ".safetensors"
        about = {**saved.numbers, "passes": passes, "steps": steps}
        about |= {"format": FORMAT, "facts": dict(self.facts)}
        text = json.dumps({**about, "digest": _digest(saved.tensors)}, allow_nan=False)
        tensors = {each: value.contiguous() for each, value in saved.tensors.items()}
        with atomic_path(self.folder / name) as temporary:
            try:
                save_file(tensors, temporary, metadata={"nescio.checkpoint": text})
            except SafetensorError as error:
                raise OSError(None, str(error), name) from error
        self._prune(passes, steps)

    def _prune(self, passes: int, steps: int) -> None:
        """The last complete passes stay, and of a pass under way the last checkpoint."""
        complete = [done for done, within, _ in self._found() if not within]
        oldest = complete[-self.keep :][:1]
        for done, within, path in self._found():
            outdated = (done, within) < (passes, steps) if within else done < oldest[0]
            if outdated:
                path.unlink(missing_ok=True)

    def _found(self) -> list[tuple[int, int, Path]]:
        """Passes, steps and path of each checkpoint, the last one last."""
        if not self.folder.is_dir():
            return []
        matches = ((NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(m[1]), int(m[2] or 0), path) for m, path in matches if m)

    def last(self) -> tuple[Saved | None, Saved | None]:
        """The last complete pass, and what is known of the pass after it; ``None`` for none.

        Raises:
            CheckpointError: One is damaged, of another version, or of something else.
        """
        if not self.resume:
            return None, None
        found = self._found()
        complete = [path for _, steps, path in found if not steps]
        passes = max((done for done, steps, _ in found if not steps), default=0)
        within = [path for done, steps, path in found if steps and done == passes]
        return (
            self._read(complete[-1]) if complete else None,
            self._read(within[-1]) if within else None,
        )

    def holds_any(self) -> bool:
        """Whether there is a checkpoint, of any part of the work."""
        return any(self.folder.rglob("pass-*.safetensors"))

    def recorded(self, fact: str) -> str | None:
        """A fact of the checkpoints that are to be resumed from; ``None`` where none tells it."""
        if not self.resume:
            return None
        for path in sorted(self.folder.rglob("pass-*.safetensors")):
            try:
                with safe_open(path, framework="pt") as file:
                    about = json.loads((file.metadata() or {})["nescio.checkpoint"])
                return str(about["facts"][fact])
            except (SafetensorError, OSError, KeyError, ValueError, TypeError):
                continue  # a damaged one is told of when it is read
        return None

    def _read(self, path: Path) -> Saved:
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["nescio.checkpoint"])
                names = file.keys()  # the file itself cannot be gone through
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: {_NOT_ONE}; {_EARLIER}") from error
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: a checkpoint of another nescio; train anew, in another folder"
            )
        self._compare(path, about.get("facts"))
        if about.get("digest") != _digest(tensors):
            raise CheckpointError(f"{path}: a damaged checkpoint; {_EARLIER}")
        return Saved(tensors, about)

    def _compare(self, path: Path, facts: object) -> None:
        theirs = facts if isinstance(facts, dict) else {}
        for name in sorted({*theirs, *self.facts}):
            own, other = self.facts.get(name, "none"), str(theirs.get(name, "none"))
            if own != other:
                raise CheckpointError(
                    f"{path}: the checkpoint is of other {name} ({other:.40}, now {own:.40}); give "
                    "what it was begun with, or another folder"
                )


def write_or_tell(
    checkpoints: Checkpoints, place: tuple[int, int], saved: Saved, reporter: Reporter
) -> None:
    """Write a checkpoint, or tell why not: a disk that is full must not end a training.

    Args:
        checkpoints: Where.
        place: Passes, and steps after these.
        saved: What.
        reporter: Who is told; what was written before is still there.
    """
    try:
        checkpoints.write(*place, saved)
    except OSError as error:
        reporter.note(
            f"{checkpoints.folder}: a checkpoint could not be written ({error.strerror}); training "
            "goes on, and the earlier ones are still there"
        )


_NOT_ONE = "not a checkpoint, or a damaged one"
_EARLIER = "remove it to go on from the one before"


def _ours(name: str) -> bool:
    """Whether it is a checkpoint, or the folder of a part of the work."""
    return bool(NAME.fullmatch(name) or re.fullmatch(r"member-\d{3,}|snapshots", name))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        found.update(f"{name}\t{value.dtype}\t{tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(uint8).numpy().tobytes() if value.numel() else b"")
    return found.hexdigest()
