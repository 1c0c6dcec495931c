"""Stages: where a network is read, and how what is read becomes few numbers.

A stage is a layer with weights of its own, whatever hangs below it, together with what follows
(normalisation, activation, pooling) up to the next such layer. Before them come two stages of the
image itself, as wavelets see it: what its main axes tell, and all of it with an eye for detail. The
network's output is the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.devices import lowered
from nescio.errors import UsageError
from nescio.familiarity.wavelets import Wavelets
from nescio.network import twin

IMAGE, DETAIL, OUTPUT = "image", "detail", "output"
"""The names of the stages of the image, and of the network's output."""

MOST_STAGES = 4
"""Layers that are read of the network; of deeper ones, evenly spaced."""

MOST_FEATURES = 2048
"""Numbers that are kept of one stage; more are hashed."""

SHAPELESS = (nn.Flatten, nn.Unflatten, nn.Identity, nn.modules.dropout._DropoutNd)
"""Layers that say nothing new; what stands before them is read."""

PARAMETRIZATIONS = "parametrizations"
"""Where :mod:`torch.nn.utils.parametrize` puts what it computes a module's weights from."""


def find_stages(network: nn.Module, example: Tensor, most: int = MOST_STAGES) -> tuple[str, ...]:
    """The names of the stages of any network, from the image on.

    Args:
        network: In evaluation mode.
        example: ``(n, K, H, W)`` float32, a few images to see which layers run, in order.
        most: How many layers to read.
    """
    units = dict(_units(network))
    run: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and output.ndim > 1:
                run.append(name)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in units.items()]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(run)
    stages: list[str] = []
    begun = False
    for name in run:
        layer = units[name]
        if _has_weights(layer):
            begun = True
            stages.append(name)
        elif begun and times[name] == 1 and not isinstance(layer, SHAPELESS):
            stages[-1] = name
    between = [name for name in stages[:-1] if times[name] == 1]
    return (IMAGE, DETAIL, *_evenly(between, most), OUTPUT)


def _units(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What runs as one piece, by name: layers, whatever hangs below them, and other leaves."""
    inside = None
    for name, module in network.named_modules():
        if not name or (inside is not None and name.startswith(inside)):
            continue
        inside = f"{name}." if _is_layer(module) else None
        if inside is not None or not list(module.children()):
            yield name, module


def _is_layer(module: nn.Module) -> bool:
    """Whether it computes with weights of its own, and is more than a frame around other layers.

    A frame may own weights, too, such as the embedding of places in a transformer; a layer may hold
    others with weights, such as an adapter, but then it has the standard name for its own.
    """
    if not _has_weights(module):
        return False
    below = (child for name, child in module.named_children() if name != PARAMETRIZATIONS)
    frames = any(parameter.ndim > 1 for child in below for parameter in child.parameters())
    return not frames or "weight" in {**module._parameters, **_parametrized(module)}


def _has_weights(module: nn.Module) -> bool:
    own = (*module.parameters(recurse=False), *_originals(module))
    return any(parameter.ndim > 1 for parameter in own)


def _originals(module: nn.Module) -> Iterator[nn.Parameter]:
    """What weights are computed from that :mod:`torch.nn.utils.parametrize` took over."""
    for kept in _parametrized(module).values():
        yield from kept.parameters()


def _parametrized(module: nn.Module) -> dict[str, nn.Module]:
    kept = module._modules.get(PARAMETRIZATIONS)
    return dict(kept.named_children()) if isinstance(kept, nn.ModuleDict) else {}


def _evenly(names: Sequence[str], most: int) -> list[str]:
    """At most so many of ``names``, evenly spaced, the last among them."""
    if len(names) <= most:
        return list(names)
    return [names[((i + 1) * len(names)) // most - 1] for i in range(most)]


def source_of(stage: str) -> str:
    """What a stage is read from: both stages of the image from the same features."""
    return IMAGE if stage == DETAIL else stage


def layers_of(stages: Sequence[str]) -> tuple[str, ...]:
    """Those of the stages that are layers of the network, by their paths."""
    return tuple(name for name in stages if name not in (IMAGE, DETAIL, OUTPUT))


class StageReader:
    """Runs a network at given weights and reads its stages.

    It has module objects of its own, so readers in other threads do not meet it.

    Args:
        network: In evaluation mode; not changed.
        weights: What its random parameters are: the means of the guide.
        stages: Names, see :func:`find_stages`.
        precision: Of the products in the network: that of the passes that its evidence is held
            against.

    Raises:
        UsageError: The network has no such stage.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: Mapping[str, Tensor],
        stages: Sequence[str],
        precision: torch.dtype = torch.float32,
    ) -> None:
        self._precision = precision
        self._network = twin(network)
        self._weights = dict(weights)
        devices = (parameter.device for parameter in network.parameters())
        self._device = next(devices, torch.device("cpu"))
        self._wavelets = Wavelets(self._device)
        self._read: dict[str, Tensor] = {}
        self.stages = tuple(stages)
        modules = dict(self._network.named_modules())
        for name in layers_of(self.stages):
            if name not in modules:
                raise UsageError(f"the network has no stage {name!r}")
            modules[name].register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._read[name] = reduce_features(output)

        return hook

    @torch.no_grad()
    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """The features of each source, ``(n, d)`` float32, for images ``(n, K, H, W)``."""
        self._read = {}
        if {IMAGE, DETAIL} & set(self.stages):
            self._read[IMAGE] = self._wavelets(x)
        with lowered(self._device, self._precision):
            output = functional_call(self._network, self._weights, (x,))
        if OUTPUT in self.stages:
            self._read[OUTPUT] = reduce_features(output)
        return self._read


def reduce_features(output: Tensor, most: int = MOST_FEATURES) -> Tensor:
    """Bring a stage's output to at most ``most`` numbers an image, ``(n, d)`` float32.

    Maps are averaged over all places: which features an image has tells more of whether it is
    like others than where it has them. Tokens or series ``(n, T, D)`` are averaged over either
    axis. What is still too much is hashed into ``most`` sums of random signs, which keeps
    distances on average (Weinberger et al. 2009, *Feature hashing for large scale multitask
    learning*).
    """
    pooled = pool_features(output)
    return hashed(pooled, hashing(pooled.shape[1], most), most)


def pool_features(output: Tensor) -> Tensor:
    """The first part of :func:`reduce_features`: averages, ``(n, d)`` float32, of any width."""
    if output.ndim == 3:
        output = torch.cat([_mean(output, 1), _mean(output, 2)], 1)
    elif output.ndim > 3:
        output = _mean(output, *range(2, output.ndim))
    return output.float().flatten(1)


def _mean(output: Tensor, *dimensions: int) -> Tensor:
    """In float32, however few digits the output has."""
    return output.mean(dimensions, dtype=torch.float32)


def hashing(width: int, most: int = MOST_FEATURES) -> tuple[Tensor, Tensor] | None:
    """The sum that each of ``width`` numbers goes into, and its sign; ``None`` for few numbers."""
    if width <= most:
        return None
    generator = torch.Generator().manual_seed(width)
    places = torch.randint(most, (width,), generator=generator)
    return places, torch.randint(2, (width,), generator=generator).float() * 2 - 1


def hashed(pooled: Tensor, by: tuple[Tensor, Tensor] | None, most: int = MOST_FEATURES) -> Tensor:
    """Numbers ``(n, width)`` summed as :func:`hashing` says, ``(n, most)``."""
    if by is None:
        return pooled.contiguous()
    places, signs = (part.to(pooled.device) for part in by)
    return pooled.new_zeros(pooled.shape[0], most).index_add_(1, places, pooled * signs)
