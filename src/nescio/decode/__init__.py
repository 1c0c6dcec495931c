"""Decoding: an image file, whatever it holds, as pixels of 8 bits. It needs no PyTorch.

Read in this order: :mod:`foreign`, :mod:`decoding`, :mod:`exif`, :mod:`raster`,
:mod:`png_chunks`, :mod:`png`, :mod:`jpeg`, :mod:`tags`, :mod:`libtiff`, :mod:`tiff_chunks`,
:mod:`tiff`, :mod:`pnm`, :mod:`bmp`, :mod:`plugin`, :mod:`shown`, :mod:`files`.
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
    decode_image,
    look_at_image,
    open_image,
    read_image,
)
from nescio.decode.raster import Opened, Pixels
from nescio.decode.shown import Decoded, Measure, bytes_of, finish, measure, to_channels

__all__ = [
    "COLOURS",
    "DEFAULT",
    "FORMATS",
    "MAX_PIXELS",
    "MOST_PIXELS",
    "OLDER",
    "Decoded",
    "Decoding",
    "Look",
    "Measure",
    "Opened",
    "Pixels",
    "ValueRange",
    "bytes_of",
    "decode_image",
    "finish",
    "look_at_image",
    "measure",
    "name_of",
    "open_image",
    "parse_background",
    "parse_value_range",
    "read_image",
    "to_channels",
]
