"""Data: images and labels from every form that the command line takes.

Read in this order: :mod:`rows`, :mod:`ahead`, :mod:`class_numbers`, :mod:`images`, :mod:`features`,
:mod:`preprocess`, :mod:`reading`, :mod:`augment`, :mod:`store`, :mod:`decoder`, :mod:`encoded`,
:mod:`ranges`, :mod:`looking`,
:mod:`streamed`, :mod:`raw`, :mod:`walk`, :mod:`layout`, :mod:`parts`,
:mod:`idx_names`, :mod:`idx`, :mod:`npz_layout`, :mod:`npz`,
:mod:`labelling`, :mod:`sorting`, :mod:`folders`, :mod:`columns`, :mod:`encoded_parts`,
:mod:`members`, :mod:`shard_index`, :mod:`shards`, :mod:`parquet`, :mod:`huggingface`,
:mod:`synthetic`,
:mod:`patterns`, :mod:`outlines`, :mod:`shapes`, :mod:`corruptions`, :mod:`shifts`,
:mod:`download`, :mod:`named`, :mod:`groups`, :mod:`rare`, :mod:`split`, :mod:`table`,
:mod:`splitfile`, :mod:`grouping`, :mod:`duplicates`, :mod:`near_copies`,
:mod:`load`, :mod:`labels`; of what is held in Python :mod:`axes`, :mod:`arrays`, :mod:`pillow`,
:mod:`held`, :mod:`gather`, :mod:`loaders`, :mod:`inputs`.
"""

from nescio.data.ahead import pass_order, read_ahead, shuffled
from nescio.data.augment import Augmentation, parse_augmentation, suitable_augmentation
from nescio.data.class_numbers import number_array
from nescio.data.corruptions import CORRUPTIONS
from nescio.data.decoder import NOTHING, Remarks
from nescio.data.duplicates import tell_duplicates
from nescio.data.encoded import Failure, ReadResult, read_images
from nescio.data.features import FeatureSet
from nescio.data.grouping import (
    Grouping,
    describe_groups,
    group_extra,
    group_images,
    tell_groups,
)
from nescio.data.groups import count_groups, of_groups, one_of_each
from nescio.data.images import Dataset, ImageSet, Preprocessing, images_at_once, to_float
from nescio.data.inputs import (
    DataLike,
    ImagesLike,
    image_set,
    read_data_like,
    read_images_like,
    sources_of,
)
from nescio.data.labels import read_labels
from nescio.data.load import NAMES, all_images, as_asked, load
from nescio.data.near_copies import NearCopies, near_copies, tell_near_copies
from nescio.data.patterns import blank, checkerboard, constant, natural
from nescio.data.preprocess import adapt, as_images, choose_preprocessing
from nescio.data.rare import drop_classes, drop_rare
from nescio.data.reading import Colour, Reading, parse_size
from nescio.data.rows import Rows, Stack, read_all, read_batches, take
from nescio.data.shapes import (
    MixedShapes,
    mixed_shapes,
    novel_shapes,
    shapes,
    striped_shapes,
)
from nescio.data.shifts import SEVERITIES, SHIFTS, Shift, parse_shift, shift_images, shift_set
from nescio.data.split import PARTS, Splits, join_extra, parts_of, split, split_by
from nescio.data.splitfile import read_split, split_fingerprint, write_split
from nescio.data.synthetic import digits, letters, noise
from nescio.data.walk import list_images
from nescio.decode import Decoding, decode_image

__all__ = [
    "CORRUPTIONS",
    "NAMES",
    "NOTHING",
    "PARTS",
    "SEVERITIES",
    "SHIFTS",
    "Augmentation",
    "Colour",
    "DataLike",
    "Dataset",
    "Decoding",
    "Failure",
    "FeatureSet",
    "Grouping",
    "ImageSet",
    "ImagesLike",
    "MixedShapes",
    "NearCopies",
    "Preprocessing",
    "ReadResult",
    "Reading",
    "Remarks",
    "Rows",
    "Shift",
    "Splits",
    "Stack",
    "adapt",
    "all_images",
    "as_asked",
    "as_images",
    "blank",
    "checkerboard",
    "choose_preprocessing",
    "constant",
    "count_groups",
    "decode_image",
    "describe_groups",
    "digits",
    "drop_classes",
    "drop_rare",
    "group_extra",
    "group_images",
    "image_set",
    "images_at_once",
    "join_extra",
    "letters",
    "list_images",
    "load",
    "mixed_shapes",
    "natural",
    "near_copies",
    "noise",
    "novel_shapes",
    "number_array",
    "of_groups",
    "one_of_each",
    "parse_augmentation",
    "parse_shift",
    "parse_size",
    "parts_of",
    "pass_order",
    "read_ahead",
    "read_all",
    "read_batches",
    "read_data_like",
    "read_images",
    "read_images_like",
    "read_labels",
    "read_split",
    "shapes",
    "shift_images",
    "shift_set",
    "shuffled",
    "sources_of",
    "split",
    "split_by",
    "split_fingerprint",
    "striped_shapes",
    "suitable_augmentation",
    "take",
    "tell_duplicates",
    "tell_groups",
    "tell_near_copies",
    "to_float",
    "write_split",
]
