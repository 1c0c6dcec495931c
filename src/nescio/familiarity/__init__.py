"""Familiarity: how like the training images an image is, and which stage tells.

Read in this order: :mod:`wavelets`, :mod:`stages`, :mod:`subspace`, :mod:`shared`,
:mod:`perclass`, :mod:`tail`, :mod:`worth`, :mod:`familiarity`, :mod:`fitting`.
"""

from nescio.familiarity.familiarity import MOST_EVIDENCE, Familiarity, Stage
from nescio.familiarity.fitting import fit_familiarity
from nescio.familiarity.stages import (
    DETAIL,
    IMAGE,
    OUTPUT,
    StageReader,
    find_stages,
    layers_of,
    reduce_features,
    source_of,
)
from nescio.familiarity.wavelets import Wavelets

__all__ = [
    "DETAIL",
    "IMAGE",
    "MOST_EVIDENCE",
    "OUTPUT",
    "Familiarity",
    "Stage",
    "StageReader",
    "Wavelets",
    "find_stages",
    "fit_familiarity",
    "layers_of",
    "reduce_features",
    "source_of",
]
