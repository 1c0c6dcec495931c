"""How many threads PyTorch computes with: as many as pay, found by timing.

Threads that share a step wait for each other thousands of times a second. On a quiet machine more
of them are somewhat faster; beside one busy process each waits for a core that another has, and
small steps take ten times as long. So a trial of the work is timed with one thread and with more,
at the start and now and then after, and the faster number stays.

A trial changes nothing, so the number of threads changes results by rounding alone. Where runs
have to agree to the bit, the number is fixed (:func:`fixed_threads`, or ``OMP_NUM_THREADS``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import product
from typing import Protocol, TypeVar

import torch

from nescio.cores import available_cores
from nescio.progress import SILENT, Reporter, Task

T = TypeVar("T")

PAYS = 1.1
"""How many times faster more threads must be: they also take cores from others."""

FIRST_AFTER = 0.2
"""Seconds of work before the first trial, where it is not known that there will be much."""

EVERY = 2.0
"""Seconds between two trials, at least."""

SHARE = 0.02
"""The most of the time that trials take."""

ROUNDS, WINDOW = 2, 0.02
"""How often each number is timed in turn, and for how many seconds: longer than the few
milliseconds for which the system lets one process run before another."""

CLEAR = 1.3
"""Where the fastest is so many times faster than the next, one turn is enough."""

HOPELESS = 3.0
"""So many times slower than one thread, more are not timed again: beside busy processes a step may
take a hundred times as long."""

_SETTLED: ContextVar[bool] = ContextVar("_SETTLED", default=False)
"""Whether somebody looks after the threads already: what is called within leaves them alone."""


class Pool(Protocol):
    """What computes with threads."""

    def get(self) -> int:
        """With how many."""
        ...

    def set(self, threads: int) -> None:
        """From now on with so many."""
        ...


class _Torch:
    def get(self) -> int:
        return torch.get_num_threads()

    def set(self, threads: int) -> None:
        torch.set_num_threads(threads)


TORCH = _Torch()


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Within it PyTorch computes with so many threads, whatever would be faster."""
    before, token = torch.get_num_threads(), _SETTLED.set(True)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _SETTLED.reset(token)


