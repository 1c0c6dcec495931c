"""uvicorn's HTTP, with less patience and answers in our form."""

from __future__ import annotations

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""In which the head of a request must have come; uvicorn would wait for ever."""

HEAD_BYTES = 2**16
"""That it may have; the parser has no limit of its own."""

PROBLEM = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "this is not a request in HTTP/1.1",
}


class Protocol(HttpToolsProtocol):
    """One connection."""

    _patience: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Read on; a head that does not end is no request."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there; what comes next is another head."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and wait for a request."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Answer what is not HTTP."""
        if self.cycle is None or self.cycle.response_complete:  # else an answer is under way
            body = json.dumps(PROBLEM).encode("ascii")
            head = (
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _wait(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        seconds = max(HEAD_SECONDS, self.timeout_keep_alive)
        self._patience = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        """Close, unless a request is being answered, for which others look after the time."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
