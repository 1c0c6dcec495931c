"""``nescio serve``: models behind HTTP, and a page on which to try them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter
from nescio.errors import UsageError

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
"""What the extra ``serve`` brings."""


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
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Answer over HTTP, and show a page on which to draw and see the answer.

    It needs pip install 'nescio[serve]'.

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
        No notes.
    """
    require_serve()
    import uvicorn

    from nescio.classifier import load_model
    from nescio.service.app import create_app
    from nescio.service.images import check_formats
    from nescio.service.models import Models, Source
    from nescio.service.security import Security, allowed_hosts, is_loopback

    reporter = make_reporter(quiet=quiet)
    key = _read_key(api_key_file)
    security = Security(key, allowed_hosts(host, allow_host), origin)
    chosen = check_formats(formats.split(","))
    loaded = Models(
        [Source.parse(text) for text in models],
        lambda path: load_model(path, network, device=device, precision=precision),
    )
    if key is None and not is_loopback(host):
        reporter.note(f"anyone who reaches {host} may ask: there is no key (--api-key-file)")
    app = create_app(loaded, security=security, formats=chosen)
    reporter.note(f"serving {', '.join(loaded.names)} at http://{host}:{port}/")
    uvicorn.run(
        app,
        host=host,
        port=port,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_level="warning",
    )


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
        return os.environ.get("NESCIO_API_KEY") or None
    key = file.read_text(encoding="utf-8").strip()
    if not key:
        raise UsageError(f"{file}: expected an API key in it, it is empty")
    return key
