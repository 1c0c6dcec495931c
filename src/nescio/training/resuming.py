"""What checkpoints hold of a training beside its state, so that it ends as without a stop."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from nescio.errors import UsageError
from nescio.inference import Checkpoints, Job, step_tuner
from nescio.threads import fixed_threads

THREADS = "number of threads"
"""What checkpoints call it."""


def open_checkpoints(
    checkpoint: Checkpoints | str | Path | None, *, resume: bool
) -> Checkpoints | None:
    """The checkpoints of a folder, or those given; ``None`` where there are to be none.

    Raises:
        UsageError: A training is to go on that has none.
    """
    if checkpoint is None:
        if resume:
            raise UsageError("--resume goes on from checkpoints: name their folder by --checkpoint")
        return None
    if isinstance(checkpoint, Checkpoints):
        return replace(checkpoint, resume=checkpoint.resume or resume)
    return Checkpoints(Path(checkpoint), resume=resume)


def with_checkpoints(job: Job, kept: Checkpoints, facts: Mapping[str, str], held: ExitStack) -> Job:
    """The job with its checkpoints, by which it is known again.

    Args:
        job: What is to be computed.
        kept: Its checkpoints.
        facts: What it is a training of, by name.
        held: Holds the number of threads for as long as it is open.
    """
    threads = _agreed_threads(kept, job)
    if threads is not None:
        held.enter_context(fixed_threads(threads))
        facts = {**facts, THREADS: str(threads)}
    return replace(job, checkpoints=replace(kept, facts=facts))


def _agreed_threads(kept: Checkpoints, job: Job) -> int | None:
    """How many threads a training computes with that may be resumed; ``None`` for no matter.

    Sums over more threads are rounded otherwise, so it has to be one number from the beginning to
    the end: the one that paid when the training was begun.
    """
    if job.device.type != "cpu" or job.ranks.size > 1:
        return None
    recorded = kept.recorded(THREADS)
    if recorded is not None:
        return int(recorded)
    if kept.holds_any():  # of an earlier nescio, which did not tell
        return None
    try:
        return step_tuner(job).fastest()
    except Exception:  # noqa: BLE001 - whatever is wrong with the network, the fit tells it
        return 1
