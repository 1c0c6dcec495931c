"""Data: images and labels from every form that the command line takes.

Read in this order: :mod:`images`, :mod:`preprocess`, :mod:`augment`, :mod:`idx`, :mod:`npz`,
:mod:`folders`, :mod:`synthetic`, :mod:`download`, :mod:`named`, :mod:`split`,
:mod:`load`.
"""

from nescio.data.augment import Augmentation, parse_augmentation, suitable_augmentation
from nescio.data.folders import Failure, ReadResult, decode_image, list_images, read_images
from nescio.data.images import Dataset, ImageSet, Preprocessing, to_float
from nescio.data.load import NAMES, all_images, load
from nescio.data.preprocess import adapt, as_images, choose_preprocessing
from nescio.data.split import Splits, split
from nescio.data.synthetic import digits, letters, noise

__all__ = [
    "NAMES",
    "Augmentation",
    "Dataset",
    "Failure",
    "ImageSet",
    "Preprocessing",
    "ReadResult",
    "Splits",
    "adapt",
    "all_images",
    "as_images",
    "choose_preprocessing",
    "decode_image",
    "digits",
    "letters",
    "list_images",
    "load",
    "noise",
    "parse_augmentation",
    "read_images",
    "split",
    "suitable_augmentation",
    "to_float",
]
