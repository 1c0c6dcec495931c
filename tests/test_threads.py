"""How many threads compute: chosen by timing, on a clock and with threads made for it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nescio.progress import SILENT, Reporter
from nescio.threads import (
    EVERY,
    FIRST_AFTER,
    PAYS,
    SHARE,
    ThreadTuner,
    candidates,
    choose_threads,
    fixed_threads,
)

CPU = torch.device("cpu")


@dataclass
class Machine:
    """Work that takes as long as is said for each number of threads."""

    seconds: dict[int, float]
    threads: int = 4
    now: float = 0.0
    tried: list[int] = field(default_factory=list)

    def get(self) -> int:
        return self.threads

    def set(self, threads: int) -> None:
        self.threads = threads

    def work(self) -> None:
        self.now += self.seconds[self.threads]

    def trial(self) -> None:
        self.tried.append(self.threads)
        self.work()

    def tuner(self, every: float = EVERY) -> ThreadTuner:
        return ThreadTuner(
            lambda: self.trial, CPU, every=every, clock=lambda: self.now, pool=self, cores=4
        )

    def run(self, tuner: ThreadTuner, steps: int, *, long: bool = True) -> list[int]:
        """So many steps of work; the number of threads of each."""
        seen = []
        with tuner.tuned(long=long) as reporter, reporter.task("work", steps, "steps") as task:
            for _ in range(steps):
                seen.append(self.threads)
                self.work()
                task.advance()
        return seen


@pytest.fixture(autouse=True)
def not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


SCALES = {1: 0.010, 2: 0.005, 4: 0.003}
WAITS = {1: 0.010, 2: 0.090, 4: 0.400}
HARDLY = {1: 0.010, 2: 0.0095, 4: 0.0093}


@pytest.mark.parametrize(("seconds", "best"), [(SCALES, 4), (WAITS, 1), (HARDLY, 1)])
def test_what_is_fastest_is_taken_at_once_and_given_back(
    seconds: dict[int, float], best: int
) -> None:
    machine = Machine(seconds)
    assert set(machine.run(machine.tuner(), 50)) == {best}
    assert machine.threads == 4
    assert set(machine.tried) == {1, 2, 4}


def test_when_another_process_comes_and_goes_the_threads_follow() -> None:
    machine = Machine(SCALES)
    tuner = machine.tuner()
    assert set(machine.run(tuner, 2000)) == {4}
    machine.seconds = WAITS
    during = machine.run(tuner, 2000)
    assert during[0] == 4
    assert during[-1] == 1
    assert during.index(1) * WAITS[4] <= EVERY + 60 * WAITS[4]
    machine.seconds = SCALES
    assert machine.run(tuner, 20_000)[-1] == 4


@given(st.floats(2e-3, 0.05), st.floats(2e-3, 2.0))
def test_trials_take_little_of_the_time(one: float, more: float) -> None:
    machine = Machine({1: one, 2: more, 4: more})
    tuner = machine.tuner()
    before = machine.now
    steps = machine.run(tuner, int(20 / one))
    working = sum(machine.seconds[threads] for threads in steps)
    trials = machine.now - before - working
    first = trials_of_one_look(one, more)
    assert trials <= first * 1.01 + SHARE * (machine.now - before) + first


def trials_of_one_look(one: float, more: float) -> float:
    window = 0.02
    return 2 * sum(each + max(window + each, each) for each in (one, more, more))


@pytest.mark.parametrize("slow", [0.1, 10.0])
def test_what_is_far_slower_is_tried_once_a_look(slow: float) -> None:
    """Beside a busy process one step by two threads may take as long as hundreds by one."""
    machine = Machine({1: 0.03, 2: slow, 4: slow})
    assert machine.tuner().fastest() == 1
    assert [machine.tried.count(number) for number in (2, 4)] == [1, 1]


@pytest.mark.parametrize(("seconds", "turns"), [(SCALES, 1), (HARDLY, 2)])
def test_what_is_clear_is_timed_in_one_turn(seconds: dict[int, float], turns: int) -> None:
    machine = Machine(seconds)
    machine.tuner().fastest()
    assert [number for number, _ in groupby(machine.tried)] == [1, 2, 4] * turns


def test_little_work_is_done_by_one_thread_without_a_trial() -> None:
    machine = Machine(SCALES)
    steps = int(FIRST_AFTER / SCALES[1]) - 1
    assert set(machine.run(machine.tuner(), steps, long=False)) == {1}
    assert machine.tried == []


def test_work_that_turns_out_to_be_long_is_looked_at() -> None:
    machine = Machine(SCALES)
    steps = machine.run(machine.tuner(), 100, long=False)
    assert (steps[0], steps[-1]) == (1, 4)


def test_whoever_takes_what_is_streamed_keeps_the_own_threads() -> None:
    machine = Machine(SCALES)

    def work(reporter: Reporter) -> Iterator[int]:
        with reporter.task("work", 3, "steps") as task:
            for _ in range(3):
                yield machine.threads
                task.advance()

    inside = []
    for threads in machine.tuner().stream(work, long=True):
        inside.append(threads)
        assert machine.threads == 4
        machine.threads = 4
    assert inside == [4, 4, 4]


@pytest.mark.parametrize("why", ["the environment", "fixed", "another device", "one core"])
def test_where_the_number_is_settled_nothing_is_tried(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(SCALES)
    tuner = machine.tuner()
    if why == "the environment":
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
    if why == "another device":
        tuner = ThreadTuner(lambda: machine.trial, torch.device("meta"), pool=machine, cores=4)
    if why == "one core":
        tuner = ThreadTuner(lambda: machine.trial, CPU, pool=machine, cores=1)
    if why == "fixed":
        with fixed_threads(torch.get_num_threads()):
            assert set(machine.run(tuner, 20)) == {4}
    else:
        assert set(machine.run(tuner, 20)) == {1 if why == "one core" else 4}
    assert machine.tried == []


def test_what_is_called_within_leaves_the_threads_alone() -> None:
    machine = Machine(SCALES)
    inner = Machine(WAITS)
    with machine.tuner().tuned():
        inner.run(inner.tuner(), 10)
    assert inner.tried == []


def test_a_fixed_number_is_given_back() -> None:
    before = torch.get_num_threads()
    with fixed_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_trial_leaves_random_numbers_as_they_are() -> None:
    machine = Machine({1: 0.1, 2: 0.1, 4: 0.1})
    tuner = ThreadTuner(
        lambda: lambda: (torch.rand(3), machine.work()),
        CPU,
        clock=lambda: machine.now,
        pool=machine,
        cores=4,
    )
    state = torch.get_rng_state()
    assert tuner.fastest() == 1
    assert torch.equal(torch.get_rng_state(), state)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=6))
def test_more_threads_only_where_they_pay(seconds: list[float]) -> None:
    numbers = candidates(2 ** (len(seconds) - 1))
    chosen = seconds[numbers.index(choose_threads(numbers, seconds))]
    assert chosen <= min(seconds) * PAYS
    assert chosen == seconds[0] or chosen * PAYS < seconds[0]


@pytest.mark.parametrize(
    ("most", "numbers"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_numbers_that_are_tried(most: int, numbers: tuple[int, ...]) -> None:
    assert candidates(most) == numbers


def test_nobody_need_listen() -> None:
    machine = Machine(SCALES)
    with machine.tuner().tuned(SILENT) as reporter:
        reporter.note("heard by nobody")
    assert machine.threads == 4
