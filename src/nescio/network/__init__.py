"""Ordinary networks: by name, by ``module:factory``, of timm, or the user's own object.

Read in this order: :mod:`architectures`, :mod:`normalise`, :mod:`zoo`, :mod:`build`,
:mod:`weights`, :mod:`source`, :mod:`lifting`, :mod:`layout`, :mod:`modes`,
:mod:`surgery`, :mod:`cut`.
"""

from nescio.network.architectures import cnn, mlp
from nescio.network.build import (
    ARCHITECTURES,
    OWN,
    NetworkLike,
    NetworkSpec,
    build,
    check_fit,
    check_weights,
    first_line,
    make_network,
    require_network,
)
from nescio.network.cut import Cut, cut_network
from nescio.network.layout import channels_last, convolves, lay_out
from nescio.network.lifting import check_lifting
from nescio.network.modes import evaluating, train_mode
from nescio.network.normalise import Normalisation, normalised, parse_normalisation
from nescio.network.source import NetworkSource
from nescio.network.surgery import named_tensors, replaced, twin
from nescio.network.weights import LoadedWeights, load_weights
from nescio.network.zoo import is_zoo, zoo_config

__all__ = [
    "ARCHITECTURES",
    "OWN",
    "Cut",
    "LoadedWeights",
    "NetworkLike",
    "NetworkSource",
    "NetworkSpec",
    "Normalisation",
    "build",
    "channels_last",
    "check_fit",
    "check_lifting",
    "check_weights",
    "cnn",
    "convolves",
    "cut_network",
    "evaluating",
    "first_line",
    "is_zoo",
    "lay_out",
    "load_weights",
    "make_network",
    "mlp",
    "named_tensors",
    "normalised",
    "parse_normalisation",
    "replaced",
    "require_network",
    "train_mode",
    "twin",
    "zoo_config",
]
