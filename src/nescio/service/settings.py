"""How to serve, in one object that a worker can be given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from nescio.errors import UsageError
from nescio.service.limits import Limits
from nescio.service.logs import Log
from nescio.service.security import Security

LINGER_SECONDS = 0.3
"""How long a worker that ends still answers on connections that it has, and asks their clients to
close them, before it closes those on which nothing is asked: so none is cut while it asks."""

SLACK_SECONDS = 2.0
"""What a worker may take beyond its grace until it is ended by force."""

INTERRUPTED = 130
"""The exit status after a second Ctrl-C."""

QUEUE_SIZE = 2048
"""Connections that the system keeps until they are accepted."""


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Attributes:
        models: What is served: ``FILE`` or ``NAME=FILE`` each.
        host: The address to listen at.
        port: Likewise; 0 for one that is free.
        workers: Processes that answer.
        threads: That PyTorch uses in each; ``None`` for their share of the cores.
        grace: Seconds that requests under way are given to be finished when the service ends.
        log: How much is logged.
        log_json: One JSON object a line instead of text.
        proxies: Addresses whose word on a client's address (X-Forwarded-For) is taken.
        limits: What a request may ask for.
        batch_delay_ms: How long the first of a batch waits for others, in milliseconds.
        queue_images: That may wait in each process.
        security: Who may ask.
        formats: That image files may have.
        network: A model's own network code that is allowed.
        device: Where to compute.
        precision: How precisely.

    Raises:
        UsageError: A number is out of range.
    """

    models: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int | None = None
    grace: float = 30.0
    log: Log = "requests"
    log_json: bool = False
    proxies: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    batch_delay_ms: float = 2.0
    queue_images: int = 2000
    security: Security = field(default_factory=Security)
    formats: tuple[str, ...] = ("png", "jpeg", "bmp", "webp")
    network: str | None = None
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} must be at least 1, got {value}")
        if not 1 <= self.grace <= 3600:
            raise UsageError(f"--grace must be seconds from 1 to 3600, got {self.grace:g}")


@dataclass(frozen=True)
class Place:
    """Where a worker stands among others.

    Attributes:
        slot: Its number, from 0.
        folder: Where all keep their figures; ``None`` for a process that is alone.
    """

    slot: int = 0
    folder: Path | None = None


@dataclass(frozen=True)
class Job:
    """What a worker is told, in one line of JSON.

    Attributes:
        factory: ``module:function`` that makes a service of settings and a place.
        settings: How to serve.
        place: Among the other workers.
        socket: The file descriptor of the socket that listens.
    """

    factory: str
    settings: Settings
    place: Place
    socket: int

    def to_json(self) -> bytes:
        """One line."""
        return TypeAdapter(Job).dump_json(self) + b"\n"

    @staticmethod
    def from_json(line: bytes) -> Job:
        """What :meth:`to_json` wrote."""
        return TypeAdapter(Job).validate_json(line)
