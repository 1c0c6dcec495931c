"""What layers of the shared part give as it runs, so that nobody need run it again to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Reduce = Callable[[Tensor], Tensor]
"""From a layer's output to what is kept of it, ``(n, d)``."""


class Taps:
    """Keeps what some layers give, each time that their network runs.

    Args:
        network: That they are in; hooks are put on its module objects.
        layers: Their paths in it.
        reduce: What is kept of an output.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], reduce: Reduce) -> None:
        self._kept: dict[str, Tensor] = {}
        modules = dict(network.named_modules())
        for name in layers:
            modules[name].register_forward_hook(self._keep(name, reduce))

    @staticmethod
    def on(
        network: nn.Module, part: nn.Module | None, layers: Sequence[str], reduce: Reduce
    ) -> Taps | None:
        """Taps on ``layers`` where all of them run in this part of the network; else ``None``."""
        within = set() if part is None else set(part.modules())
        modules = dict(network.named_modules())
        if not all(name in modules and modules[name] in within for name in layers):
            return None
        return Taps(network, layers, reduce)

    def take(self) -> Mapping[str, Tensor]:
        """What was kept since the last time, by the paths of the layers."""
        kept, self._kept = self._kept, {}
        return kept

    def _keep(self, name: str, reduce: Reduce) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._kept[name] = reduce(output)

        return hook
