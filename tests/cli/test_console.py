"""What plain lines tell of progress."""

import pytest

from nescio.cli import console
from nescio.cli.console import PlainReporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_the_time_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with PlainReporter().task("training", 40, "steps") as task:
        task.advance(0, "starting")
        clock[0] += 20
        task.advance(0, "still at the first")
        task.advance(10)
        clock[0] += 20
        task.advance(10, "pass 1/2")
        clock[0] += 20
        task.advance(20, "pass 2/2")
    assert capsys.readouterr().err.splitlines() == [
        "training: 0/40 steps, 20 s; still at the first",
        "training: 20/40 steps, 40 s, about 40 s left; pass 1/2",
        "training: 40/40 steps, 60 s; pass 2/2",
    ]


def test_no_time_left_where_the_length_is_not_known_or_work_ends_early(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with PlainReporter().task("reading", None, "files") as task:
        clock[0] += 20
        task.advance(3)
    with PlainReporter().task("drawing", 9, "networks") as task:
        task.advance(3)
    assert "left" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "3 s"), (89, "89 s"), (100, "2 min"), (5300, "88 min"), (9000, "2 h 30 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert console._duration(seconds) == words
