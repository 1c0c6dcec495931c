"""What comes in a request's body: images and parameters, by what it says and what it holds."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from pydantic import ValidationError
from starlette.requests import Request

from nescio.decode.foreign import is_image
from nescio.service import wire
from nescio.service.forms import Part, read_parts
from nescio.service.images import MEDIA_TYPES, Given
from nescio.service.limits import Limits
from nescio.service.problems import Problem, first_fault

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SMALL_BODY = 2**14
"""Bytes of requests that are parsed on the spot, in less time than another thread takes to begin.
No image is decoded there."""

PARTS, FIELDS = 1000, 16
"""Parts of a form beyond two for each image that is taken; of them so many may be parameters."""

UNTOLD = (
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-www-form-urlencoded",
)
"""Content types that say nothing: what a body is, is seen in it. The last is what curl says of any
file."""

_JSON = ("application/json", "text/json")

_STATUS_OF_FAULT = {"json_invalid": 400, "too_long": 413}
"""By Pydantic's name; of others 422."""

_SHOWN = 64
"""Characters of what a client made up that stand in an answer."""


async def read_body(
    request: Request, limits: Limits, formats: tuple[str, ...], readers: Executor
) -> tuple[list[Given], dict[str, Any]]:
    """The images and parameters in a body.

    Args:
        request: Not yet read.
        limits: On the number of images, and of numbers in JSON.
        formats: Of image files that are read, for messages.
        readers: Threads for what takes longer.

    Raises:
        Problem: It cannot be read, or there are no images in it, or too many.
        ClientDisconnect: The client went away.
    """
    if request.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise Problem(415, "a body is taken as it is: send no Content-Encoding")
    whole_kind = request.headers.get("content-type", "")
    kind = whole_kind.partition(";")[0].strip().lower()
    own: dict[str, Any] = {}
    if kind == "multipart/form-data":
        parts = await read_parts(request.stream(), whole_kind, PARTS + 2 * limits.images)
        given, own = read_form(parts)
    elif not (kind in (*_JSON, *UNTOLD) or kind.endswith("+json") or kind.startswith("image/")):
        raise Problem(
            415,
            f"{_shown(kind)} is not taken: send images as multipart/form-data, as "
            f"application/json, or one as application/octet-stream, "
            f"{', '.join(t for t, form in MEDIA_TYPES.items() if form in formats)}",
        )
    else:
        body = await request.body()
        # SVG is XML, and no JSON: only what says nothing of itself is looked at.
        if kind in _JSON or kind.endswith("+json") or (kind in UNTOLD and _looks_like_json(body)):
            if len(body) <= SMALL_BODY:
                given, own = read_json(body, limits)
            else:
                given, own = await in_thread(readers, read_json, body, limits)
        else:
            given = [Given("0", body)]
    if not given:
        raise Problem(422, "there is no image in the request")
    if len(given) > limits.images:
        raise Problem(
            413,
            f"a request may have {limits.images} images, got {len(given)}; send several",
        )
    return given, own


def read_json(body: bytes, limits: Limits) -> tuple[list[Given], dict[str, Any]]:
    """The images and parameters in JSON.

    Raises:
        Problem: It is not what is asked for (400, 413 or 422).
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    # Counted before anything is built: two bytes of text become an object of fifty and more.
    if (
        body.count(b",") > limits.numbers
        or body.count(b"[") + body.count(b"{") > limits.numbers // 5
    ):
        raise Problem(
            413,
            f"JSON may hold {limits.numbers:,} numbers, in {limits.numbers // 5:,} lists and "
            "objects; send images as files or in base64",
        )
    try:
        asked = wire.PredictIn.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        status = _STATUS_OF_FAULT.get(faults[0]["type"], 422)
        raise Problem(status, first_fault(faults)) from None
    given = []
    for place, image in enumerate(asked.images):
        content = [one for one in (image.pixels, image.base64) if one is not None]
        if len(content) != 1 or not isinstance(content[0], list | str):
            raise Problem(422, f"images.{place}: give either pixels, as rows, or base64")
        if image.pixels is not None and not isinstance(image.pixels, list):
            raise Problem(422, f"images.{place}: pixels must be rows of numbers")
        given.append(Given(str(place) if image.name is None else image.name, content[0]))
    return given, asked.model_dump(exclude_unset=True, exclude={"images"})


def read_form(parts: list[Part]) -> tuple[list[Given], dict[str, Any]]:
    """The images and parameters in a form.

    Raises:
        Problem: A parameter does not fit, or what is sent is neither (400 or 422).
    """
    given: list[Given] = []
    fields: dict[str, str] = {}
    for part in parts:
        if _holds_image(part):
            if part.filename or part.content:  # a browser sends a field without a file so
                given.append(Given((part.filename or str(len(given)))[:256], part.content))
        elif part.content[:5].lower() == b"data:" and part.name not in wire.Parameters.model_fields:
            text = part.content.decode("latin-1")  # what is no base64 is told as such
            given.append(Given(str(len(given)), text))
        else:
            fields[part.name] = part.content.decode("utf-8", "replace")
    if len(fields) > FIELDS:
        raise Problem(400, f"a form may have {FIELDS} fields besides images, got {len(fields)}")
    for name in fields:
        if name not in wire.Parameters.model_fields:
            raise Problem(
                422,
                f"the form's field {_shown(name)} is no parameter "
                f"({', '.join(wire.Parameters.model_fields)}) and holds no image; send images as "
                "files, with a file name",
            )
    return given, read_parameters(fields)


def read_parameters(fields: Mapping[str, str]) -> dict[str, Any]:
    """Those that are given.

    Raises:
        Problem: One does not fit (422).
    """
    if not fields:
        return {}
    try:
        return wire.Parameters.model_validate(fields).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise Problem(422, first_fault(error.errors(include_url=False))) from None


async def in_thread(threads: Executor, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """The function's result, from one of the threads."""
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


def _holds_image(part: Part) -> bool:
    """Whether a part is a file, though it may not say so."""
    return (
        part.filename is not None
        or part.media_type.startswith("image/")
        or part.media_type in UNTOLD[1:3]
        or (part.name not in wire.Parameters.model_fields and is_image(part.content))
    )


def _looks_like_json(body: bytes) -> bool:
    return body[:64].removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{"


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
