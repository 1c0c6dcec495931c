"""What a request may ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nescio.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What a request may ask for; beyond it comes an answer with the status in brackets.

    Attributes:
        body_bytes: Of a request's body (413).
        pixels: Of one image, as its header says, before it is decoded (413).
        request_pixels: Of all images of a request together (413).
        images: Of one request (413); in JSON never more than 10,000.
        numbers: In a JSON body, pixels above all; and a fifth as many lists and objects (413).
        samples: Networks drawn for a request, at most (422).
        rate: Requests a second that one client may make on average; ``None`` for any (429).
        burst: Requests that one client may make at once where there is a ``rate``.
        held_bytes: Of the bodies of all requests being answered together (503).
        seconds: Until an answer begins (504; 408 where the client is slow to send).
        keep_alive: Seconds that an idle connection is kept open.

    Raises:
        UsageError: One of them is not positive.
    """

    body_bytes: int = 10 * 2**20
    pixels: int = 25_000_000
    request_pixels: int = 100_000_000
    images: int = 64
    numbers: int = 1_000_000
    samples: int = 1000
    rate: float | None = None
    burst: int = 20
    held_bytes: int = 256_000_000
    seconds: float = 30.0
    keep_alive: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            # Written so that NaN fails too.
            if value is not None and not value > 0:
                raise UsageError(f"the limit {field.name} must be above 0, got {value}")
