"""Ask an HTTP server over many connections at once, and see how long it takes.

    python benchmarks/load.py --port 8000 --path /v1/predict --images FOLDER --connections 64

Each connection is kept and asks again as soon as it is answered. It uses little of the processor
itself: requests are made beforehand, and of an answer only the status and the length are read.
Prints one JSON object: what was answered, refused and lost, and each latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

BOUNDARY = b"nescio-benchmark-boundary"


@dataclass
class Load:
    """What came of it.

    Attributes:
        seconds: From the first request to the last answer.
        statuses: How many answers had each status.
        lost: Requests whose connection ended before the answer.
        refused: Times that no connection was had.
        ended: When each answer with status 200 had come, in seconds from the start.
        latency: How long each of them took, in milliseconds.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    refused: int = 0
    ended: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)


def make_request(path: str, body: bytes, form: str) -> bytes:
    """One PNG file as a request: ``raw``, or ``multipart`` as browsers upload."""
    kind = b"image/png"
    if form == "multipart":
        head = b'Content-Disposition: form-data; name="image"; filename="0.png"'
        part = b"\r\n".join([b"--" + BOUNDARY, head, b"Content-Type: image/png", b"", body])
        body = part + b"\r\n--" + BOUNDARY + b"--\r\n"
        kind = b"multipart/form-data; boundary=" + BOUNDARY
    lines = [
        b"POST %s HTTP/1.1" % path.encode(),
        b"Host: localhost",
        b"Content-Type: " + kind,
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def drive(
    host: str, port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> Load:
    """Ask for so many seconds; what was asked by then is waited for."""
    load, numbers, began = Load(), count(), time.perf_counter()

    async def ask() -> None:
        while time.perf_counter() - began < seconds:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                load.refused += 1
                await asyncio.sleep(0.05)
                continue
            try:
                while time.perf_counter() - began < seconds:
                    asked = time.perf_counter()
                    writer.write(requests[next(numbers) % len(requests)])
                    status = await _read_answer(reader)
                    load.statuses[status] += 1
                    if status == 200:
                        now = time.perf_counter()
                        load.ended.append(round(now - began, 4))
                        load.latency.append(round(1000 * (now - asked), 3))
            except (OSError, asyncio.IncompleteReadError):
                load.lost += 1
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    await asyncio.gather(*(ask() for _ in range(connections)))
    load.seconds = time.perf_counter() - began
    return load


async def _read_answer(reader: asyncio.StreamReader) -> int:
    """Its status; its body is read and forgotten."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/predict")
    parser.add_argument("--images", type=Path, required=True, help="a folder of PNG files")
    parser.add_argument("--form", choices=("raw", "multipart"), default="multipart")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    files = sorted(given.images.glob("*.png"))
    requests = [make_request(given.path, file.read_bytes(), given.form) for file in files]
    load = asyncio.run(drive(given.host, given.port, requests, given.connections, given.seconds))
    print(json.dumps(vars(load)))


if __name__ == "__main__":
    main()
