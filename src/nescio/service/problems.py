"""What went wrong, as RFC 9457 has it: ``application/problem+json``.

Nothing of the inside is told: no path, no traceback, no version.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"

BUSY_SECONDS = 1
"""After how long to try again, where nothing better is known."""


class Problem(Exception):  # noqa: N818 - as the RFC calls it
    """A request that is not answered as asked.

    Attributes:
        status: The HTTP status.
        detail: One line: what was expected, what came, the mend.
        headers: To be sent with it.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer to the client."""
        content = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return JSONResponse(content, self.status, self.headers, media_type=MEDIA_TYPE)


def busy(detail: str, seconds: float = BUSY_SECONDS) -> Problem:
    """The server has too much to do: 503, with the time after which to try again."""
    return Problem(503, detail, {"Retry-After": str(max(1, round(seconds)))})


async def tell_problem(_: Request, error: Exception) -> Response:
    """The answer for a :class:`Problem`; here, as Starlette would start a thread for each."""
    assert isinstance(error, Problem)  # noqa: S101 - it is registered for these
    return error.response()


async def tell_http(_: Request, error: Exception) -> Response:
    """The answer for what Starlette refuses: no such page, no such method, a damaged form."""
    assert isinstance(error, HTTPException)  # noqa: S101 - likewise
    return Problem(error.status_code, error.detail, error.headers).response()


async def tell_invalid(_: Request, error: Exception) -> Response:
    """The answer for parameters of a query that do not fit."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
    return Problem(422, first_fault(error.errors())).response()


def first_fault(errors: Any) -> str:
    """The first of Pydantic's errors, in one line: where, and what."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
