"""What bars and plain lines tell of progress."""

import os
import pty
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests_support import Told, stripes, write_folder

from nescio.cli import console, main
from nescio.cli.bars import BarReporter
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
        "training: 20/40 steps, 40 s, about 20 s left; pass 1/2",
        "training: 40/40 steps, 60 s; pass 2/2",
    ]


def test_the_time_left_is_that_at_the_pace_of_late(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with PlainReporter().task("reading", 1000, "files") as task:
        for _ in range(60):  # an hour for the first, then a hundred a second
            clock[0] += 60
            task.advance()
        for _ in range(99):
            clock[0] += 1
            task.advance(9 if _ else 58)
    lines = capsys.readouterr().err.splitlines()
    assert lines[10].endswith("about 16 h 29 min left")
    assert lines[-2].endswith("919/1000 files, 3690 s, about 9 s left")


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


def bar_lines(advance: float, total: int | None) -> list[str]:
    """The states of a bar, 80 columns wide: at the beginning, half way, and at the end."""
    screen, now = StringIO(), [100.0]
    terminal = Console(
        file=screen, force_terminal=True, width=80, color_system=None, get_time=lambda: now[0]
    )
    reporter = BarReporter(terminal)
    with reporter.task("fitting the familiarity model", total, "images") as task:
        now[0] += advance
        task.advance(4000, "all is well")
        now[0] += advance
        task.advance(4000)
    states = re.split(r"\x1b\[2K", screen.getvalue())
    return [line.strip() for line in states if "images" in line]


def test_bars_tell_rate_and_time_left() -> None:
    # Rich looks at the time when it draws, at least at the beginning and at the end.
    lines = bar_lines(40, 8000)
    assert "0/8000" in lines[0]
    assert "left" in lines[0]
    assert "8000/8000" in lines[-1]
    assert "100 images/s" in lines[-1]
    assert "0:01:20" in lines[-1]
    assert "left" not in lines[-1]


def test_bars_without_a_known_end() -> None:
    last = bar_lines(1000, None)[-1]
    assert "4.0 images/s" in last
    assert "left" not in last


def on_a_terminal(*arguments: object) -> tuple[int, str, str]:
    """Run a command with stderr on a terminal and stdout in a pipe: status, stdout, screen."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from nescio.cli import run; run()", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    screen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux tells the end of a terminal like this
            break
        if not piece:
            break
        screen += piece
    os.close(ours)
    out = process.communicate(timeout=60)[0]
    return process.returncode, out.decode(), screen.decode()


def test_results_go_where_stdout_goes_while_a_bar_is_shown(model_file: Path) -> None:
    status, out, screen = on_a_terminal("predict", model_file, "noise:40", "--samples", "4")
    assert status == 0
    assert len(out.splitlines()) == 40
    assert out.startswith("noise[0]\t")
    assert "noise[" not in screen
    assert "160/160" in screen
    assert "image samples/s" in screen


@pytest.mark.slow
def test_a_quiet_command_says_nothing_on_a_terminal(model_file: Path) -> None:
    quiet = on_a_terminal("predict", model_file, "noise:4", "--samples", "4", "--quiet")
    assert (quiet[0], quiet[2]) == (0, "")


def test_a_bar_moves_within_one_batch_and_over_all(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "stripes", stripes(9, 2))
    (folder / "broken.png").write_bytes(b"no image")
    told = Told()
    for module in ("predict", "review"):
        monkeypatch.setattr(f"nescio.cli.{module}.make_reporter", lambda quiet: told)
    monkeypatch.setattr("nescio.cli.sources.FILES_AT_ONCE", 4)
    options = ("--samples", "8")
    assert main(["predict", str(model_file), str(folder), *options, "--samples-fixed"]) == 2
    assert told.tasks == {"predicting": (80, 80)}
    assert (
        max(told.steps["predicting"]) <= 8
    )  # a network for the images of a batch, or an image that was not read
    page = str(tmp_path / "r.html")
    assert main(["review", str(model_file), str(folder), *options, "--out", page]) == 2
    assert told.tasks["predicting"] == (80, 80)
