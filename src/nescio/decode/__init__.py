"""Decoding: an image file, whatever it holds, as pixels of 8 bits. It needs no PyTorch.

Read in this order: :mod:`foreign`, :mod:`decoding`, :mod:`files`.
"""

from nescio.decode.decoding import (
    COLOURS,
    DEFAULT,
    MAX_PIXELS,
    MOST_PIXELS,
    OLDER,
    Decoding,
    ValueRange,
    name_of,
    parse_background,
    parse_value_range,
)
from nescio.decode.files import (
    FORMATS,
    Look,
    Measure,
    Pixels,
    decode_image,
    look_at_image,
    measure_image,
)

__all__ = [
    "COLOURS",
    "DEFAULT",
    "FORMATS",
    "MAX_PIXELS",
    "MOST_PIXELS",
    "OLDER",
    "Decoding",
    "Look",
    "Measure",
    "Pixels",
    "ValueRange",
    "decode_image",
    "look_at_image",
    "measure_image",
    "name_of",
    "parse_background",
    "parse_value_range",
]
