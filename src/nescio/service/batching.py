"""Requests that come together are answered together, and take turns.

One thread computes, so the event loop is never held. It waits a stated time for company,
then answers in one batch the works that agree in all but their images. Of a work it takes at
most a piece; what is left goes to the end of the queue, so a large request delays a small one
by about a piece. An image's answer does not depend on what it was batched with.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from nescio.classifier import Predictor, settled_after
from nescio.errors import NescioError
from nescio.refusal import Decision, Rule

USUAL_SAMPLES = 100
"""A piece holds fewer images where more networks than this are drawn for each."""

FIRST_RATE = 50.0
"""Images per second that are assumed before any were measured."""


class Busy(NescioError):  # noqa: N818 - what it says, not that it went wrong
    """The queue is full, or the service is closing.

    Attributes:
        retry_after: Seconds after which it is worth to try again, at least 1.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Served(Protocol):
    """What a work is answered by; works of one object are answered together."""

    @property
    def predictor(self) -> Predictor:
        """Used by the batcher's thread alone."""
        ...


@dataclass(frozen=True)
class BatchSettings:
    """How requests are brought together.

    Attributes:
        delay_ms: How long the first of a batch waits for others, in milliseconds.
        max_images: In one batch.
        piece: Images of one work in one batch, at up to :data:`USUAL_SAMPLES` networks.
        queue_images: That may wait.
    """

    delay_ms: float = 2.0
    max_images: int = 256
    piece: int = 32
    queue_images: int = 2000


@dataclass(frozen=True, eq=False)
class Work:
    """The images of one request.

    Attributes:
        model: What answers.
        images: ``(n, K, H, W)`` uint8, of the shape that the model takes.
        samples: How many networks are drawn; where ``adaptive``, at most.
        seed: Of the networks; ``None`` for the one that the model was fitted with.
        adaptive: See :meth:`nescio.Classifier.decide`.
        rule: By which it is decided.
        detail: Whether each answer comes with what it was made of; then all networks are drawn.
    """

    model: Served
    images: Tensor
    samples: int
    seed: int | None
    adaptive: bool
    rule: Rule
    detail: bool = False

    def agrees(self, other: Work) -> bool:
        """Whether both can be answered in one batch."""
        return self.model is other.model and self._asked() == other._asked()

    def _asked(self) -> tuple[object, ...]:
        return self.samples, self.seed, self.adaptive, self.detail, self.rule


@dataclass(frozen=True, eq=False)
class Detail:
    """What an answer was made of.

    Attributes:
        sampled: ``(S, C)`` float32, the probability of each class under each network.
        settled_after: How many networks adaptive sampling would have taken.
        doubt: The score that the model's calibrated rule compares; ``None`` where it has none.
        unfamiliarity: In nats, likewise.
        top: The class that the calibrated rule answers with, or would, if there is one; else
            the one that is answered where an answer is compulsory.
    """

    sampled: Tensor
    settled_after: int
    doubt: float | None
    unfamiliarity: float | None
    top: str


@dataclass(frozen=True)
class Answer:
    """For one image.

    Attributes:
        decision: What was decided.
        detail: What of, where it was asked for.
    """

    decision: Decision
    detail: Detail | None = None


