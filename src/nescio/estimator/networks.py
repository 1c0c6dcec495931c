"""The networks of the estimator: by name, by a factory, or a module; for images or features."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nescio.errors import UsageError
from nescio.estimator.inputs import Features, Unpack
from nescio.familiarity import find_stages
from nescio.network import NetworkSpec, build, mlp
from nescio.randomness import Stream, derive

Network: TypeAlias = str | nn.Module | Callable[..., nn.Module]
"""A name, ``module:factory``, a module, or what makes one from ``shape`` and ``classes``."""

AUTO = "auto"
"""The recipe's network for images, :data:`FOR_FEATURES` for features."""

FOR_FEATURES = partial(mlp, hidden=128)
"""The network for features unless one is named."""

FEATURES = "features"
"""The name of the stage that holds the features as they are."""


def check_network(network: Any) -> None:
    """Refuse what can be no network.

    Raises:
        UsageError: It is none.
    """
    if not (isinstance(network, str) or callable(network)):
        raise UsageError(
            f"network must be a name, a torch.nn.Module, or a function of shape and classes that "
            f"makes one, got {network!r}"
        )


def for_images(
    network: Network, default: str, shape: tuple[int, int, int], classes: int, seed: int
) -> nn.Module | str:
    """What :func:`nescio.fit` and :func:`nescio.load_model` take.

    Args:
        network: See :data:`Network`.
        default: The name that ``auto`` stands for.
        shape: ``(K, H, W)`` of one image.
        classes: ``C``.
        seed: Of the initialisation.
    """
    if isinstance(network, str):
        return default if network == AUTO else network
    return _made(network, shape, classes, seed)


def for_features(network: Network, features: Features, classes: int, seed: int) -> nn.Module:
    """A network that unpacks ``D`` features and sees them as an image ``(1, 1, D)``.

    Args:
        network: See :data:`Network`.
        features: How they are packed.
        classes: ``C``.
        seed: Of the initialisation.
    """
    shape = (1, 1, features.features)
    if network == AUTO:
        network = FOR_FEATURES
    if isinstance(network, str):
        inner = build(NetworkSpec(network, shape, classes), seed)
    else:
        inner = _made(network, shape, classes, seed)
    parts = {FEATURES: Unpack(features), "row": nn.Unflatten(1, shape), "network": inner}
    return nn.Sequential(OrderedDict(parts))


def feature_stages(network: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Where a network of :func:`for_features` is read for familiarity.

    Wavelets have nothing to say of features, whose order means nothing; in their place stand
    the features themselves.

    Args:
        network: The network.
        example: ``(n, 3, 1, D)`` float32, a few samples.
    """
    return (FEATURES, *find_stages(copy.deepcopy(network).eval(), example)[1:])


def _made(
    network: nn.Module | Callable[..., nn.Module],
    shape: tuple[int, int, int],
    classes: int,
    seed: int,
) -> nn.Module:
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, Stream.NETWORK))
        made = network(shape=shape, classes=classes)
    if not isinstance(made, nn.Module):
        raise UsageError(f"network must make a torch.nn.Module, got {type(made).__name__}")
    return made
