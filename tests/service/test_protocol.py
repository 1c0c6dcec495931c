"""Connections that send nothing, too little, or no HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")
import uvicorn
from uvicorn.server import ServerState

from nescio.service import protocol

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.5)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connected() -> AsyncIterator[Streams]:
    config = uvicorn.Config(
        slow_app, http=protocol.Protocol, lifespan="off", timeout_keep_alive=0, log_config=None
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol.Protocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def say(content: bytes) -> bytes:
    async with connected() as (reader, writer):
        writer.write(content)
        return await asyncio.wait_for(reader.read(), 5)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)


@pytest.mark.parametrize("content", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_ends_the_connection(content: bytes) -> None:
    assert asyncio.run(say(content)) == b""


def test_an_answer_may_take_longer_than_the_head() -> None:
    told = asyncio.run(say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert told.startswith(b"HTTP/1.1 200")
    assert told.endswith(b"\r\n\r\nok")


def test_the_head_of_a_second_request_must_come_too() -> None:
    told = asyncio.run(say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTT"))
    assert told.count(b"HTTP/1.1 200") == 1


def test_what_is_not_http_is_a_problem() -> None:
    head, body = asyncio.run(say(b"\x16\x03\x01 hello\r\n\r\n")).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400
