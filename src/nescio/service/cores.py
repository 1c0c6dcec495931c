"""How much of the processor is ours."""

from __future__ import annotations

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container what it may use: microseconds of every so many, or ``max``."""


def available_cores(quota: Path = QUOTA) -> int:
    """Cores that this process may use: those that it may run on, or its container's share."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text("ascii").split()
        return max(1, min(cores, math.ceil(int(allowed) / int(period))))
    except (OSError, ValueError):  # no such limit, or none of this form
        return cores


def use_cores(threads: int | None, workers: int) -> None:
    """Let PyTorch compute with this worker's share of the cores.

    Args:
        threads: So many threads; ``None`` for the cores divided by the workers, but where
            ``OMP_NUM_THREADS`` says how many.
        workers: That share the cores.
    """
    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    import torch

    torch.set_num_threads(threads or max(1, available_cores() // workers))
