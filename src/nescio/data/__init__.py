"""Data: images and labels from every form that the command line takes.

Read in this order: :mod:`images`, :mod:`features`, :mod:`preprocess`, :mod:`augment`, :mod:`idx`,
:mod:`npz`, :mod:`folders`, :mod:`synthetic`, :mod:`patterns`, :mod:`corruptions`, :mod:`shifts`,
:mod:`download`, :mod:`named`, :mod:`split`, :mod:`load`, :mod:`labels`.
"""

from nescio.data.augment import Augmentation, parse_augmentation, suitable_augmentation
from nescio.data.corruptions import CORRUPTIONS
from nescio.data.features import FeatureSet
from nescio.data.folders import Failure, ReadResult, decode_image, list_images, read_images
from nescio.data.images import Dataset, ImageSet, Preprocessing, images_at_once, to_float
from nescio.data.labels import read_labels
from nescio.data.load import NAMES, all_images, load
from nescio.data.patterns import blank, checkerboard, constant, natural
from nescio.data.preprocess import adapt, as_images, choose_preprocessing
from nescio.data.shifts import SEVERITIES, SHIFTS, Shift, parse_shift, shift_images, shift_set
from nescio.data.split import Splits, join_extra, split
from nescio.data.synthetic import digits, letters, noise

__all__ = [
    "CORRUPTIONS",
    "NAMES",
    "SEVERITIES",
    "SHIFTS",
    "Augmentation",
    "Dataset",
    "Failure",
    "FeatureSet",
    "ImageSet",
    "Preprocessing",
    "ReadResult",
    "Shift",
    "Splits",
    "adapt",
    "all_images",
    "as_images",
    "blank",
    "checkerboard",
    "choose_preprocessing",
    "constant",
    "decode_image",
    "digits",
    "images_at_once",
    "join_extra",
    "letters",
    "list_images",
    "load",
    "natural",
    "noise",
    "parse_augmentation",
    "parse_shift",
    "read_images",
    "read_labels",
    "shift_images",
    "shift_set",
    "split",
    "suitable_augmentation",
    "to_float",
]
