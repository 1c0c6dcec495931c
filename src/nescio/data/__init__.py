"""Data: images and labels from every form that the command line takes.

Read in this order: :mod:`images`, :mod:`preprocess`, :mod:`augment`, :mod:`idx`, :mod:`npz`,
:mod:`folders`, :mod:`synthetic`, :mod:`patterns`, :mod:`outlines`, :mod:`shapes`,
:mod:`corruptions`, :mod:`shifts`, :mod:`download`, :mod:`named`, :mod:`split`, :mod:`load`,
:mod:`labels`.
"""

from nescio.data.augment import Augmentation, parse_augmentation, suitable_augmentation
from nescio.data.corruptions import CORRUPTIONS
from nescio.data.folders import Failure, ReadResult, decode_image, list_images, read_images
from nescio.data.images import Dataset, ImageSet, Preprocessing, to_float
from nescio.data.labels import read_labels
from nescio.data.load import NAMES, all_images, load
from nescio.data.patterns import blank, checkerboard, constant, natural
from nescio.data.preprocess import adapt, as_images, choose_preprocessing
from nescio.data.shapes import (
    MixedShapes,
    mixed_shapes,
    novel_shapes,
    shapes,
    striped_shapes,
)
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
    "ImageSet",
    "MixedShapes",
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
    "join_extra",
    "letters",
    "list_images",
    "load",
    "mixed_shapes",
    "natural",
    "noise",
    "novel_shapes",
    "parse_augmentation",
    "parse_shift",
    "read_images",
    "read_labels",
    "shapes",
    "shift_images",
    "shift_set",
    "split",
    "striped_shapes",
    "suitable_augmentation",
    "to_float",
]
