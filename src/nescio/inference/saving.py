"""The state of optimisers, schedules and random streams as tensors and numbers, and back.

What is put back is copied into tensors that are there, so that their order in memory, and with it
the order of sums, stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from safetensors.torch import load, save
from torch import Tensor

Scheduler: TypeAlias = torch.optim.lr_scheduler.LRScheduler


def pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its averages as ``PARAMETER/NAME``, and its numbers: of each parameter, of each group."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {"state": {}, "groups": []}
    for place, parameter in enumerate(_parameters(optimiser)):
        own: dict[str, Any] = {}
        for name, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{place}/{name}"] = value.detach()
            else:
                own[name] = value
        numbers["state"][str(place)] = own
    for group in optimiser.param_groups:
        kept = {name: value for name, value in group.items() if _is_plain(value)}
        numbers["groups"].append(kept)
    return tensors, numbers


def unpack_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Put back what :func:`pack_optimiser` gave, into an optimiser of the same parameters."""
    for place, parameter in enumerate(_parameters(optimiser)):
        state = optimiser.state[parameter]
        state.update(numbers["state"][str(place)])
        prefix = f"{place}/"
        for name, value in tensors.items():
            if name.startswith(prefix):
                state[name.removeprefix(prefix)] = _like(parameter, value)
    for group, kept in zip(optimiser.param_groups, numbers["groups"], strict=True):
        group.update({n: tuple(v) if isinstance(v, list) else v for n, v in kept.items()})


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """``value`` where the parameter is, and in its order in memory."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _is_plain(value: object) -> bool:
    """Whether JSON holds it: numbers, and tuples of them."""
    if isinstance(value, tuple):
        return all(isinstance(each, int | float) for each in value)
    return isinstance(value, bool | int | float)


def pack_scheduler(scheduler: Scheduler | None) -> int:
    """How many steps it has taken; all else follows from that and from its optimiser."""
    return 0 if scheduler is None else int(scheduler.last_epoch)


def unpack_scheduler(scheduler: Scheduler | None, steps: int) -> None:
    """Put back what :func:`pack_scheduler` gave, once the optimiser has its rates again."""
    if scheduler is not None:
        rates = [group["lr"] for group in scheduler.optimizer.param_groups]
        scheduler.load_state_dict(
            {"last_epoch": steps, "_step_count": steps + 1, "_last_lr": rates}
        )


def copy_all(targets: Sequence[Tensor], tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Copy the tensors ``PREFIX/0``, ``PREFIX/1``, ... into ``targets``."""
    with torch.no_grad():
        for place, target in enumerate(targets):
            target.copy_(tensors[f"{prefix}/{place}"])


def named(tensors: Sequence[Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors as ``PREFIX/0``, ``PREFIX/1``, ..."""
    return {f"{prefix}/{place}": value.detach() for place, value in enumerate(tensors)}


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below ``PREFIX/``, by the rest of their names."""
    start = f"{prefix}/"
    return {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """PyTorch's own random streams, on the CPU and on ``device``."""
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what :func:`random_state` gave."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as bytes, to be sent to another process."""
    content: bytes = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    )
    return content


def from_bytes(content: Tensor) -> dict[str, Tensor]:
    """What :func:`to_bytes` gave, from a uint8 tensor of it."""
    found: dict[str, Tensor] = load(content.numpy().tobytes())
    return found
