"""Serve: the socket, and one process or several behind it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import resource
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from nescio.errors import UsageError
from nescio.service.logs import set_up_logs
from nescio.service.settings import QUEUE_SIZE, Place, Settings
from nescio.service.worker import make_service, serve_here
from nescio.service.workers import Supervisor

FACTORY = "nescio.service.factory:ModelService"
"""Makes what is served."""

CONNECTIONS = 65_536
"""Open files, and so connections, that we ask the system for."""

_MENDS = {
    errno.EADDRINUSE: "something listens there already; "
    "choose another port, or 0 for one that is free",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 is all that it has",
    socket.EAI_NONAME: "no address of this machine has that name",
    errno.EACCES: "the system does not allow it; ports from 1024 are for everyone",
}
"""Why nothing can listen somewhere, and what to do."""


def serve(settings: Settings, announce: Callable[[str], None], *, factory: str = FACTORY) -> int:
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
    _allow_connections()
    listener = listen(settings.host, settings.port)

    def ready() -> None:
        announce(address(listener))
        tell_systemd("READY=1")

    with listener:
        if settings.workers == 1:
            serve_here(make_service(factory, settings, Place()), listener, settings, ready)
            return 0
        with tempfile.TemporaryDirectory(prefix="nescio-", ignore_cleanup_errors=True) as folder:
            return asyncio.run(Supervisor(factory, settings, listener, Path(folder), ready).run())


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
        return _listener(family, host, port)
    except OSError as error:
        raise UsageError(f"{where}: {_MENDS.get(error.errno or 0, error.strerror)}") from error


def _listener(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # Of a socket that is not said to be TCP asyncio leaves Nagle's algorithm on: an answer in two
    # parts would wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(QUEUE_SIZE)
    except OSError:
        listener.close()
        raise
    return listener


def address(listener: socket.socket) -> str:
    """Where a browser finds what listens there."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _allow_connections() -> None:
    """Open as many files as the system lets us: each connection is one, and 1024 are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = CONNECTIONS if hard == resource.RLIM_INFINITY else min(CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def tell_systemd(state: str) -> None:
    """What ``sd_notify`` does, where a unit of Type=notify started this process."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(state.encode("ascii"), path.replace("@", "\0", 1))
