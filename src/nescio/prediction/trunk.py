"""What comes before the drawn weights: run once for all sampled networks, or once a member.

The members of an ensemble of mean fields have deterministic layers of their own. Where these
come first, a member's features are computed once, and all networks drawn from it share them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.inference.posterior import Posterior
from nescio.network import Cut, channels_last, cut_network, named_tensors


@dataclass(frozen=True)
class Trunk:
    """The first part of a network that is cut, with the weights that members put into it.

    Attributes:
        cut: The network, cut where its drawn weights begin.
        members: For each member its own weights of the trunk, by their names in it; empty
            where all networks share one trunk. Network ``s`` is of member ``s % M``.
        drawn: The parameters and buffers that a draw replaces behind the trunk.
    """

    cut: Cut
    members: tuple[Mapping[str, Tensor], ...]
    drawn: Collection[str]

    @staticmethod
    def of(network: nn.Module, guide: Posterior, example: Tensor) -> Trunk:
        """Cut ``network`` for draws from ``guide``.

        Args:
            network: In evaluation mode, its weights its own or shared.
            guide: The posterior to draw from.
            example: ``(n, K, H, W)`` float32, a few images on the network's device.
        """
        fixed = guide.fixed
        if fixed:
            cut = cut_network(network, [n for n in guide.names if n not in fixed[0]], example)
            names = _names_within(cut.trunk, network, fixed[0])
            within = set(names.values())
            # A weight that trunk and head share has to reach both.
            if names and within.isdisjoint(_names_within(cut.head, network).values()):
                members = tuple(
                    # Aligned as drawn weights are, in memory and from a file alike.
                    {own: channels_last(each[n].clone()) for own, n in names.items()}
                    for each in fixed
                )
                return Trunk(cut, members, [n for n in guide.names if n not in within])
        return Trunk(cut_network(network, guide.names, example), (), guide.names)

    def features(self, x: Tensor) -> Tensor:
        """What the head takes, for ``(n, K, H, W)``: ``(n, ...)``, or ``(n, M, ...)``."""
        if not self.members or self.cut.trunk is None:
            return self.cut.features(x)
        parts = [functional_call(self.cut.trunk, dict(own), (x.clone(),)) for own in self.members]
        return torch.stack(parts, 1)

    def member(self, features: Tensor, number: int) -> Tensor:
        """Of :meth:`features` what network ``number`` takes, ``(n, ...)`` in one piece."""
        if not self.members:
            return features
        return features[:, number % len(self.members)].contiguous()


def _names_within(
    part: nn.Module | None, network: nn.Module, names: Collection[str] | None = None
) -> dict[str, str]:
    """From the names of tensors in a part of ``network`` to their names in it, if in ``names``."""
    if part is None:
        return {}
    whole = {id(t): n for n, t in named_tensors(network).items() if names is None or n in names}
    return {n: whole[id(t)] for n, t in named_tensors(part).items() if id(t) in whole}
