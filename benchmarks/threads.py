"""How long a training takes on a machine that is quiet, busy, or smaller than it looks.

    python benchmarks/threads.py [--rounds 3] [--before FOLDER]

Settings, in turn in each round: alone; alone with one thread; beside one other busy process; the
same with one thread; on one of the cores alone (affinity). With ``--before``, another checkout is
measured in the same turns. Prints the median seconds of each as JSON; wants an otherwise
quiet machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[1]

SETTINGS = {
    "alone": (False, None, None),
    "alone, one thread": (False, "1", None),
    "beside a busy process": (True, None, None),
    "beside a busy process, one thread": (True, "1", None),
    "on one core": (False, None, {0}),
    "on one core, one thread": (False, "1", {0}),
}
"""Whether another process is busy, ``OMP_NUM_THREADS``, and the cores that may be used."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    trees = {"now": HERE} | ({} if options.before is None else {"before": options.before})
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(options.rounds):
        for setting, (busy, threads, cores) in SETTINGS.items():
            for name, tree in trees.items():
                own = trained_seconds(tree, busy=busy, threads=threads, cores=cores)
                seconds[name][setting].append(own)
                sys.stderr.write(f"round {number + 1}, {name}, {setting}: {own:.1f} s\n")
    medians = {
        name: {setting: round(median(own), 2) for setting, own in each.items()}
        for name, each in seconds.items()
    }
    print(json.dumps({"rounds": options.rounds, "seconds": medians}, indent=1))


def trained_seconds(
    tree: Path, *, busy: bool, threads: str | None, cores: set[int] | None
) -> float:
    """The seconds of one training, as a user starts it."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    environment.pop("OMP_NUM_THREADS", None)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = threads
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "model.nescio"
            train = ["train", "digits", "--effort", "quick", "--quiet", "--out", str(out)]
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "nescio", *train],
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
                # On Linux the limit is taken over by what is started.
                preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
            )
            return time.perf_counter() - start
    finally:
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()


if __name__ == "__main__":
    main()
