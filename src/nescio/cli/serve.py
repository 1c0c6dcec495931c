"""``nescio serve``: models behind HTTP, and a page on which to try them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_result
from nescio.errors import UsageError
from nescio.files import parse_bytes

if TYPE_CHECKING:
    from nescio.service.limits import Limits

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
"""What the extra ``serve`` brings."""


@Parameter(name="*", group="Processes")
@dataclass(frozen=True)
class Processes:
    """Who answers, and what is told of it."""

    workers: int = 1
    """Processes that answer, each with the models in its own memory."""

    threads: int | None = None
    """Threads of PyTorch in each. [their share of the cores]"""

    grace: float = 30.0
    """When it is to end: seconds to finish what was asked before."""

    log: Literal["requests", "events", "errors"] = "requests"
    """What is logged, on stderr: each request and all else, or no requests, or errors alone."""

    log_json: Annotated[bool, Parameter(negative="")] = False
    """Log one JSON object a line."""

    proxy: tuple[str, ...] = ()
    """Believe this address, or network, what X-Forwarded-For says of who asks; may be repeated."""


@Parameter(name="*", group="Requests")
@dataclass(frozen=True)
class Requests:
    """What a request may ask for; what is beyond it is refused."""

    max_body: str = "10M"
    """Bytes of a request, such as 500K or 20M."""

    max_pixels: int = 25_000_000
    """Pixels of an image, looked at before it is decoded; four times as many in a request."""

    max_images: int = 64
    """Images of a request."""

    max_samples: int = 1000
    """Networks drawn for a request."""

    rate: float | None = None
    """Requests a second that one client may make on average. [any number]"""

    burst: int = 20
    """With --rate: requests that it may make at once."""

    timeout: float = 30.0
    """Seconds until an answer; after them the request is given up."""

    queue: int = 2000
    """Images that may wait in each process."""

    batch_delay: float = 2.0
    """Milliseconds that a request waits for others, to be answered together with them."""


def serve(
    *models: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    network: str | None = None,
    api_key_file: Path | None = None,
    allow_host: tuple[str, ...] = (),
    origin: tuple[str, ...] = (),
    formats: str = "png,jpeg,bmp,webp",
    device: str = "auto",
    precision: str = "auto",
    requests: Requests = Requests(),
    processes: Processes = Processes(),
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Answer over HTTP, and show a page on which to draw and see the answer.

    It needs pip install 'nescio[serve]'. SIGHUP reads the models anew, SIGTERM and Ctrl-C finish
    what was asked and end.

    Parameters
    ----------
    models
        Model files, each FILE or NAME=FILE; the first answers where a request names none.
    host
        The address to bind to. Only this machine reaches the default.
    port
        The port; 0 for any that is free.
    network
        Allow a model's own network code: module:factory or timm:NAME.
    api_key_file
        Ask for the key in this file. [the environment variable NESCIO_API_KEY, or no key]
    allow_host
        Answer to this name, too, as it stands in a browser's address; may be repeated. [localhost
        and its addresses where only this machine has access, else any]
    origin
        Let pages of this origin ask (CORS), such as https://example.org; may be repeated.
    formats
        Of image files that are read: some of png, jpeg, bmp, webp, gif, tiff, ppm.
    device
        auto, cpu, cuda or mps.
    precision
        float32, bfloat16, or auto.
    quiet
        No notes, and no log but of errors.
    """
    require_serve()
    from nescio.service.security import Security, allowed_hosts, is_loopback
    from nescio.service.serve import serve as run
    from nescio.service.settings import Settings

    key = _read_key(api_key_file)
    if key is None and not is_loopback(host):
        note = f"anyone who reaches {host} may ask: there is no key (--api-key-file)"
        make_reporter(quiet=quiet).note(note)
    settings = Settings(
        models,
        host,
        port,
        workers=processes.workers,
        threads=processes.threads,
        grace=processes.grace,
        log="errors" if quiet else processes.log,
        log_json=processes.log_json,
        proxies=processes.proxy,
        limits=_limits(requests),
        batch_delay_ms=requests.batch_delay,
        queue_images=requests.queue,
        security=Security(key, allowed_hosts(host, allow_host), origin),
        formats=tuple(formats.split(",")),
        network=network,
        device=device,
        precision=precision,
    )
    return run(settings, _announce)


def _limits(requests: Requests) -> Limits:
    from nescio.service.limits import Limits

    return Limits(
        body_bytes=parse_bytes(requests.max_body, "--max-body"),
        pixels=requests.max_pixels,
        request_pixels=4 * requests.max_pixels,
        images=requests.max_images,
        samples=requests.max_samples,
        rate=requests.rate,
        burst=requests.burst,
        seconds=requests.timeout,
    )


def _announce(where: str) -> None:
    print_result(f"nescio serves at {where}")
    sys.stdout.flush()


def require_serve() -> None:
    """Fail before work is done, if what is needed is not installed.

    Raises:
        UsageError: Something is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"serving needs {', '.join(missing)}; install it with pip install 'nescio[serve]'"
        )


def _read_key(file: Path | None) -> str | None:
    if file is None:
        key, where = os.environ.get("NESCIO_API_KEY", ""), "NESCIO_API_KEY"
        if not key:
            return None
    else:
        key, where = file.read_text(encoding="utf-8", errors="replace").strip(), str(file)
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        raise UsageError(
            f"{where}: expected an API key of letters, digits and signs without spaces; make one "
            "with openssl rand -hex 32"
        )
    return key
