"""Kill a training again and again, and see that nothing that was promised is lost.

    python benchmarks/kills.py [--kills 20] [--processes 1] [--seed 0] [--data digits]

A training with checkpoints is killed by ``kill -9`` (all its processes at once) at moments drawn
at random, and started again with ``resume``. After every kill the training has to go on from a
step that is at most one pass before the one that it had reached; in the end it has to have, to the
bit, the posterior, thresholds and figures of a training that nobody killed. The result is printed
as JSON; exit status 1 if a promise was broken.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

import nescio
from nescio.inference import Checkpoints
from nescio.progress import SILENT, Task
from nescio.ranks import join_ranks

RESULTS = Path(__file__).parents[1] / "docs" / "kills.json"

STARTING = 0.2
"""The share of kills that are meant for the time before training."""

MINUTES = 0.05
"""Within a pass a checkpoint is due after three seconds."""


class Log:
    """A reporter that writes every step of training to a file, for whoever kills us."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator[Task]:
        if description != "training":
            self._write(f"{description}\n")
            with SILENT.task(description, total, unit) as task:
                yield task
            return
        self._write(f"left {total}\n")
        yield self

    def advance(self, amount: int = 1, status: str = "") -> None:
        if amount:
            self._write("step\n")
        if status:
            self._write("pass\n")

    def note(self, message: str) -> None:
        pass

    def _write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)


def work(arguments: argparse.Namespace) -> None:
    """One training, as each process of it runs it."""
    torch.set_num_threads(1)
    ranks = join_ranks("cpu")
    reporter = Log(arguments.journal) if ranks.rank == 0 else SILENT
    saves = None
    if arguments.folder is not None:
        saves = Checkpoints(arguments.folder, resume=True, minutes=MINUTES)
    recipe = replace(nescio.DEFAULT, epochs=arguments.epochs, minimum_steps=0)
    classifier = nescio.fit(
        "cnn",
        arguments.data,
        recipe=recipe,
        samples=20,
        seed=arguments.seed,
        device="cpu",
        checkpoint=saves,
        ranks=ranks,
        reporter=reporter,
    )
    if ranks.rank == 0:
        classifier.save(arguments.out)


def start(arguments: argparse.Namespace, out: Path, log: Path, folder: Path | None):
    """Begin a training, or go on with it, in a group of processes of its own."""
    own = [__file__, "--work", "--out", out, "--journal", log, "--data", arguments.data]
    own += ["--seed", arguments.seed, "--epochs", arguments.epochs]
    own += [] if folder is None else ["--folder", folder]
    launcher = [sys.executable]
    if arguments.processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(arguments.processes)]
    return subprocess.Popen(
        [*launcher, *map(str, own)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill_all(job: subprocess.Popen) -> None:
    """Kill every process of the job; torchrun gives each of its workers a session of its own."""
    found = subprocess.run(
        ["/bin/ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True
    ).stdout.split("\n")[1:]
    parents = {int(pid): int(ppid) for pid, ppid in (line.split() for line in found if line)}
    doomed = {job.pid}
    while more := {pid for pid, parent in parents.items() if parent in doomed} - doomed:
        doomed |= more
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    job.wait()


def lines_of(log: Path) -> list[str]:
    """What a training told so far."""
    return log.read_text().splitlines() if log.exists() else []


def steps_of(log: Path, total: int | None) -> list[tuple[int, int]]:
    """For each run in the log: the step that it began at, and the last that it made."""
    runs = []
    for line in lines_of(log):
        if line.startswith("left"):
            left = int(line.split()[1])
            begun = 0 if total is None else total - left
            runs.append((begun, begun))
        elif line == "step" and runs:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
    return runs


def same(one: Path, other: Path) -> bool:
    """Whether two models have the same tensors: posterior, familiarity, calibration."""
    from safetensors.torch import load_file

    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def supervise(arguments: argparse.Namespace) -> dict[str, object]:
    draws = random.Random(arguments.seed)  # noqa: S311 - moments, no secrets
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        begun = time.monotonic()
        plain = start(arguments, folder / "plain.nescio", folder / "plain.log", None)
        while plain.poll() is None and not lines_of(folder / "plain.log"):
            time.sleep(0.05)
        starting = time.monotonic() - begun
        assert plain.wait() == 0
        seconds = time.monotonic() - begun
        lines = lines_of(folder / "plain.log")
        total, passes = lines.count("step"), lines.count("pass")
        found: dict[str, list] = {"moments": [], "stages": [], "lost": [], "equal": []}
        while len(found["moments"]) < arguments.kills:
            tried = folder / f"round-{len(found['equal'])}"
            tried.mkdir()
            one_round(arguments, tried, (starting, seconds, total), draws, found)
            found["equal"].append(same(tried / "killed.nescio", folder / "plain.nescio"))
        return {
            "data": arguments.data,
            "processes": arguments.processes,
            "kills": len(found["moments"]),
            "moments": found["moments"],
            "killed_while": {s: found["stages"].count(s) for s in sorted(set(found["stages"]))},
            "steps": total,
            "steps_a_pass": total // passes,
            "steps_lost": found["lost"],
            "bit_equal": found["equal"],
            "seconds_undisturbed": round(seconds, 1),
        }


def one_round(
    arguments: argparse.Namespace,
    folder: Path,
    undisturbed: tuple[float, float, int],
    draws: random.Random,
    found: dict[str, list],
) -> None:
    """One training, killed until it is done or there were kills enough."""
    starting, seconds, total = undisturbed
    out, log, saves = folder / "killed.nescio", folder / "killed.log", folder / "saves"
    while not out.exists():
        job = start(arguments, out, log, saves)
        if len(found["moments"]) >= arguments.kills:
            assert job.wait() == 0
            break
        # Anywhere in what is left, and while the program starts, too.
        known, moment = len(lines_of(log)), draws.uniform(0.3, starting)
        if draws.random() > STARTING:
            moment = starting + draws.uniform(0, seconds - starting) * draws.choice([0.3, 0.6, 1])
        try:
            assert job.wait(moment) == 0
        except subprocess.TimeoutExpired:
            kill_all(job)
            found["moments"].append(round(moment, 2))
            told = lines_of(log)[known:]
            found["stages"].append(told[-1].split()[0] if told else "start")
    runs = steps_of(log, total)
    found["lost"] += [max(0, end - after) for (_, end), (after, _) in pairwise(runs)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    for name in ("--out", "--journal", "--folder"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments)
        return 0
    found = supervise(arguments)
    print(json.dumps(found))
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    others = [run for run in runs if run["processes"] != arguments.processes]
    runs = sorted([*others, found], key=lambda run: run["processes"])
    RESULTS.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    kept = all(found["bit_equal"]) and all(n <= found["steps_a_pass"] for n in found["steps_lost"])
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
