"""From a network's name to a network, and the check that it fits the data."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nescio.devices import is_out_of_memory
from nescio.errors import ArchitectureError, UsageError
from nescio.network.architectures import cnn, mlp
from nescio.network.modes import evaluating
from nescio.network.normalise import Normalisation
from nescio.network.surgery import one_device
from nescio.network.zoo import build_zoo, is_zoo
from nescio.randomness import Stream, derive

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"mlp": mlp, "cnn": cnn}
"""The networks known by name."""

OWN = "own"
"""The name of a network that was handed over as a Python object."""

NetworkLike: TypeAlias = nn.Module | str | Callable[..., nn.Module]
"""A network; its name, see :func:`build`; or what makes it from ``shape`` ``(K, H, W)`` and
``classes``, whichever of these it takes: a function, a ``functools.partial``, a class."""


@dataclass(frozen=True)
class NetworkSpec:
    """What is needed to build a network again.

    Attributes:
        name: ``mlp``, ``cnn``, ``module:factory``, ``timm:NAME``, or ``own`` for a Python object.
        shape: ``(K, H, W)`` of the images that it takes.
        classes: ``C``, how many logits it gives.
        normalise: What is done to the pixels before them, see :func:`normalised`.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    normalise: Normalisation | None = None

    @property
    def needs_code(self) -> bool:
        """Whether building it runs code that is not part of nescio."""
        return self.name not in ARCHITECTURES


def require_network(network: Any) -> None:
    """Refuse what can be no network.

    Raises:
        UsageError: It is none of :data:`NetworkLike`.
    """
    if not (isinstance(network, str) or callable(network)):
        raise UsageError(
            "network must be a name, a torch.nn.Module, or a function of shape and classes that "
            f"makes one, got {network!r:.80}"
        )


def make_network(network: NetworkLike, spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """The network itself, or what its name or factory makes for ``spec``; unnormalised.

    Raises:
        UsageError: It is none of :data:`NetworkLike`, or there is none of that name.
        ArchitectureError: The factory failed, or gave something else than a module.
    """
    require_network(network)
    if isinstance(network, nn.Module):
        return one_device(network)
    if isinstance(network, str):
        return build(replace(spec, name=network), seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, Stream.NETWORK))
        return _call_factory(network, spec, getattr(network, "__name__", repr(network)))


def build(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """Build the network that ``spec`` names, initialised by ``seed``; without its normalisation.

    A ``module:factory`` is imported from the working folder or the Python path
    and called with whichever of ``shape`` and ``classes`` it takes by name. A ``timm:NAME``
    is made by timm, and nothing is downloaded.

    Raises:
        UsageError: The name is unknown, or the module or factory cannot be found.
        ArchitectureError: The factory failed, or gave something else than a module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, Stream.NETWORK))
        if spec.name in ARCHITECTURES:
            return ARCHITECTURES[spec.name](spec.shape, spec.classes)
        if is_zoo(spec.name):
            return build_zoo(spec.name, spec.shape, spec.classes)
        return _call_factory(_find_factory(spec.name), spec, spec.name)


def check_fit(network: nn.Module, images: Tensor, classes: int) -> None:
    """Try ``network`` on a few images: it must give finite logits ``(n, C)``.

    Args:
        network: The network, on the device of the images.
        images: ``(n, K, H, W)`` float32 in [0, 1].
        classes: ``C``, the number of classes of the data.

    Raises:
        ArchitectureError: It fails on such images, or its output does not fit.
    """
    try:
        with torch.no_grad(), evaluating(network):
            logits = network(images)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        mend = (
            "; a network is given one batch of images and nothing else, so wrap it in a "
            "module whose forward(images) fills in the rest"
            if isinstance(error, TypeError) and "argument" in str(error)
            else _other_images(network, images)
        )
        raise ArchitectureError(
            f"the network fails on images of shape {tuple(images.shape)}: {first_line(error)}{mend}"
        ) from error
    if not isinstance(logits, Tensor):
        raise ArchitectureError(
            f"the network must give one tensor of logits, got {type(logits).__name__}; wrap it in "
            "a module whose forward(images) returns the logits alone"
        )
    shape = tuple(logits.shape)
    if shape != (len(images), classes):
        raise ArchitectureError(
            f"the network must give logits of shape {(len(images), classes)} for {len(images)} "
            f"images of {classes} classes, got {shape}; make its last layer {classes} wide"
        )
    if not logits.is_floating_point():
        raise ArchitectureError(
            f"the network must give real numbers, got {logits.dtype}; return the logits, before "
            "any rounding or choice"
        )
    if not bool(torch.isfinite(logits).all()):
        raise ArchitectureError(
            "the network gives NaN or infinite logits before training; "
            "look at its initialisation and its layers"
        )


SIDES = (224, 28, 32, 64, 96, 128, 48, 160, 192, 240, 256, 299, 320, 336, 384, 448, 512)
"""Of images that networks are commonly made for; what is tried where one fails."""


def _other_images(network: nn.Module, images: Tensor) -> str:
    """How to mend it where the network does run on images of another size or colour."""
    with torch.no_grad(), evaluating(network):
        return _found_images(network, images)


def _found_images(network: nn.Module, images: Tensor) -> str:
    channels = images.shape[1]
    for other in (channels, 4 - channels if channels in (1, 3) else channels):
        for side in (*images.shape[2:], *SIDES):
            try:
                network(images.new_zeros(2, other, side, side))
            except Exception:  # noqa: BLE001, S112 - it may fail in any way; the next is tried
                continue
            colour = {1: " grey", 3: " colour"}.get(other, "") if other != channels else ""
            size = f" with --image-size {side}" if (side, side) != images.shape[2:] else ""
            return f"; it runs on{colour} images of {side}x{side}, so bring them to that{size}"
    return ""


def check_weights(network: nn.Module) -> None:
    """Weights that are to be fitted must be real numbers.

    Raises:
        ArchitectureError: Some are not.
    """
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.is_complex():
            raise ArchitectureError(
                f"parameter {name!r} is complex, and posteriors are fitted over real numbers; "
                "hold its real and imaginary parts as two parameters, or freeze it by "
                "requires_grad_(False)"
            )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type when it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _find_factory(name: str) -> Callable[..., Any]:
    module_name, colon, factory_name = name.partition(":")
    if not (module_name and colon and factory_name):
        near = get_close_matches(name, ARCHITECTURES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"unknown network {name!r}: expected {', '.join(ARCHITECTURES)}, module:factory or "
            f"timm:NAME{hint}"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(
            f"cannot import {module_name!r} for {name!r}: {first_line(error)}; it is "
            "looked for in this folder and on the Python path"
        ) from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise UsageError(f"module {module_name!r} has no function {factory_name!r}")
    return factory  # type: ignore[no-any-return]


def _call_factory(factory: Callable[..., Any], spec: NetworkSpec, name: str) -> nn.Module:
    offered = {"shape": spec.shape, "classes": spec.classes}
    try:
        parameters = inspect.signature(factory).parameters.values()
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        accepted = {p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY}
        network = factory(**{k: v for k, v in offered.items() if takes_all or k in accepted})
    except Exception as error:
        raise ArchitectureError(f"{name!r} failed: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise ArchitectureError(
            f"{name!r} must return a torch.nn.Module, got {type(network).__name__}"
        )
    return one_device(network)
