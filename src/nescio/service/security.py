"""Who may ask, how much, and what browsers are told: one layer around everything else."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nescio.service.limits import Limits
from nescio.service.problems import Problem, busy

logger = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every answer."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""What a server that only this machine reaches may be called."""

PROBES = frozenset({"/healthz", "/readyz"})
"""Answered under any host name: what asks them knows an address alone, and they tell nothing."""

CLIENTS = 10_000
"""Of whom the rate is remembered; the longest silent are forgotten first."""


@dataclass(frozen=True)
class Security:
    """Who may ask.

    Attributes:
        api_key: That requests must carry; ``None`` for none.
        hosts: The names that the server may be called by, without ports; ``None`` for any. A page
            elsewhere whose name is made to lead here (DNS rebinding) has another.
        origins: Of pages elsewhere that may ask (CORS).
    """

    api_key: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] | None = None
    origins: tuple[str, ...] = ()


class Guard:
    """ASGI: checks a request before it is read, bounds what is read, and answers what fails."""

    def __init__(self, app: ASGIApp, security: Security, limits: Limits) -> None:
        self._app = app
        self._security = security
        self._limits = limits
        self._rates = None if limits.rate is None else Rates(limits.rate, limits.burst)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._limits.body_bytes, self)
        answer = _Answer(send, head=scope["method"] == "HEAD")
        if scope["method"] == "HEAD":  # whatever may be got; the answer goes out without a body
            scope = {**scope, "method": "GET"}
        try:
            self._check(scope)
            async with asyncio.timeout(self._limits.seconds) as timer:
                answer.timer = timer
                await self._app(scope, body.receive, answer.send)
        except ClientDisconnect:
            pass  # nobody is there to be answered, and the log says so
        except Problem as problem:
            await answer.tell(problem, scope, receive)
        except TimeoutError:
            await answer.tell(self._too_slow(body), scope, receive)
        except Exception:
            logger.exception("a request failed")
            await answer.tell(Problem(500, "the server failed on this request"), scope, receive)
        finally:
            self.hold(-body.size)

    def hold(self, size: int) -> None:
        """Count bytes of bodies that are in memory."""
        self._held += size

    @property
    def full(self) -> bool:
        """Whether no more may be held."""
        return self._held > self._limits.held_bytes

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if scope["path"] not in PROBES:
            self._check_host(headers)
        if self._rates is not None and _is_guarded(scope["path"]):
            self._rates.take(_client(scope))
        self._check_key(headers, scope["path"])
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise Problem(400, "Content-Length must be a number")
        if len(length) > 18 or int(length) > self._limits.body_bytes:
            raise _too_long(self._limits.body_bytes)

    def _check_host(self, headers: Headers) -> None:
        if self._security.hosts is None:
            return
        name = host_name(headers.get("host", ""))
        if name not in self._security.hosts:
            raise Problem(
                403, "this server does not answer to this host name; see its --allow-host"
            )

    def _check_key(self, headers: Headers, path: str) -> None:
        key = self._security.api_key
        if key is None or not _is_guarded(path):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not given:
            raise Problem(
                401,
                "this server wants an API key: send Authorization: Bearer KEY, or X-API-Key: KEY",
                {"WWW-Authenticate": "Bearer"},
            )
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise Problem(403, "this is not the server's API key")

    def _too_slow(self, body: _Body) -> Problem:
        if not body.complete:
            return Problem(408, "the request did not arrive in time")
        return Problem(504, f"no answer within {self._limits.seconds:g} s; ask for less at once")


class Rates:
    """A bucket of tokens for each client: full at first, filled at the rate, emptied by requests.

    Args of the constructor: tokens a second, and how many a bucket holds.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float | None = None) -> None:
        """Take one token.

        Raises:
            Problem: There is none (429).
        """
        now = time.monotonic() if now is None else now
        level, since = self._buckets.pop(client, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        taken = level >= 1.0
        self._buckets[client] = (level - 1.0 if taken else level, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        if not taken:
            wait = math.ceil((1.0 - level) / self._rate)
            raise Problem(
                429, "too many requests from this client", {"Retry-After": str(max(1, wait))}
            )


class _Body:
    """Counts what a client sends, whatever it said it would."""

    def __init__(self, receive: Receive, most: int, guard: Guard) -> None:
        self._receive, self._most, self._guard = receive, most, guard
        self.size = 0
        self.complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        size = len(message.get("body", b""))
        self.size += size
        self._guard.hold(size)
        if self.size > self._most:
            raise _too_long(self._most)
        if self._guard.full:
            raise busy("the server holds as many uploads as it can; try again")
        self.complete = not message.get("more_body", False)
        return message


class _Answer:
    """Passes an answer on, with the headers of every answer."""

    def __init__(self, send: Send, *, head: bool = False) -> None:
        self._send = send
        self._head = head
        self._begun = False
        self.timer: asyncio.Timeout | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            if self.timer is not None:
                self.timer.reschedule(None)
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        elif self._head and message.get("body"):
            message = {**message, "body": b""}
        await self._send(message)

    async def tell(self, problem: Problem, scope: Scope, receive: Receive) -> None:
        self.timer = None
        if not self._begun:
            await problem.response()(scope, receive, self.send)


def host_name(header: str) -> str:
    """The name in a Host header, without its port, in small letters."""
    name, colon, port = header.strip().lower().rpartition(":")
    return name if colon and port.isdigit() else header.strip().lower()


def allowed_hosts(host: str, more: Iterable[str] = ()) -> tuple[str, ...] | None:
    """The names for a server bound to ``host``: those of this machine where only it has access.

    Args:
        host: What the server is bound to.
        more: Further names.
    """
    names = tuple(name.strip().lower() for name in more)
    if is_loopback(host):
        return (*LOOPBACK_NAMES, *names)
    return names or None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server bound to ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_guarded(path: str) -> bool:
    """Whether a path wants the key: all that computes or tells of the model and its use."""
    return path.startswith("/v1/") or path == "/metrics"


def _client(scope: Scope) -> str:
    """Who asks: an address, or its network of 64 bits where it is of IPv6."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, IPv6Address):
        return str(int(address) >> 64)
    return str(address)


def _too_long(most: int) -> Problem:
    return Problem(413, f"a request may have {most:,} bytes; send fewer or smaller images")
