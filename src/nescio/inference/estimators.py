"""Estimators: which sampled networks the images of a batch go through.

``shared``: one network for the whole batch, as the Pyro program has it. The cheapest step.

The others give every image a network of its own, so that the errors of a batch average
out and the gradient is less noisy; they need more products:

``flipout``: one drawn deviation from the means, with signs flipped image by image (Wen et al.
2018, *Flipout*). Every image sees exactly the guide's distribution.

``local``: the noise is drawn where the layer gives its output, with the output's own mean
and variance (Kingma, Salimans & Welling 2015, *Variational dropout and the local
reparameterization trick*). Exact for a linear layer that sees each image once. For a
convolution, or a linear layer over positions, each position has the right mean and variance
but noise of its own, as if the layer drew new weights there: that is another ELBO.

Both are for linear and convolution layers whose weights belong to them alone and which run
once for a batch, all images in their first axis. Weights of all other layers are sampled, shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nescio.network import evaluating, replaced

Estimator: TypeAlias = Literal["shared", "local", "flipout"]

ESTIMATORS: tuple[Estimator, ...] = ("shared", "local", "flipout")
"""The estimators known by name."""

SPREAD = "_spread"
"""Ends the name of what stands beside a parameter's mean: scale, or drawn deviation."""

PER_IMAGE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers that can give every image its own weights."""

TINY = 1e-16
"""Least variance of an output: the slope of a square root at zero has no bound."""


def suitable_estimator(network: nn.Module, random: Collection[str]) -> Estimator:
    """What ``auto`` stands for: ``local`` where one linear layer alone is random, else ``shared``.

    There ``local`` is exact, costs next to nothing, and comes far nearer to the ELBO's optimum
    in as many passes (docs/refusal.md).
    """
    owners = {name.rpartition(".")[0] for name in random}
    alone = len(owners) == 1 and type(network.get_submodule(owners.pop())) is nn.Linear
    return "local" if alone else "shared"


class PerImage(nn.Module):
    """A linear or convolution layer whose weights differ from image to image.

    Its parameters have the layer's names; beside each random one stands its spread.
    Their values come from outside, by :func:`torch.func.functional_call`.
    """

    def __init__(
        self,
        layer: nn.Module,
        random: Collection[str],
        *,
        flipout: bool,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._generator = generator
        self._layer = (layer,)  # in a tuple: it must not be registered as a submodule
        self._flipout = flipout
        for name, parameter in layer.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
            if name in random:
                self.register_parameter(name + SPREAD, nn.Parameter(torch.empty_like(parameter)))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, each image of ``x`` under its own weights."""
        if self._flipout:
            deviation = self._run(x * self._signs(x), self._spreads())
            return self._means(x) + deviation * self._signs(deviation)
        variance = self._run(x.square(), {n: s.square() for n, s in self._spreads().items()})
        noise = torch.empty_like(variance).normal_(generator=self._generator)
        return self._means(x) + variance.clamp_min(TINY).sqrt() * noise

    def _means(self, x: Tensor) -> Tensor:
        parameters = dict(self.named_parameters(recurse=False))
        return self._run(x, {n: p for n, p in parameters.items() if not n.endswith(SPREAD)})

    def _spreads(self) -> dict[str, Tensor]:
        """Of every parameter; zero for one that is not random."""
        parameters = dict(self.named_parameters(recurse=False))
        return {
            name: parameters.get(name + SPREAD, torch.zeros_like(parameter))
            for name, parameter in parameters.items()
            if not name.endswith(SPREAD)
        }

    def _signs(self, x: Tensor) -> Tensor:
        """One random sign for each image and feature, the same at all positions."""
        features = x.ndim - 1 if isinstance(self._layer[0], nn.Linear) else 1
        kept = [size if axis in (0, features) else 1 for axis, size in enumerate(x.shape)]
        signs = torch.randint(2, kept, device=x.device, dtype=x.dtype, generator=self._generator)
        return signs.mul_(2).sub_(1)

    def _run(self, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        output: Tensor = functional_call(self._layer[0], parameters, (x,))
        return output


def with_per_image_layers(
    network: nn.Module,
    random: Collection[str],
    estimator: Estimator,
    x: Tensor,
    generator: torch.Generator | None = None,
) -> tuple[nn.Module, frozenset[str]]:
    """``network`` with per-image layers where they can be; all else is shared with it.

    Args:
        network: Not changed.
        random: Names of its random parameters.
        estimator: ``local`` or ``flipout``.
        x: ``(n, K, H, W)``, a few images to see which layers run, and how often.
        generator: Of the noise; PyTorch's own for ``None``.

    Returns:
        The other network, and the names of the random parameters of those layers.
    """
    paths = _layers_that_run_once(network, random, x)
    other = network
    chosen: set[str] = set()
    for path in paths:
        layer = network.get_submodule(path)
        names = [n for n, _ in layer.named_parameters(recurse=False) if _join(path, n) in random]
        per_image = PerImage(layer, names, flipout=estimator == "flipout", generator=generator)
        other = replaced(other, path, per_image)
        chosen.update(_join(path, name) for name in names)
    return other, frozenset(chosen)


def _layers_that_run_once(network: nn.Module, random: Collection[str], x: Tensor) -> list[str]:
    """Paths of the layers that can be per image, and that see each image once."""
    uses = Counter(
        id(parameter)
        for module in network.modules()
        for parameter in module.parameters(recurse=False)
    )
    candidates = {
        path: layer
        for path, layer in network.named_modules()
        if type(layer) in PER_IMAGE
        and _join(path, "weight") in random
        and all(uses[id(parameter)] == 1 for parameter in layer.parameters())
    }
    runs: dict[str, list[int]] = {path: [] for path in candidates}

    def watch(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(_layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            runs[path].append(len(inputs[0]))

        return note

    handles = [m.register_forward_hook(watch(path)) for path, m in candidates.items()]
    try:
        with torch.no_grad(), evaluating(network):
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return [path for path in candidates if runs[path] == [len(x)]]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