@dataclass(eq=False)
class _Job:
    """A work in the queue."""

    work: Work
    answered: asyncio.Future[list[Answer]]
    arrived: float
    taken: int = 0
    dropped: bool = False
    answers: list[Answer] = field(default_factory=list)

    @property
    def left(self) -> int:
        return len(self.work.images) - self.taken

    def finish(self, error: BaseException | None = None) -> None:
        """Give the answers, or the error, to whoever awaits them; from any thread."""
        with suppress(RuntimeError):  # its event loop is closed: nobody awaits them
            self.answered.get_loop().call_soon_threadsafe(self._give, error)

    def _give(self, error: BaseException | None) -> None:
        if self.answered.done():
            return  # who awaited them went away
        if error is None:
            self.answered.set_result(self.answers)
        else:
            self.answered.set_exception(error)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Successive images of one job."""

    job: _Job
    images: Tensor


class Batcher:
    """Answers works from the event loop by one thread of its own.

    Args:
        settings: How requests are brought together.
        observe: Told of each batch from that thread: its images and its seconds.
    """

    def __init__(
        self,
        settings: BatchSettings | None = None,
        observe: Callable[[int, float], None] = lambda _images, _seconds: None,
    ) -> None:
        self.settings = BatchSettings() if settings is None else settings
        self._observe = observe
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._rate = FIRST_RATE
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many images wait."""
        return self._waiting

    async def submit(self, work: Work) -> list[Answer]:
        """The answers for the images of ``work``, in their order.

        Where the caller is cancelled, what of the work still waits is dropped.

        Raises:
            Busy: Too many images wait, or the batcher is closing.
            NescioError: What the model says of these images or of this rule.
        """
        if len(work.images) == 0:
            return []
        job = _Job(work, asyncio.get_running_loop().create_future(), time.monotonic())
        self._enter(job)
        try:
            return await job.answered
        except asyncio.CancelledError:
            self._drop(job)
            raise

    async def close(self) -> None:
        """Answer what waits, take nothing more, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _enter(self, job: _Job) -> None:
        with self._changed:
            if self._closing:
                raise Busy("the service is closing; try again", self._seconds_to_wait())
            if self._waiting + job.left > self.settings.queue_images:
                raise Busy(
                    f"{self._waiting} images wait already, of at most "
                    f"{self.settings.queue_images}; try again later",
                    self._seconds_to_wait(),
                )
            if self._thread is None:  # not before: a process that forks would lose it
                self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
                self._thread.start()
            self._jobs.append(job)
            self._waiting += job.left
            self._changed.notify()

    def _seconds_to_wait(self) -> int:
        return max(1, math.ceil(self._waiting / self._rate))

    def _drop(self, job: _Job) -> None:
        with self._changed:
            job.dropped = True
            if job in self._jobs:
                self._jobs.remove(job)
                self._waiting -= job.left

    def _run(self) -> None:
        while batch := self._next_batch():
            began = time.monotonic()
            self._answer(batch)
            seconds = time.monotonic() - began
            images = sum(len(piece.images) for piece in batch)
            self._rate += 0.2 * (images / max(seconds, 1e-6) - self._rate)
            self._observe(images, seconds)

    def _next_batch(self) -> list[_Piece]:
        """The next pieces that are answered together; none once all is answered and closed."""
        with self._changed:
            while not self._jobs:
                if self._closing:
                    return []
                self._changed.wait()
            until = self._jobs[0].arrived + self.settings.delay_ms / 1000
            while (
                (left := until - time.monotonic()) > 0
                and self._waiting < self.settings.max_images
                and not self._closing
            ):
                self._changed.wait(left)
            return self._take() if self._jobs else self._next_batch()

    def _take(self) -> list[_Piece]:
        """Pieces of the first job and of all that agree with it; what is left goes last."""
        first = self._jobs[0].work
        room = self.settings.max_images
        pieces: list[_Piece] = []
        others: list[_Job] = []
        begun: list[_Job] = []
        most = max(1, self.settings.piece * USUAL_SAMPLES // max(first.samples, USUAL_SAMPLES))
        for job in self._jobs:
            if room == 0 or not first.agrees(job.work):
                others.append(job)
                continue
            count = min(job.left, most, room)
            pieces.append(_Piece(job, job.work.images[job.taken : job.taken + count]))
            job.taken += count
            room -= count
            if job.left:
                begun.append(job)
        self._jobs = deque([*others, *begun])
        self._waiting -= self.settings.max_images - room
        return pieces

    def _answer(self, batch: Sequence[_Piece]) -> None:
        """Answer the pieces; jobs that are complete, or fail, are finished."""
        batch = [piece for piece in batch if not piece.job.dropped]
        if not batch:
            return
        try:
            parts = [piece.images for piece in batch]
            images = parts[0] if len(parts) == 1 else torch.cat(parts)
            answers = iter(list(_answers(batch[0].job.work, images)))
        except Exception as error:  # noqa: BLE001 - who asked is told, and the next are answered
            if len(batch) > 1:  # one may spoil it for the others
                for piece in batch:
                    self._answer([piece])
            else:
                self._drop(batch[0].job)
                batch[0].job.finish(error)
            return
        for piece in batch:
            piece.job.answers += islice(answers, len(piece.images))
            if not piece.job.left:
                piece.job.finish()


def _answers(work: Work, images: Tensor) -> Iterator[Answer]:
    """The answers to ``images``, which were asked for as those of ``work`` were."""
    if work.detail:
        yield from _detailed(work, images)
        return
    for decisions in work.model.predictor.stream_decisions(
        images, rule=work.rule, samples=work.samples, adaptive=work.adaptive, seed=work.seed
    ):
        yield from map(Answer, decisions)


def _detailed(work: Work, images: Tensor) -> Iterator[Answer]:
    predictor = work.model.predictor
    classifier = predictor.classifier
    calibrated = None if classifier.familiarity is None else classifier.calibrated
    for logits, evidence in predictor.stream_judged(
        images,
        judges=work.rule.needs_evidence or calibrated is not None,
        samples=work.samples,
        seed=work.seed,
    ):
        probabilities = logits.softmax(-1).cpu()
        decisions = classifier.decide_from_logits(logits, work.rule, evidence)
        judged = None if calibrated is None else calibrated(probabilities, evidence)
        after = settled_after(work.rule, probabilities, evidence)
        for i, decision in enumerate(decisions):
            yield Answer(
                decision,
                Detail(
                    sampled=probabilities[:, i],
                    settled_after=after[i],
                    doubt=None if judged is None else float(judged.ambiguity[i]),
                    unfamiliarity=None if judged is None else float(judged.unfamiliarity[i]),
                    top=decision.forced
                    if judged is None
                    else classifier.classes[int(judged.top[i])],
                ),
            )
