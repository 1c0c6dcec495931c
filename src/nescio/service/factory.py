"""What a worker serves: models, batcher and application put together, and counted."""

from __future__ import annotations

import logging
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from nescio.classifier import Classifier, load_model
from nescio.service.app import create_app
from nescio.service.batching import Answer, Batcher, BatchSettings, Work
from nescio.service.images import check_formats
from nescio.service.logs import Observer
from nescio.service.metrics import MEDIA_TYPE, Metrics
from nescio.service.models import Models, Source
from nescio.service.settings import Place, Settings

logger = logging.getLogger(__name__)


class ModelService:
    """Classifiers behind HTTP, as one process serves them.

    Args:
        settings: How to serve.
        place: Among other workers.

    Raises:
        UsageError: The settings do not fit.
        ModelFileError: A model cannot be read.
    """

    def __init__(self, settings: Settings, place: Place) -> None:
        def load(path: Path) -> Classifier:
            return load_model(
                path, settings.network, device=settings.device, precision=settings.precision
            )

        self._models = Models([Source.parse(text) for text in settings.models], load)
        metrics = self._metrics = Metrics(place.folder)
        metrics.loaded(len(self._models.names))
        batches = BatchSettings(
            delay_ms=settings.batch_delay_ms, queue_images=settings.queue_images
        )
        self._batcher = _CountedBatcher(batches, metrics)
        app = create_app(
            self._models,
            batcher=self._batcher,
            limits=settings.limits,
            security=settings.security,
            formats=check_formats(settings.formats),
        )
        app.include_router(_metrics_router(metrics))
        self._draining = app.state.service.draining
        self.app = Observer(app, metrics)

    def reload(self) -> None:
        """Read all models anew and put them in place; log what became of it."""
        kept = self._models.reload()
        fresh = [name for name in self._models.names if name not in kept]
        self._metrics.loaded(len(fresh), len(kept))
        if fresh:
            logger.info("read anew: %s", ", ".join(fresh))

    def drain(self) -> None:
        """From now on the service is not ready."""
        self._draining.set()

    def tick(self) -> None:
        """Tell how many images wait."""
        self._metrics.queue(self._batcher.waiting)


class _CountedBatcher(Batcher):
    """A batcher that counts what it answers."""

    def __init__(self, settings: BatchSettings, metrics: Metrics) -> None:
        super().__init__(settings, lambda images, _seconds: metrics.batch(images))
        self._metrics = metrics

    async def submit(self, work: Work) -> list[Answer]:
        answers = await super().submit(work)
        for answer in answers:
            self._metrics.image(answer.decision.reason, answer.decision.samples)
        return answers


def _metrics_router(metrics: Metrics) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    def figures() -> Response:  # in a thread, as it may read files
        return Response(metrics.render(), media_type=MEDIA_TYPE)

    return router
