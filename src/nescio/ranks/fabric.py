"""Processes that torchrun started, joined by Lightning Fabric.

Fabric finds out which process this is and which device is its own, and makes the process group;
what passes through the group is PyTorch's. (Fabric's own ``all_reduce`` waits for all processes
before each sum, which doubles the latency of a step.)
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nescio.errors import DistributedError, UsageError
from nescio.launch import find_place
from nescio.ranks.ranks import SOLO, Ranks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others, where none of them is known to have ended."""


def join_ranks(device: str = "auto") -> Ranks:
    """The processes of this job; one alone where torchrun started no others.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``: where each process talks from and computes.

    Raises:
        UsageError: There are several processes, and ``nescio[distributed]`` is not installed;
            or they cannot be joined.
    """
    place = find_place()
    if place.size == 1:
        return SOLO
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        missing = UsageError(
            "several processes were started, and joining them needs Lightning Fabric: "
            "pip install 'nescio[distributed]'"
        )
        missing.shared = True
        raise missing from error
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=place.local_size,
        num_nodes=place.size // place.local_size,
        strategy=DDPStrategy(process_group_backend="nccl" if on_gpu else "gloo", timeout=PATIENCE),
    )
    # What Fabric says of its start is for those who debug it.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    with _explained(place.rank):
        fabric.launch()
    # Its threads must not be met running when the process ends: that aborts it.
    atexit.register(_leave)
    return FabricRanks(fabric)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class FabricRanks:
    """See :class:`nescio.ranks.Ranks`.

    Raises:
        DistributedError: Another process has ended.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.rank, self.size = int(fabric.global_rank), int(fabric.world_size)
        self.place = torch.device(fabric.device)
        self._fabric = fabric

    def sum_(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        with _explained(self.rank):
            torch.distributed.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> list[Tensor]:
        """The values of each process, in order."""
        found = [torch.empty_like(values) for _ in range(self.size)]
        with _explained(self.rank):
            torch.distributed.all_gather(found, values.contiguous())
        return found

    def wait(self) -> None:
        """Go on once all processes are here."""
        with _explained(self.rank):
            self._fabric.barrier()


@contextmanager
def _explained(rank: int) -> Iterator[None]:
    """What the transport says of a process that ended, in a line that a person can use."""
    try:
        yield
    except RuntimeError as error:
        why = " ".join(str(error).split())[:120]
        raise DistributedError(
            f"process {rank} lost the others: one of them ended, or cannot be reached ({why}); "
            "its own message says why"
        ) from error
