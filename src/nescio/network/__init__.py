"""Ordinary networks: by name, by ``module:factory``, or the user's own object.

Read in this order: :mod:`architectures`, :mod:`build`, :mod:`lifting`, :mod:`layout`,
:mod:`surgery`, :mod:`cut`.
"""

from nescio.network.architectures import cnn, mlp
from nescio.network.build import ARCHITECTURES, OWN, NetworkSpec, build, check_fit, first_line
from nescio.network.cut import Cut, cut_network
from nescio.network.layout import channels_last, convolves, lay_out
from nescio.network.lifting import check_lifting
from nescio.network.surgery import named_tensors, replaced, twin

__all__ = [
    "ARCHITECTURES",
    "OWN",
    "Cut",
    "NetworkSpec",
    "build",
    "channels_last",
    "check_fit",
    "check_lifting",
    "cnn",
    "convolves",
    "cut_network",
    "first_line",
    "lay_out",
    "mlp",
    "named_tensors",
    "replaced",
    "twin",
]
