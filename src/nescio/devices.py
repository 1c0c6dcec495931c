"""Where to compute."""

from __future__ import annotations

import torch

from nescio.errors import UsageError


def choose_device(device: torch.device | str) -> torch.device:
    """The device of that name; ``auto`` takes the fastest that is there.

    Raises:
        UsageError: It is unknown or not on this machine.
    """
    if isinstance(device, torch.device):
        return device
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return torch.device(next(name for name, available in there.items() if available))
    if not there.get(device.partition(":")[0], False):
        available = ", ".join(name for name, ok in there.items() if ok)
        raise UsageError(f"--device {device}: not on this machine; there is {available}")
    return torch.device(device)
