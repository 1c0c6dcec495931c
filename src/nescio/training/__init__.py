"""Train: the way from data to a classifier.

:mod:`prepare`  read and split the data, build the network
  :mod:`fitting`  fit, get to know the images, calibrate
"""

from nescio.training.fitting import TEST_FRACTION, find_recipe, fit, library_versions

__all__ = ["TEST_FRACTION", "find_recipe", "fit", "library_versions"]
