"""The interface for programs: what is asked, read and answered."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import torch
from fastapi import APIRouter, Query
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from torch import Tensor

from nescio.data import Preprocessing
from nescio.errors import OutOfMemoryError, RuleError, says_no_memory
from nescio.refusal import Rule
from nescio.service import wire
from nescio.service.batching import Batcher, Busy, Work
from nescio.service.bodies import in_thread, read_body, read_parameters
from nescio.service.describe import default_samples, describe_served, prediction, promise_notes
from nescio.service.images import Found, Given, look_at, read_found
from nescio.service.limits import Limits
from nescio.service.models import Models, Served
from nescio.service.openapi import ALWAYS, PREDICT, problems
from nescio.service.problems import Problem, busy

T = TypeVar("T")

READERS = 4
"""Threads that read requests."""

LARGE = 2_000_000
"""Pixels of an image that is large."""


@dataclass(frozen=True)
class Service:
    """What answers requests.

    Attributes:
        models: The models.
        batcher: Computes.
        limits: On requests.
        formats: That image files may have.
        readers: Threads that read requests and images.
        large_reader: A thread for requests with a large image, which may need a gigabyte: one at a
            time, and small ones need not wait for it.
        draining: Set once the server is about to end: it is not ready for more.
    """

    models: Models
    batcher: Batcher
    limits: Limits
    formats: tuple[str, ...]
    readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(READERS))
    large_reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    draining: threading.Event = field(default_factory=threading.Event)

    async def close(self) -> None:
        """Finish what is computed; what only waits to be read is dropped."""
        await self.batcher.close()
        self.readers.shutdown(cancel_futures=True)
        self.large_reader.shutdown(cancel_futures=True)

    def model(self, name: str | None) -> Served:
        """The model of that name, or the default.

        Raises:
            Problem: There is none.
        """
        served = self.models.get(name)
        if served is None:
            raise Problem(404, f"there is no such model; there are {', '.join(self.models.names)}")
        return served


def api_router(service: Service) -> APIRouter:
    """All that programs ask."""
    router = APIRouter()

    @router.post("/v1/predict", **PREDICT)
    async def predict(request: Request) -> Response:
        """Decide for each image: a label, or "I don't know" and why."""
        # Read by hand: FastAPI would take as long for this as for all else.
        chosen = read_parameters(dict(request.query_params))
        given, own = await read_body(request, service.limits, service.formats, service.readers)
        chosen |= own
        answer = _predict(service, given, wire.Parameters(**chosen))
        return _json(await _while_there(request, answer))

    @router.get("/v1/models", response_model=wire.ModelsOut, responses=problems(*ALWAYS))
    async def models() -> Response:
        """The models that are served."""
        return _json({"default": service.models.default, "models": list(service.models.names)})

    @router.get("/v1/model", response_model=wire.ModelOut, responses=problems(404, 422, *ALWAYS))
    async def model(name: Annotated[str | None, Query(alias="model")] = None) -> Response:
        """What a model knows, and how it decides."""
        return _json(describe_served(service.model(name), service.limits, service.formats))

    @router.get("/healthz", response_model=wire.State, responses=problems(400, 403))
    async def health() -> Response:
        """The process is alive."""
        return _json({"status": "alive"})

    @router.get("/readyz", response_model=wire.State, responses=problems(400, 403, 503))
    async def ready() -> Response:
        """The models are there, and requests are taken."""
        if service.draining.is_set():
            raise busy("the server is about to end")
        return _json({"status": "ready"})

    return router


async def _predict(
    service: Service, given: Sequence[Given], asked: wire.Parameters
) -> dict[str, Any]:
    served = service.model(asked.model)
    rule = _choose_rule(served, asked.rule)
    samples = asked.samples or default_samples(served.classifier, service.limits)
    if samples > service.limits.samples:
        raise Problem(422, f"samples may be at most {service.limits.samples}, got {samples}")
    deadline = time.monotonic() + service.limits.seconds
    read = await _read_images(service, given, served.classifier.preprocessing, deadline)
    images = [one for one in read if isinstance(one, Tensor)]
    if not images:
        raise Problem(422, f"no image can be read; the first: {read[0]}")
    work = Work(
        model=served,
        images=images[0] if len(images) == 1 else torch.cat(images),
        samples=samples,
        seed=asked.seed,
        adaptive=asked.adaptive is not False,
        rule=rule,
        detail=bool(asked.detail),
    )
    try:
        answers = iter(await service.batcher.submit(work))
    except Busy as full:
        raise busy(str(full), full.retry_after) from None
    except OutOfMemoryError:
        raise _no_memory() from None
    return {
        "model": served.name,
        "notes": promise_notes(rule, samples, asked.seed),
        "predictions": [
            {"image": one.name, "error": image}
            if isinstance(image, str)
            else prediction(one.name, next(answers), image[0])
            for one, image in zip(given, read, strict=True)
        ],
    }


async def _read_images(
    service: Service, given: Sequence[Given], preprocessing: Preprocessing, deadline: float
) -> list[Tensor | str]:
    """What :func:`read_found` gives; nothing is decoded in this thread, which all clients share."""

    def look_and_read() -> tuple[list[Found], list[Tensor | str] | None]:
        found = look_at(given, service.limits, service.formats)
        if max(one.area for one in found) > LARGE:
            return found, None
        # At once: it would take longer to hand it to another thread.
        return found, read_found(found, preprocessing, service.formats, deadline)

    try:
        found, read = await in_thread(service.readers, look_and_read)
        if read is None:
            read = await in_thread(
                service.large_reader, read_found, found, preprocessing, service.formats, deadline
            )
    except (MemoryError, RuntimeError) as error:
        if not says_no_memory(error):
            raise
        raise _no_memory() from None
    return read


def _no_memory() -> Problem:
    return busy("there is not enough memory for this now; ask for less at once")


def _choose_rule(served: Served, name: str | None) -> Rule:
    try:
        return served.classifier.choose_rule(name)
    except RuleError as error:
        raise Problem(422, f"rule: {error}") from None


async def _while_there(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """The answer; given up as soon as the client has gone away."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return await work
    finally:
        work.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(content: Any) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json")
