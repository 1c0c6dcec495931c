r"""What files are called in answers, tables and messages: one line of text that leads back to them.

On Linux a file name is bytes, of which Python makes text with lone surrogates; it may hold line
breaks, and what a terminal takes for commands. No encoding, table or terminal holds such text as it
is. So every byte of it that is not printable UTF-8 is written ``\xe9``, everywhere alike. Ordinary
names, also those with backslashes or in any script, stay as they are.
"""

from __future__ import annotations

import codecs
import re
from os import PathLike, fspath

_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, breaks of lines and paragraphs, what turns the direction of writing, and
bytes that are no UTF-8."""

_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
_PIECE = re.compile(rb"\\(\\|x[0-9a-f]{2})")

_KEPT = frozenset("\n\t")

STREAM_ERRORS = "nescio.names"
"""Of ``open`` and the like: how text is written where the encoding lacks its letters."""


def name_of(path: str | PathLike[str]) -> str:
    """What a file is called: its path, in printable text that :func:`path_of` reads.

    Where anything is escaped, or looks as if it were, backslashes are doubled.
    """
    text = fspath(path)
    if _ODD.search(text) is None and _ESCAPED.search(text) is None:
        return text
    return printable(text.replace("\\", "\\\\"))


def path_of(name: str) -> str:
    """The path of a file that :func:`name_of` calls ``name``."""
    if _ESCAPED.search(name) is None:
        return name
    found = _PIECE.sub(_byte, name.encode("utf-8", "surrogateescape"))
    return found.decode("utf-8", "surrogateescape")


def printable(text: str, *, lines: bool = False) -> str:
    """The text with all that is not printable escaped, for a reader.

    Args:
        text: Any.
        lines: Whether line breaks and tabs stay.
    """

    def escape(found: re.Match[str]) -> str:
        return found[0] if lines and found[0] in _KEPT else escaped(found[0])

    return _ODD.sub(escape, text)


def escaped(text: str) -> str:
    """The bytes of the text, as :func:`name_of` writes them."""
    return "".join(f"\\x{byte:02x}" for byte in _bytes(text))


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, which no file system of bytes gives
        return text.encode("utf-8", "surrogatepass")


def _byte(found: re.Match[bytes]) -> bytes:
    return b"\\" if found[1] == b"\\" else bytes([int(found[1][1:], 16)])


def _escape_rest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return escaped(error.object[error.start : error.end]), error.end


codecs.register_error(STREAM_ERRORS, _escape_rest)
