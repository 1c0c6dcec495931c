"""Jobs of several processes, as torchrun starts them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 240
"""Seconds for a whole job; two cores may be shared with other work."""


def torchrun(
    arguments: Sequence[str | Path], processes: int = 2, *, cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Start ``torchrun --nproc-per-node PROCESSES ARGUMENTS``; its output is piped."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), *map(str, arguments)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
    )


def run_job(
    arguments: Sequence[str | Path], processes: int = 2, *, cwd: Path | None = None
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a job of so many processes."""
    job = torchrun(arguments, processes, cwd=cwd)
    try:
        out, err = job.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        job.kill()
        raise
    return job.returncode, out, err
