"""The service's log: one line for each request and each event, on stderr.

No line holds a query, a header or a body, so no key; what a client made up is escaped.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

from nescio.service.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

Log = Literal["requests", "events", "errors"]
"""How much is logged: everything, or no requests, or what went wrong alone."""

LEVELS: dict[str, int] = {
    "requests": logging.INFO,
    "events": logging.INFO,
    "errors": logging.WARNING,
}

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines; logged only where they fail."""

SHOWN = 200
"""Characters of a path that are logged."""

GONE = 499
"""The status of a request whose client went away before its answer began, as nginx has it."""

logger = logging.getLogger("nescio.service")
requests = logging.getLogger("nescio.service.requests")


def set_up_logs(log: Log, *, as_json: bool) -> None:
    """Send the log of this process to stderr.

    Args:
        log: How much.
        as_json: One JSON object a line instead of text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines() if as_json else Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logger.setLevel(LEVELS[log])
    requests.setLevel(logging.INFO if log == "requests" else logging.CRITICAL)
    # uvicorn tells at level INFO what we tell ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class Observer:
    """Measures and logs what an application answers.

    Args:
        app: The application.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGI, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, sent, began = GONE, 0, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        self._metrics.began()
        try:
            await self._app(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - began
            method, path = scope["method"], scope["path"]
            self._metrics.ended(method, path, status, seconds)
            if path not in PROBES or status >= 400:
                _log_request(scope, status, sent, seconds)


class Lines(logging.Formatter):
    """``TIME MESSAGE``, or ``TIME LEVEL: MESSAGE`` where something went wrong."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows it."""
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return f"{_when(record)} {level}{super().format(record)}"


class JSONLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, with a traceback in it."""
        content = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "process": record.process,
        }
        fields = getattr(record, "fields", None)
        content |= {"message": record.getMessage()} if fields is None else fields
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=True)


def _log_request(scope: Scope, status: int, sent: int, seconds: float) -> None:
    client = scope.get("client")
    fields = {
        "client": client[0] if client else "-",
        "method": _escaped(scope["method"]),
        "path": _escaped(scope["path"]),
        "status": status,
        "bytes": sent,
        "ms": round(1000 * seconds, 1),
    }
    requests.info(
        "%(client)s %(method)s %(path)s %(status)d %(bytes)d bytes %(ms).1f ms",
        fields,
        extra={"fields": fields},
    )


def _escaped(text: str) -> str:
    """Printable ASCII without blanks, and not too long: nobody writes lines into our log."""
    shown = text[:SHOWN].encode("unicode_escape").decode("ascii").replace(" ", "\\x20")
    return f"{shown}..." if len(text) > SHOWN else shown


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
