"""libtiff, behind Pillow, writes of damage on the standard error and goes on; here it is heard.

It has one handler for the whole process: from the first TIFF on, it writes nothing any more.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import PIL._imaging

from nescio.errors import UnreadableImage

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
"""Of a module, a format as ``printf`` takes it, and its arguments."""

_heard = threading.local()
"""Whether libtiff told of damage in this thread: it calls in the one that decodes."""


@contextmanager
def damage_heard() -> Iterator[None]:
    """Within it, damage that libtiff passes over is an error, and is written nowhere.

    Raises:
        UnreadableImage: There was some.
    """
    _listen()
    _heard.damage = False
    yield
    if _heard.damage:
        raise UnreadableImage("its pixels are damaged")


def _hear(_module: bytes, _format: bytes, _arguments: int) -> None:
    _heard.damage = True


_KEPT = _HANDLER(_hear)
"""What libtiff calls, and so must stay."""


@cache
def _listen() -> None:
    """Let libtiff tell us; where it cannot be reached, it goes on writing."""
    try:
        # What the library of Pillow is linked with is found through it.
        libtiff = ctypes.CDLL(PIL._imaging.__file__)
        libtiff.TIFFSetErrorHandler(_KEPT)
        libtiff.TIFFSetWarningHandler(None)
    except (OSError, AttributeError):
        return
