"""Other networks from one, which stays as it is: with a part replaced, or objects of its own."""

from __future__ import annotations

import copy

from torch import Tensor, nn


def twin(network: nn.Module) -> nn.Module:
    """The same network in module objects of its own; parameters and buffers are shared.

    :func:`torch.func.functional_call` puts other weights into a module for as long as it
    runs, so threads that call the same module at once would meet each other's weights.
    """
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def replaced(network: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """``network`` with another module at ``path``; all else is shared, nothing is changed."""
    if not path:
        return module
    name, _, rest = path.partition(".")
    other = copy.copy(network)
    child = replaced(network.get_submodule(name), rest, module)
    other._modules = {**network._modules, name: child}
    return other


def one_device(network: nn.Module) -> nn.Module:
    """``network`` itself, out of a wrapper that spreads it over several devices or processes.

    Such a wrapper copies the weights on its own, so drawn ones could not stand in for them.
    """
    while isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        network = network.module
    return network


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """All parameters, then all buffers, each by one name: what a posterior may replace."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
