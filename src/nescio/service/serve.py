"""Serve: the socket, and one process or several behind it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from nescio.errors import UsageError
from nescio.service.logs import set_up_logs
from nescio.service.settings import Settings
from nescio.service.worker import QUEUE_SIZE, Place, make_service, serve_here
from nescio.service.workers import Supervisor

FACTORY = "nescio.service.factory:make"
"""Makes what is served."""


def serve(
    settings: Settings, announce: Callable[[str], None], *, factory: str = FACTORY
) -> int:
    """Serve until a signal ends it.

    Args:
        settings: How.
        announce: Told where, once requests are answered.
        factory: ``module:function`` that makes a service of settings and a place.

    Returns:
        The exit status.

    Raises:
        UsageError: Nothing can listen there.
        ModelFileError: A model cannot be read.
        ServiceError: No worker could start.
    """
    set_up_logs(settings.log, as_json=settings.log_json)
    listener = listen(settings.host, settings.port)
    with listener:
        where = address(listener)
        if settings.workers == 1:
            service = make_service(factory, settings, Place())
            serve_here(service, listener, settings, lambda: announce(where))
            return 0
        with tempfile.TemporaryDirectory(prefix="nescio-", ignore_cleanup_errors=True) as folder:
            ready = lambda: announce(where)  # noqa: E731
            return asyncio.run(
                Supervisor(factory, settings, listener, Path(folder), ready).run()
            )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Args:
        host: An address or a name of this machine.
        port: Up to 65535; 0 for any that is free.

    Raises:
        UsageError: It cannot be had; says why, and what to do.
    """
    where = f"--host {host} --port {port}"
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: expected a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=QUEUE_SIZE)
    except socket.gaierror as error:
        raise UsageError(f"--host {host}: no address of this machine has that name") from error
    except OSError as error:
        raise UsageError(f"{where}: {_MENDS.get(error.errno or 0, error.strerror)}") from error


_MENDS = {
    errno.EADDRINUSE: "something listens there already; "
    "choose another port, or 0 for one that is free",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 is all that it has",
    errno.EACCES: "the system does not allow it; ports from 1024 are for everyone",
}


def address(listener: socket.socket) -> str:
    """Where a browser finds what listens there."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
