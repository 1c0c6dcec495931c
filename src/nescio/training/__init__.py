"""Train: the way from data to a classifier.

:mod:`prepare`  read and split the data, build the network
  :mod:`fitting`  fit, get to know the images, calibrate
:mod:`preview`  what a fit would be of, and nothing fitted
"""

from nescio.training.fitting import TEST_FRACTION, find_recipe, fit, library_versions
from nescio.training.preview import Preview, preview

__all__ = ["TEST_FRACTION", "Preview", "find_recipe", "fit", "library_versions", "preview"]
