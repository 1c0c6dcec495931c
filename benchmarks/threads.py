"""How long a training takes on a machine that is quiet, busy, or smaller than it looks.

    python benchmarks/threads.py [--rounds 3] [--before FOLDER] [--quota-group FOLDER]

Settings, in turn in each round: alone; alone with one thread; beside one other busy process; the
same with one thread; on one of the cores alone (affinity); and, with ``--quota-group``, under a
quota of one core: that of a control group made for it, as root on Linux::

    mkdir /sys/fs/cgroup/cpu/one && echo 100000 > /sys/fs/cgroup/cpu/one/cpu.cfs_quota_us

With ``--before``, another checkout is measured in the same turns. Prints the median seconds of each
as JSON; wants an otherwise quiet machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    """What a training has to live with.

    Attributes:
        busy: Another process never rests.
        threads: ``OMP_NUM_THREADS``; ``None`` for not set.
        core: It may run on the first core alone.
        quota: It is in the control group that has a quota.
    """

    busy: bool = False
    threads: int | None = None
    core: bool = False
    quota: bool = False


SETTINGS = {
    "alone": Setting(),
    "alone, one thread": Setting(threads=1),
    "beside a busy process": Setting(busy=True),
    "beside a busy process, one thread": Setting(busy=True, threads=1),
    "on one core": Setting(core=True),
    "on one core, one thread": Setting(core=True, threads=1),
    "under a quota": Setting(quota=True),
    "under a quota, one thread": Setting(quota=True, threads=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--quota-group", type=Path, help="a control group with a quota of one core")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    trees = {"now": HERE} | ({} if options.before is None else {"before": options.before})
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(options.rounds):
        for setting in options.only:
            if SETTINGS[setting].quota and options.quota_group is None:
                continue
            for name, tree in trees.items():
                own = trained_seconds(tree, SETTINGS[setting], options.quota_group)
                seconds[name][setting].append(own)
                sys.stderr.write(f"round {number + 1}, {name}, {setting}: {own:.1f} s\n")
    medians = {
        name: {setting: round(median(own), 2) for setting, own in each.items()}
        for name, each in seconds.items()
    }
    print(json.dumps({"rounds": options.rounds, "seconds": medians}, indent=1))


def trained_seconds(tree: Path, setting: Setting, quota_group: Path | None = None) -> float:
    """The seconds of one training, as a user starts it."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    environment.pop("OMP_NUM_THREADS", None)
    if setting.threads is not None:
        environment["OMP_NUM_THREADS"] = str(setting.threads)

    def take_limits() -> None:
        """What is started takes them over."""
        if setting.core:
            os.sched_setaffinity(0, {0})
        if setting.quota and quota_group is not None:
            (quota_group / "cgroup.procs").write_text(str(os.getpid()))

    busy = "while True: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", busy]) if setting.busy else None
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
                preexec_fn=take_limits,
            )
            return time.perf_counter() - start
    finally:
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()


if __name__ == "__main__":
    main()
