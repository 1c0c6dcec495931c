"""Ordinary networks: by name, by ``module:factory``, or the user's own object.

Read in this order: :mod:`architectures`, :mod:`build`.
"""

from nescio.network.architectures import cnn, mlp
from nescio.network.build import ARCHITECTURES, OWN, NetworkSpec, build, check_fit, first_line

__all__ = [
    "ARCHITECTURES",
    "OWN",
    "NetworkSpec",
    "build",
    "check_fit",
    "cnn",
    "first_line",
    "mlp",
]
