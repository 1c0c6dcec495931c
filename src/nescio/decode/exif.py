"""The one thing that pixels need of EXIF: which way up they are to be shown."""

from __future__ import annotations

import struct

ORIENTATION = 0x0112
"""The tag: EXIF 2.32, section 4.6.4. From 5 on an image lies on its side."""

SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap height and width."""

_INTEGERS = {1: "B", 3: "H", 4: "I"}
"""Types of an entry: byte, short, long."""


def orientation_of(content: bytes) -> int:
    """From 1 to 8; 1 where the block is missing, damaged, or tells nothing.

    Args:
        content: The block, beginning with its byte order, or with ``Exif`` and two zeros.
    """
    if content.startswith(b"Exif\0\0"):
        content = content[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", content, place)
            if tag == ORIENTATION:
                if kind not in _INTEGERS or values != 1:
                    return 1
                (found,) = struct.unpack_from(f"{order}{_INTEGERS[kind]}", content, place + 8)
                return found if 1 <= found <= 8 else 1
    except struct.error:
        return 1
    return 1
