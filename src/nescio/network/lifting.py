"""Can a network run with weights that are not its own? Tried before any work is done."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.devices import is_out_of_memory
from nescio.errors import ArchitectureError
from nescio.network.build import first_line

CHOICES = (
    "keep its weights deterministic (--random with patterns that leave them out), or have the "
    "layer compute from self.{leaf} at each call, so that sampled weights can stand in"
)


def check_lifting(network: nn.Module, random: Collection[str], images: Tensor) -> None:
    """Try the network with other weights: they must take part wherever its own did.

    A layer may compute from a copy of its weights that it keeps elsewhere, or change
    them in place; then sampled weights would silently change nothing, or break.

    Args:
        network: It stays as it is.
        random: Names of the parameters that become random variables.
        images: ``(n, K, H, W)`` float32, a few.

    Raises:
        ArchitectureError: Some layer does; it is named, with the choices.
    """
    # A copy: a layer in training mode may keep statistics of what it sees.
    network = copy.deepcopy(network).train()
    own = {name: p for name, p in network.named_parameters() if name in random}
    try:
        used = _used(network(images.clone()), own)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ArchitectureError(
            f"the network cannot be trained: {first_line(error)}; operations in place (+=, "
            "names that end in _) on what a gradient needs are a common cause"
        ) from error
    sampled = {name: p.detach().clone().requires_grad_() for name, p in own.items()}
    try:
        reached = _used(functional_call(network, sampled, (images.clone(),)), sampled)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ArchitectureError(
            f"the network fails with sampled weights: {first_line(error)}; a layer that changes "
            "its weights in place, or keeps them in another form, cannot be random: leave it "
            "out with --random and patterns"
        ) from error
    lost = sorted(used - reached)
    if lost:
        path, _, leaf = lost[0].rpartition(".")
        layer = type(network.get_submodule(path)).__name__
        raise ArchitectureError(
            f"layer {path or 'of the network'!r} ({layer}) does not compute with sampled weights: "
            f"{', '.join(lost)} would change nothing; {CHOICES.format(leaf=leaf)}"
        )


def _used(output: Tensor, parameters: Mapping[str, Tensor]) -> set[str]:
    """The names of those in which the output has a gradient."""
    gradients = torch.autograd.grad(output.sum(), list(parameters.values()), allow_unused=True)
    return {name for name, g in zip(parameters, gradients, strict=True) if g is not None}
