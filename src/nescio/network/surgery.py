"""Networks with one part replaced, without a change to the original."""

from __future__ import annotations

import copy

from torch import nn


def replaced(network: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """``network`` with another module at ``path``; all else is shared, nothing is changed."""
    if not path:
        return module
    name, _, rest = path.partition(".")
    twin = copy.copy(network)
    child = replaced(network.get_submodule(name), rest, module)
    twin._modules = {**network._modules, name: child}
    return twin
