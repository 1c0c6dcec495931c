"""One process that answers requests, alone or as one of several: ``python -m`` runs the latter.

A worker of several is told what to do in one JSON line on its standard input and tells its
supervisor on its standard output, in JSON lines too, when it serves or why it cannot. The
input stays open for as long as the supervisor lives: where it ends, so does the worker.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
import typing
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from nescio.errors import NescioError
from nescio.service.logs import ASGI, set_up_logs
from nescio.service.protocol import Protocol
from nescio.service.settings import (
    INTERRUPTED,
    LINGER_SECONDS,
    QUEUE_SIZE,
    SLACK_SECONDS,
    Job,
    Place,
    Settings,
)

logger = logging.getLogger(__name__)


class Service(typing.Protocol):
    """What a worker serves."""

    @property
    def app(self) -> ASGI:
        """The application."""
        ...

    def reload(self) -> None:
        """Read all models anew and put them in place; log what became of it. In any thread."""
        ...

    def drain(self) -> None:
        """From now on the service is not ready."""
        ...

    def tick(self) -> None:
        """Called ten times a second, in the event loop."""
        ...


def make_service(factory: str, settings: Settings, place: Place) -> Service:
    """The service that ``module:function`` makes, with its share of the processor."""
    from nescio.threads import use_cores

    module, _, name = factory.partition(":")
    use_cores(settings.threads, settings.workers)
    service: Service = getattr(importlib.import_module(module), name)(settings, place)
    return service


def serve_here(
    service: Service,
    listener: socket.socket,
    settings: Settings,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve in this process until a signal ends it.

    SIGTERM and Ctrl-C finish what is under way, a second Ctrl-C stops at once, SIGHUP reloads.

    Args:
        service: What to serve.
        listener: A socket that listens; it is closed in the end.
        settings: How to serve.
        ready: Called once requests are answered.
    """
    config = uvicorn.Config(
        service.app,
        loop="asyncio",
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        backlog=QUEUE_SIZE,
        timeout_keep_alive=max(1, round(settings.limits.keep_alive)),
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
    )
    server = Server(config, service, ready)

    def end(_number: int, _frame: FrameType | None) -> None:
        # In the end uvicorn raises the signal again that ended it; that must not kill us.
        if not server.started:
            sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.run([listener])


class FairListener(socket.socket):
    """A listening socket that gives out one connection each time the event loop looks.

    The event loop would take all that wait; so the other workers get their share.
    """

    _took = False

    def accept(self) -> tuple[socket.socket, typing.Any]:
        """Every other time as usual; between, as if no connection waited."""
        self._took = not self._took
        if not self._took:
            raise BlockingIOError
        return super().accept()


class Server(uvicorn.Server):
    """uvicorn's server; besides it reloads, and drains before it closes."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        wanted = threading.Event()
        threading.Thread(target=_reload_when, args=(wanted, self._service), daemon=True).start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, wanted.set)
        # A million objects of libraries stay until the end: to look through them for what nobody
        # uses any more took a tenth of a second, in which nothing was answered.
        gc.freeze()
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Look after what goes on, ten times a second."""
        self._service.tick()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End: at once where Ctrl-C comes again, else in good order."""
        if self.should_exit and sig == signal.SIGINT:
            os._exit(INTERRUPTED)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, let clients go, then finish what is under way."""
        self._service.drain()
        # The system would cut those that wait to be accepted.
        waiting = [one for listener in sockets or [] for one in _accept_waiting(listener)]
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection)
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes it for a new connection."""
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def main() -> int:
    """Be one worker of several."""
    tell = _open_reports()
    line = sys.stdin.buffer.readline()
    if not line:  # the supervisor is gone already
        return 1
    job = Job.from_json(line)
    settings, place = job.settings, job.place
    set_up_logs(settings.log, as_json=settings.log_json)
    alone = threading.Event()
    threading.Thread(target=_watch, args=(alone, settings.grace), daemon=True).start()
    listener = FairListener(fileno=job.socket)
    if place.folder is not None:
        from nescio.service.metrics import share_figures

        share_figures(place.folder, place.slot)
    try:
        service = make_service(job.factory, settings, place)
    except (NescioError, OSError) as error:
        tell({"error": " ".join(str(error).split())})
        return 2
    serve_here(service, listener, settings, lambda: tell({"ready": True}))
    if alone.is_set() and place.folder is not None:
        shutil.rmtree(place.folder, ignore_errors=True)
    return 0


def _open_reports() -> Callable[[dict[str, object]], None]:
    """A function that tells the supervisor; what else is printed goes to the log."""
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(report: dict[str, object]) -> None:
        reports.write(json.dumps(report) + "\n")
        reports.flush()

    return tell


def _watch(alone: threading.Event, grace: float) -> None:
    """Wait until the supervisor is gone; then end in good order, and in time."""
    # Not by way of sys.stdin, whose lock Python wants when it ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    alone.set()
    logger.error("the process that started this worker is gone; this one ends too")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace + LINGER_SECONDS + SLACK_SECONDS)
    os._exit(1)


def _accept_waiting(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait to be accepted at a socket that does not block."""
    accepted = []
    with suppress(OSError):
        while True:
            accepted.append(socket.socket.accept(listener)[0])
    for connection in accepted:
        connection.setblocking(False)
    return accepted


def _reload_when(wanted: threading.Event, service: Service) -> None:
    """Reload whenever it is wanted, one after another."""
    while wanted.wait():
        wanted.clear()
        try:
            service.reload()
        except Exception:
            logger.exception("the models could not be read anew; the old ones stay")


if __name__ == "__main__":
    sys.exit(main())
