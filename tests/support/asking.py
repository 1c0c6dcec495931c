"""Asking the service without a network."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

import nescio
from nescio.service.models import Models, Source


def png(pixels: Any, form: str = "PNG", **options: Any) -> bytes:
    """An image file of ``(H, W)`` or ``(H, W, 3)`` uint8."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, form, **options)
    return file.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def models_of(classifier: nescio.Classifier, *names: str) -> Models:
    """The classifier under each of the names."""
    sources = [Source(name, Path(f"{name}.nescio")) for name in names or ("stripes",)]
    return Models(sources, lambda _: classifier)


@contextmanager
def asking(app: FastAPI) -> Iterator[TestClient]:
    """A client; what fails in the server is an answer, not an exception."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


class Asked:
    """What an ASGI application did with a request given to it piece by piece."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.pieces_read = 0


async def ask_raw(
    app: Any,
    path: str,
    pieces: Sequence[bytes] | AsyncIterator[bytes],
    headers: Mapping[str, str],
    *,
    gone: asyncio.Event | None = None,
) -> Asked:
    """A POST whose body comes in pieces, whatever its headers say.

    Args:
        app: The application.
        path: Where to.
        pieces: Of the body; what waits between them makes a slow client.
        headers: Names in small letters.
        gone: When set, the client goes away; it stays where there is none.
    """
    asked = Asked()

    async def each() -> AsyncIterator[bytes]:
        if isinstance(pieces, Sequence):
            for piece in pieces:
                yield piece
        else:
            async for piece in pieces:
                yield piece

    source = each()
    done = False

    async def receive() -> dict[str, Any]:
        nonlocal done
        if done:
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        try:
            piece = await anext(source)
        except StopAsyncIteration:
            done = True
            return {"type": "http.request", "body": b"", "more_body": False}
        asked.pieces_read += 1
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            asked.status = message["status"]
            asked.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            asked.body += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1234),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    return asked
