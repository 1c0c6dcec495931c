"""Training mode, for what is trained; and evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def train_mode(network: nn.Module) -> nn.Module:
    """Set ``network`` to training mode, in place, but for batch normalisation that is frozen.

    Layers whose scale and shift are not trained (``requires_grad=False``) keep their statistics,
    too: else a pretrained trunk would change though its weights do not.
    """
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            module.train(any(p.requires_grad for p in module.parameters(recurse=False)))
    return network


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
