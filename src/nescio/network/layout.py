"""The order in memory in which convolutions are fastest: channels last.

It changes no value, only which kernels run. On one CPU core a forward pass of the ``cnn`` over
512 images took a fifth less time; a training step took as long as before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(tensor: Tensor) -> Tensor:
    """The same numbers, channels last in memory where there are channels and positions."""
    form = FORMATS.get(tensor.ndim)
    return tensor if form is None else tensor.contiguous(memory_format=form)


def convolves(network: nn.Module) -> bool:
    """Whether any weight has channels and positions."""
    return any(parameter.ndim in FORMATS for parameter in network.parameters())


def lay_out(network: nn.Module) -> nn.Module:
    """Bring all weights of ``network`` into that order, in place."""
    for parameter in network.parameters():
        parameter.data = channels_last(parameter.data)
    return network