def use_cores(threads: int | None, workers: int) -> None:
    """Let PyTorch compute with this worker's share of the cores.

    Args:
        threads: So many threads; ``None`` for the cores divided by the workers, but where
            ``OMP_NUM_THREADS`` says how many.
        workers: That share the cores.
    """
    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(threads or max(1, available_cores() // workers))


class ThreadTuner:
    """Keeps to the number of threads that is fastest for one kind of work.

    It is for one thread at a time, as the work is. Where ``OMP_NUM_THREADS`` says how many
    threads there are to be, and on other devices than processors, it changes nothing.

    Args:
        prepare: Makes a trial: a little of the work, without effect, to be timed over and over.
            Called for each look, so that nothing is held between.
        device: Where the work is done.
        every: Seconds between two trials, at least.
        clock: Gives seconds.
        pool: What computes.
        cores: How many there are for us; ``None`` to find out.
    """

    def __init__(
        self,
        prepare: Callable[[], Callable[[], object]],
        device: torch.device,
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.perf_counter,
        pool: Pool = TORCH,
        cores: int | None = None,
    ) -> None:
        self._prepare, self._every, self._clock, self._pool = prepare, every, clock, pool
        self._on_cpu, self._cores = device.type == "cpu", cores
        self._most = 1
        self._threads: int | None = None
        self._due = 0.0

    @contextmanager
    def tuned(self, reporter: Reporter = SILENT, *, long: bool = True) -> Iterator[Reporter]:
        """Within it the threads are looked after whenever work tells of its progress.

        Args:
            reporter: Who is told of progress.
            long: Whether there is so much to do that a trial at the start pays.

        Yields:
            The reporter that the work is to tell.
        """
        if not self._on_cpu or _SETTLED.get() or "OMP_NUM_THREADS" in os.environ:
            yield reporter
            return
        before, token = self._pool.get(), _SETTLED.set(True)
        self._most = min(before, self._cores or available_cores())
        try:
            self._begin(long=long)
            yield _Ticking(reporter, self._tick)
        finally:
            self._pool.set(before)
            self._most = 1
            _SETTLED.reset(token)

    def stream(
        self, work: Callable[[Reporter], Iterator[T]], reporter: Reporter = SILENT, *, long: bool
    ) -> Iterator[T]:
        """What ``work`` yields (never ``None``), its threads looked after.

        Those of whoever takes it are left alone.
        """
        items = work(_Ticking(reporter, self._tick))
        while True:
            with self.tuned(long=long):
                item = next(items, None)
            if item is None:
                return
            yield item

    def fastest(self) -> int:
        """The number of threads that pays now."""
        with self.tuned(long=False):
            return self._fastest() if self._most > 1 else self._pool.get()

    def _begin(self, *, long: bool) -> None:
        if self._threads is None:
            # Until it is known to be much, work is done by one thread: it never waits.
            self._threads = 1
            self._due = self._clock() + (0.0 if long else FIRST_AFTER)
        self._pool.set(min(self._threads, self._most))
        self._tick()

    def _tick(self) -> None:
        """Look again at what is fastest, if it is time to."""
        if self._most == 1 or (start := self._clock()) < self._due:
            return
        self._threads = self._fastest()
        self._pool.set(self._threads)
        now = self._clock()
        self._due = now + max(self._every, (now - start) / SHARE)

    def _fastest(self) -> int:
        numbers = candidates(self._most)
        seconds, runs = dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, 0)
        with torch.random.fork_rng(devices=[]):
            trial = self._prepare()
            for turn, number in product(range(ROUNDS), numbers):
                too_long = max(WINDOW, HOPELESS * _mean(seconds[1], runs[1]))
                if turn and _is_clear(seconds, runs):
                    break
                if _mean(seconds[number], runs[number]) > too_long:
                    continue
                self._pool.set(number)
                start = self._clock()
                trial()  # the first one starts threads, and fills caches
                if (spent := self._clock() - start) > too_long and number > 1:
                    seconds[number], runs[number] = spent, 1
                    continue
                start, spent = self._clock(), 0.0
                while spent < WINDOW:
                    trial()
                    runs[number] += 1
                    spent = self._clock() - start
                seconds[number] += spent
        return choose_threads(numbers, [seconds[n] / runs[n] for n in numbers])


def _is_clear(seconds: Mapping[int, float], runs: Mapping[int, int]) -> bool:
    """Whether one number of threads is so much faster than all others that once is enough."""
    best, second, *_ = sorted(seconds[number] / runs[number] for number in seconds)
    return second > CLEAR * best


def _mean(seconds: float, runs: int) -> float:
    return seconds / runs if runs else 0.0


def candidates(most: int) -> tuple[int, ...]:
    """The numbers of threads that are tried: 1, 2, 4, ... and ``most``."""
    powers = [2**i for i in range(most.bit_length()) if 2**i < most]
    return (*powers, most)


def choose_threads(numbers: Sequence[int], seconds: Sequence[float]) -> int:
    """The number of threads that pays.

    Args:
        numbers: Of threads, rising.
        seconds: That the same work takes with each.
    """
    best, fastest = numbers[0], seconds[0]
    for number, own in zip(numbers[1:], seconds[1:], strict=True):
        if own * PAYS < fastest:
            best, fastest = number, own
    return best


class _Ticking:
    """A reporter that gives a tuner its turn whenever work goes on."""

    def __init__(self, reporter: Reporter, tick: Callable[[], None]) -> None:
        self._reporter, self._tick = reporter, tick

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Task]:
        """The other's task, and a turn with each advance."""
        with self._reporter.task(description, total, unit) as task:
            yield _TickingTask(task, self._tick)

    def note(self, message: str) -> None:
        """Pass the line on."""
        self._reporter.note(message)


class _TickingTask:
    def __init__(self, task: Task, tick: Callable[[], None]) -> None:
        self._task, self._tick = task, tick

    def advance(self, amount: int = 1, status: str = "") -> None:
        self._task.advance(amount, status)
        self._tick()
