"""How much of the processor is ours: what we may run on, and what a container's quota leaves."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SYSTEM = Path("/")
"""Where the files of Linux are."""

SPINS = 100_000
"""How often a thread of GNU's OpenMP looks whether it may go on, before it sleeps: some tenth of a
millisecond. Without it two threads gain nothing where steps are small, as to wake one takes as
long; GNU's own number, three times as many, is for machines that do nothing else."""


def prepare_openmp() -> None:
    """Let PyTorch's threads be good neighbours; to be called before PyTorch is loaded.

    Those that wait soon sleep, as spinning takes the core from whoever they wait for; and there
    are no more of them than our quota has cores. What the environment says of it counts.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    if available_cores() < _affinity():
        os.environ.setdefault("OMP_THREAD_LIMIT", str(available_cores()))


def available_cores(system: Path = SYSTEM) -> int:
    """Cores that this process may use, at least 1.

    Those that it may run on (its affinity), or as many as the quota of its control group, or of
    one above it, comes to, rounded up; whichever is less. Linux tells quotas in control groups of
    version 2 (``cpu.max``) and 1 (``cpu.cfs_quota_us``); other systems have none.

    Args:
        system: The root of the file system, for tests.
    """
    quotas = [math.ceil(quota) for quota in _quotas(system)]
    return max(1, min([_affinity(), *quotas]))


def _affinity() -> int:
    """Cores that this process may run on."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _quotas(system: Path) -> Iterator[float]:
    """The quota of each control group that has one, in cores."""
    mounted = system / "sys/fs/cgroup"
    try:
        lines = (system / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            folders, read = [mounted, mounted / "unified"], _quota_v2
        elif "cpu" in controllers.split(","):
            folders, read = [mounted / "cpu", mounted / controllers], _quota_v1
        else:
            continue
        # In a container the path may be the host's, and its own group the root.
        group = PurePosixPath(path.lstrip("/"))
        for folder in folders:
            for above in (group, *group.parents):
                quota = read(folder / above)
                if quota is not None:
                    yield quota


def _quota_v2(folder: Path) -> float | None:
    """Microseconds of every so many, or ``max``."""
    try:
        allowed, period = (folder / "cpu.max").read_text("ascii").split()
        return int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    """The same in two files; -1 for none."""
    try:
        allowed = int((folder / "cpu.cfs_quota_us").read_text("ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text("ascii"))
        return allowed / period if allowed > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
