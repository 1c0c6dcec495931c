"""Forms with files (``multipart/form-data``), by the standard or nearly so."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from nescio.service.problems import Problem

_EXTENDED_NAME = re.compile(rb"""filename\*\s*=\s*"?([\w.:+-]*)'[^']*'([^;"\s]*)""", re.IGNORECASE)
"""RFC 5987: the character set and the name, percent-encoded. RFC 7578 forbids it in forms, and some
clients send nothing else."""


@dataclass(frozen=True)
class Part:
    """One part of a form.

    Attributes:
        name: Of the field; empty where it has none.
        filename: Of the file, empty where the client gives it none; ``None`` where the part does
            not say that it is a file.
        media_type: In small letters; empty where it says none.
        content: Its bytes.
    """

    name: str
    filename: str | None
    media_type: str
    content: bytes


async def read_parts(body: AsyncIterable[bytes], content_type: str, most: int) -> list[Part]:
    """The parts of a form, in their order.

    Args:
        body: In pieces, as they come.
        content_type: The request's header, which says what is between parts.
        most: So many parts are taken.

    Raises:
        Problem: It is no such form, or ends early (400), or has more parts (413).
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Problem(400, "multipart/form-data must name its boundary in Content-Type")
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for piece in body:
            parser.write(piece)
    except FormParserError:
        raise Problem(400, "the form is not valid multipart/form-data") from None
    if not form.whole:
        raise Problem(400, "the form ends before its last boundary; send it whole")
    return form.parts


@dataclass
class _Form:
    """What the parser found so far."""

    most: int
    parts: list[Part] = field(default_factory=list)
    whole: bool = False
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _content: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._content.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.parts) == self.most:
            raise Problem(413, f"a form may have {self.most:,} parts; send several forms")
        self._headers, self._content = {}, bytearray()

    def _end_header(self) -> None:
        self._headers[bytes(self._name).strip().lower()] = bytes(self._value).strip()
        self._name, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        media_type = self._headers.get(b"content-type", b"").partition(b";")[0]
        self.parts.append(
            Part(
                _text(parse_options_header(disposition)[1].get(b"name", b"")),
                _file_name(disposition),
                _text(media_type).strip().lower(),
                bytes(self._content),
            )
        )

    def _finish(self) -> None:
        self.whole = True


def _file_name(disposition: bytes) -> str | None:
    plain = parse_options_header(disposition)[1].get(b"filename")
    if plain is not None:
        return _text(plain)
    extended = _EXTENDED_NAME.search(disposition)
    if extended is None:
        return None
    try:
        return unquote(extended[2].decode("ascii"), extended[1].decode("ascii") or "utf-8")
    except (LookupError, ValueError):
        return ""


def _text(name: bytes) -> str:
    """UTF-8, as browsers write it, or else the character set of old."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")
