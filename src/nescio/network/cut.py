"""Cut a network where its random weights begin, so that what comes before runs once.

All sampled networks share the layers without random weights. Where these come first
(a deterministic trunk under a Bayesian head, or just the flattening of the image),
their output is computed once for all samples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from nescio.devices import is_out_of_memory
from nescio.network.surgery import named_tensors, replaced


@dataclass(frozen=True)
class Cut:
    """A network in two parts, ``network(x) == head(trunk(x))``.

    Attributes:
        trunk: What all sampled networks share; ``None`` for nothing.
        head: What is run with sampled weights.
        prefix: Of the names of the head's parameters in the whole network.
    """

    trunk: nn.Module | None
    head: nn.Module
    prefix: str

    def features(self, x: Tensor) -> Tensor:
        """What the head takes, ``(n, ...)``, for images ``(n, K, H, W)``."""
        return x if self.trunk is None else self.trunk(x)

    def logits(self, weights: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """The head's output ``(n, C)`` under sampled weights, named as in the whole network."""
        own = {name.removeprefix(self.prefix): value for name, value in weights.items()}
        output: Tensor = functional_call(self.head, own, (features,))
        return output

    @cached_property
    def linear(self) -> tuple[str, nn.Linear] | None:
        """The head's only layer and the prefix of its names in the head, if it is linear."""
        path, layer = "", self.head
        if type(layer) is nn.Sequential and len(layer) == 1:
            ((name, layer),) = layer.named_children()
            path = f"{name}."
        # What else than a product a layer does, such as to norm its weights, hangs on hooks.
        if type(layer) is not nn.Linear or layer._forward_pre_hooks:
            return None
        return path, layer

    def stacked_logits(self, stacks: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """The outputs ``(S, n, C)`` of a :attr:`linear` head under ``S`` weights, in one product.

        Args:
            stacks: What is drawn, ``(S, ...)`` each, named as in the whole network.
            features: ``(n, d)``.
        """
        assert self.linear is not None  # noqa: S101 - asked before
        within, layer = self.linear
        prefix = f"{self.prefix}{within}"
        samples = len(next(iter(stacks.values())))
        own = {name: p.detach().expand(samples, *p.shape) for name, p in layer.named_parameters()}
        own |= {name.removeprefix(prefix): stack for name, stack in stacks.items()}
        bias = own["bias"].reshape(-1) if "bias" in own else None
        flat = F.linear(features, own["weight"].flatten(0, 1), bias)
        return flat.view(len(features), samples, -1).transpose(0, 1)

    def named_head(self) -> nn.Module:
        """The head, its parameters under the names that they have in the whole network."""
        head = self.head
        for name in reversed(self.prefix.split(".")[:-1]):
            head = nn.Sequential(OrderedDict({name: head}))
        return head


@torch.no_grad()
def cut_network(network: nn.Module, random: Collection[str], example: Tensor) -> Cut:
    """Cut ``network`` before its first random weight, where that is possible.

    Two forms are known: an ``nn.Sequential``, cut between its modules, and within the last of
    them; and any network whose random weights are all in one module that gives the network's
    output. The cut is tried on ``example``; where the parts do not give what the whole gives,
    all of it is the head.

    Args:
        network: In evaluation mode.
        random: Names of its random parameters.
        example: ``(n, K, H, W)``, a few images on the network's device.
    """
    whole = Cut(None, network, "")
    if len(example) == 0:
        return whole
    for cut in _cuts(network, random):
        try:
            parts = cut.head(cut.features(example.clone()))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            continue  # a part may fail in any way; the whole still runs
        expected = network(example.clone())
        if parts.shape == expected.shape and torch.allclose(parts, expected, equal_nan=True):
            return cut
    return whole


def _cuts(network: nn.Module, random: Collection[str]) -> Iterator[Cut]:
    """The cuts to try, the deepest first."""
    cut = _sequential(network, random)
    if cut is None:
        single = _single_head(network, random)
        if single is not None:
            yield single
        return
    # What is left of a Sequential may be one module that can be cut itself.
    (name, module), *more = cut.head.named_children()
    if not more:
        inside = [full.removeprefix(f"{name}.") for full in random]
        for inner in _cuts(module, inside):
            trunk = nn.Sequential(*(part for part in (cut.trunk, inner.trunk) if part is not None))
            yield Cut(trunk, inner.head, f"{name}.{inner.prefix}")
    yield cut


def _sequential(network: nn.Module, random: Collection[str]) -> Cut | None:
    if type(network) is not nn.Sequential:
        return None
    drawn = _identities(network, random)
    for index, module in enumerate(network):
        if any(id(value) in drawn for value in (*module.parameters(), *module.buffers())):
            return Cut(network[:index], network[index:], "") if index else None
    return None


def _single_head(network: nn.Module, random: Collection[str]) -> Cut | None:
    owners = {name.rpartition(".")[0] for name in random}
    owner = owners.pop()
    if owners or not owner:
        return None
    trunk, head = replaced(network, owner, nn.Identity()), network.get_submodule(owner)
    drawn = _identities(network, random)
    if any(id(value) in drawn for value in (*trunk.parameters(), *trunk.buffers())):
        return None  # the trunk uses the head's weights too
    return Cut(trunk, head, f"{owner}.")


def _identities(network: nn.Module, names: Collection[str]) -> set[int]:
    return {id(value) for name, value in named_tensors(network).items() if name in names}
