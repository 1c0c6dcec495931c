"""Familiarity: how like the training images an image is, and which stage tells.

Read in this order: :mod:`stages`, :mod:`axes`, :mod:`density`, :mod:`neighbours`, :mod:`tail`,
:mod:`crossfit`, :mod:`familiarity`, :mod:`fitting`.
"""

from nescio.familiarity.familiarity import Familiarity, Stage
from nescio.familiarity.fitting import fit_familiarity
from nescio.familiarity.stages import IMAGE, OUTPUT, StageReader, find_stages

__all__ = [
    "IMAGE",
    "OUTPUT",
    "Familiarity",
    "Stage",
    "StageReader",
    "find_stages",
    "fit_familiarity",
]
