"""The networks of the estimator: by name, by a factory, or a module; for images or features."""

from __future__ import annotations

import copy
from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from nescio.estimator.inputs import Features, Unpack
from nescio.familiarity import find_stages
from nescio.network import OWN, NetworkLike, NetworkSpec, make_network, mlp

AUTO = "auto"
"""The recipe's network for images, :data:`FOR_FEATURES` for features."""

FOR_FEATURES = partial(mlp, hidden=128)
"""The network for features unless one is named."""

FEATURES = "features"
"""The name of the stage that holds the features as they are."""


def for_images(network: NetworkLike, default: str) -> NetworkLike:
    """What :func:`nescio.fit` and :func:`nescio.load_model` take.

    Args:
        network: One, or ``auto``.
        default: The name that ``auto`` stands for.
    """
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    return default if network == AUTO else network


def for_features(network: NetworkLike, features: Features, classes: int, seed: int) -> nn.Module:
    """A network that unpacks ``D`` features and sees them as an image ``(1, 1, D)``.

    Args:
        network: One, or ``auto``.
        features: How they are packed.
        classes: ``C``.
        seed: Of the initialisation.
    """
    shape = (1, 1, features.features)
    spec = NetworkSpec(OWN, shape, classes)
    made = make_network(FOR_FEATURES if network == AUTO else network, spec, seed)
    inner = copy.deepcopy(made) if made is network else made
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
