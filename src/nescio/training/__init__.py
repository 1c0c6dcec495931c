"""Train: the way from data to a classifier.

:mod:`asked`  what is asked for, in one form
  :mod:`prepare`  read and split the data, build the network
    :mod:`preview`  what a training would be of, and nothing fitted
    :mod:`resuming`, :mod:`recording`  what checkpoints and model files tell of it
      :mod:`fitting`  fit, get to know the images, calibrate
"""

from nescio.training.asked import TEST_FRACTION, Asked, ExtraLike, ask, find_recipe
from nescio.training.fitting import fit
from nescio.training.preview import Preview, preview
from nescio.training.recording import library_versions

__all__ = [
    "TEST_FRACTION",
    "Asked",
    "ExtraLike",
    "Preview",
    "ask",
    "find_recipe",
    "fit",
    "library_versions",
    "preview",
]
