"""What the service counts, in Prometheus' text form.

No label is made from what a client sends: a path that is not one of the service's own is
``other``, and so is a method that HTTP does not know. With several workers each keeps its
figures in files of a folder that they share, and whoever is asked adds up all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MEDIA_TYPE = CONTENT_TYPE_LATEST
"""The content type of :meth:`Metrics.render`."""

OTHER = "other"
"""The label of what a client made up."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are told apart."""

ROUTES = frozenset(
    {
        "/",
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/v1/model",
        "/v1/models",
        "/v1/predict",
    }
)
"""Paths that are told apart; what belongs to the page is :data:`PAGE`."""

PAGE = "/page/"
"""How the paths of the page's files begin, which are counted together."""

ACCEPTED = "accepted"
VERDICTS = (ACCEPTED, "ambiguous", "unfamiliar")
"""What becomes of an image."""

LIMITS = {408: "seconds", 413: "size", 429: "rate", 503: "busy", 504: "seconds"}
"""By which limit a request was refused, from the status of its answer."""

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
NETWORKS = (10, 20, 50, 100, 200, 500, 1000)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""How prometheus-client is told of the folder."""


def share_figures(folder: Path, slot: int) -> None:
    """Keep all figures that this process makes from now on in files of ``folder``.

    Args:
        folder: The folder of all workers.
        slot: The worker's place, from 0. One that takes a dead worker's place goes on with
            its files, so that there are never more of them than places.
    """
    os.environ[FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def forget_present(folder: Path, slot: int) -> None:
    """Forget what holds for a living process alone, such as its queue; counts stay."""
    mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]


class Metrics:
    """The figures of one process, and how to read those of all.

    Args:
        folder: That of :func:`share_figures`, or ``None`` where there is one process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        # When each series began; several workers cannot tell, so one does not either.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._folder = folder
        own = self._registry = CollectorRegistry()
        self._requests = Counter(
            "nescio_requests",
            "Requests answered, by the service's own path and the status.",
            ("method", "route", "status"),
            registry=own,
        )
        self._seconds = Histogram(
            "nescio_request_seconds",
            "Seconds from a request's first byte to the last of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=own,
        )
        self._under_way = _gauge("nescio_requests_under_way", "Requests being answered.", own)
        self._images = Counter(
            "nescio_images", "Images answered, by verdict.", ("verdict",), registry=own
        )
        self._networks = Histogram(
            "nescio_networks_sampled",
            "Networks drawn for an image.",
            buckets=NETWORKS,
            registry=own,
        )
        self._batches = Histogram(
            "nescio_batch_images", "Images answered in one batch.", buckets=IMAGES, registry=own
        )
        self._queue = _gauge("nescio_queue_images", "Images that wait to be answered.", own)
        self._refused = Counter(
            "nescio_refused_requests", "Requests refused by a limit.", ("limit",), registry=own
        )
        self._loads = Counter(
            "nescio_model_loads",
            "Models read from their files; failed: the one before was kept.",
            ("outcome",),
            registry=own,
        )
        for verdict in VERDICTS:
            self._images.labels(verdict)
        for limit in LIMITS.values():
            self._refused.labels(limit)
        for outcome in ("loaded", "failed"):
            self._loads.labels(outcome)

    def began(self) -> None:
        """A request came."""
        self._under_way.inc()

    def ended(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            method: Whatever the client sent.
            path: Likewise.
            status: The answer's.
            seconds: It took.
        """
        self._under_way.dec()
        route = _route(path)
        method = method if method in METHODS else OTHER
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status in LIMITS:
            self._refused.labels(LIMITS[status]).inc()

    def image(self, reason: str | None, networks: int) -> None:
        """An image was answered.

        Args:
            reason: Why it was refused; ``None`` where it was accepted.
            networks: Drawn for it.
        """
        self._images.labels(reason or ACCEPTED).inc()
        self._networks.observe(networks)

    def batch(self, images: int) -> None:
        """So many images were answered in one batch."""
        self._batches.observe(images)

    def queue(self, images: int) -> None:
        """So many images wait now."""
        self._queue.set(images)

    def loaded(self, models: int, failed: int = 0) -> None:
        """So many models were read from their files, and so many could not be."""
        self._loads.labels("loaded").inc(models)
        self._loads.labels("failed").inc(failed)

    def render(self) -> bytes:
        """The figures of all processes, as :data:`MEDIA_TYPE`."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _route(path: str) -> str:
    if path.startswith(PAGE):
        return PAGE
    return path if path in ROUTES else OTHER


def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    """A gauge that is added up over living workers, from 0."""
    gauge = Gauge(name, text, registry=registry, multiprocess_mode="livesum")
    gauge.set(0)
    return gauge
