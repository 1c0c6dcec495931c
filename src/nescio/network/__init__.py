"""Ordinary networks: by name, by ``module:factory``, or the user's own object.

Read in this order: :mod:`architectures`, :mod:`build`, :mod:`lifting`, :mod:`layout`,
:mod:`surgery`.
"""

from nescio.network.architectures import cnn, mlp
from nescio.network.build import ARCHITECTURES, OWN, NetworkSpec, build, check_fit, first_line
from nescio.network.layout import channels_last, convolves, lay_out
from nescio.network.lifting import check_lifting
from nescio.network.surgery import replaced, twin

__all__ = [
    "ARCHITECTURES",
    "OWN",
    "NetworkSpec",
    "build",
    "channels_last",
    "check_fit",
    "check_lifting",
    "cnn",
    "convolves",
    "first_line",
    "lay_out",
    "mlp",
    "replaced",
    "twin",
]
