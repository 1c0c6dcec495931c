"""The client of the serving benchmark counts what it is told."""

import asyncio
import json
from contextlib import suppress
from itertools import count

import load
import pytest


@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_answers_refusals_and_losses_are_counted(form: str) -> None:
    seen: list[bytes] = []
    under_way: list[int] = []
    numbers = count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.append(0)
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            seen.append(head + await reader.readexactly(length))
            number = next(numbers)
            if number % 10 == 5:
                break  # the connection ends before the answer
            status = b"503 Busy" if number % 10 == 3 else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
            await asyncio.sleep(0.002)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        under_way.pop()

    async def main() -> load.Load:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        requests = [load.make_request("/v1/predict", b"image", form)]
        async with server:
            found = await load.drive("127.0.0.1", port, requests, connections=3, seconds=0.2)
            while under_way:  # until all connections are closed on this side, too
                await asyncio.sleep(0.01)
            return found

    found = asyncio.run(main())
    answered = [number for number in range(len(seen)) if number % 10 != 5]
    assert found.lost == len(seen) - len(answered) > 0
    assert found.statuses[503] == sum(number % 10 == 3 for number in answered) > 0
    assert found.statuses[200] == len(found.latency) == len(found.ended)
    assert found.statuses.total() == len(answered)
    assert found.refused == 0
    assert min(found.latency) > 0
    assert max(found.ended) <= found.seconds
    assert json.loads(json.dumps(vars(found)))["statuses"]["200"] == found.statuses[200]
    assert b"image" in seen[0]
    assert (b'filename="0.png"' in seen[0]) == (form == "multipart")
