"""What a fit is of: what all its processes and all its checkpoints must share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version

import torch
from torch import nn

from nescio.inference.job import Job


def facts_of(job: Job, of_data: Mapping[str, str]) -> dict[str, str]:
    """What everything that a fit hangs on is, by what a person calls it.

    Args:
        job: The fit.
        of_data: What the data are.
    """
    recipe = {name.replace("_", " "): str(value) for name, value in asdict(job.recipe).items()}
    if job.prior is not None:
        recipe["prior"] = str(job.prior)
    return {
        "nescio": version("nescio"),
        "PyTorch": version("torch"),
        **of_data,
        **recipe,
        "seed": str(job.seed),
        "likelihood": type(job.likelihood).__name__,
        "initial weights": _digest(job.network),
        "precision": str(job.precision).removeprefix("torch."),
        "device": job.device.type,
        "number of processes": str(job.ranks.size),
    }


def _digest(network: nn.Module) -> str:
    found = hashlib.blake2b(digest_size=16)
    for name, value in network.state_dict().items():
        found.update(f"{name}\t{tuple(value.shape)}".encode())
        # As bytes: NumPy has no bfloat16.
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found.update(content.numpy().tobytes())
    return found.hexdigest()
