"""Where to compute, how precisely, and how much memory it took."""

from __future__ import annotations

import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import median

import torch

from nescio.errors import OutOfMemoryError, UsageError, says_no_memory

PRECISIONS = ("auto", "float32", "bfloat16")
"""What ``--precision`` may be."""

WORTHWHILE = 3.0
"""How many times faster products in bfloat16 must be for ``auto`` to take them. Processors
with matrix units are ten times faster, those without at most about twice."""


def choose_device(device: torch.device | str) -> torch.device:
    """The device of that name; ``auto`` takes the fastest that is there.

    Raises:
        UsageError: It is unknown or not on this machine.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if isinstance(device, str) and device == "auto":
        return torch.device(next(name for name, available in there.items() if available))
    try:
        place = device if isinstance(device, torch.device) else torch.device(device)
    except (RuntimeError, TypeError):  # no device of any machine
        place = None
    # Other kinds of device are for PyTorch to judge, where someone holds one already.
    known = place is not None and there.get(place.type, isinstance(device, torch.device))
    if place is not None and known and (place.index or 0) < max(1, torch.cuda.device_count()):
        return place
    available = ", ".join(name for name, ok in there.items() if ok)
    raise UsageError(f"--device {device}: not on this machine; there is {available}")


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type in which products are computed.

    Args:
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where the device has
            matrix units for it: known of GPUs and x86 processors, of others measured once in
            a process.
        device: Where the products are computed.

    Raises:
        UsageError: There is no precision of that name.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        precision = "bfloat16" if _has_matrix_units(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def lowered(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """A context in which layers compute in ``precision``; nothing changes for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision is torch.bfloat16)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python or PyTorch says that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or says_no_memory(error)


@contextmanager
def explain_memory(doing: str, mend: str) -> Iterator[None]:
    """Within it, a lack of memory is told in one line, with what to lower.

    Raises:
        OutOfMemoryError: In place of whatever said it.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error) or isinstance(error, OutOfMemoryError):
            raise
        raise OutOfMemoryError(f"out of memory while {doing}; {mend}") from error


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.exists() else None
    if found:  # Linux: ru_maxrss would begin with what the process that started us held
        return int(found[1]) * 1024
    import resource  # of Unix alone; the rest of the package need not be

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def _has_matrix_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)
    if platform.machine() in ("x86_64", "AMD64") and asked is not None:
        # Asked, not measured: what else the machine does must not choose the answer's digits.
        return bool(asked())
    # Large enough to keep matrix units busy; a processor that must emulate bfloat16 takes
    # some ten times longer for it, and one image should not wait for that.
    full = torch.ones(256, 512)
    half = full.bfloat16()
    return _seconds(lambda: full @ full.T) > WORTHWHILE * _seconds(lambda: half @ half.T)


def _seconds(work: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    once()  # the first call chooses and prepares a kernel
    return median(once() for _ in range(3))
