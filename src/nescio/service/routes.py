"""The interface for programs: what is asked, read and answered."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, TypeVarTuple

import torch
from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from torch import Tensor

from nescio.errors import OutOfMemoryError, RuleError
from nescio.refusal import Rule
from nescio.service import wire
from nescio.service.batching import Batcher, Busy, Work
from nescio.service.describe import default_samples, describe_served, prediction, promise_notes
from nescio.service.images import MEDIA_TYPES, Given, look_at, read_found
from nescio.service.limits import Limits
from nescio.service.models import Models, Served
from nescio.service.openapi import ALWAYS, PREDICT, problems
from nescio.service.problems import Problem, busy, first_fault

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

READERS = 4
"""Threads that read requests."""

LARGE = 2_000_000
"""Pixels of an image that is large."""

SMALL, SMALL_BODY = 2**16, 2**14
"""Pixels and bytes of requests that are read on the spot, in less time than another thread takes
to begin."""

_STATUS_OF_FAULT = {"json_invalid": 400, "too_long": 413}
"""By Pydantic's name; of others 422."""


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
        chosen = _parameters(dict(request.query_params))
        try:
            given, own = await _read_request(request, service)
        except ClientDisconnect:
            raise Problem(400, "the client went away") from None
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


async def _read_request(request: Request, service: Service) -> tuple[list[Given], dict[str, Any]]:
    """The images and parameters in a body.

    Raises:
        Problem: It cannot be read, or there are no images in it, or too many.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "a body is taken as it is: send no Content-Encoding")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    own: dict[str, Any] = {}
    if kind == "application/json":
        body = await request.body()
        few = len(body) <= SMALL_BODY
        given, own = await _in(None if few else service.readers, _read_json, body, service.limits)
    elif kind == "multipart/form-data":
        given, own = await _read_form(request, service.limits)
    elif kind in MEDIA_TYPES and MEDIA_TYPES[kind] in service.formats:
        given = [Given("0", await request.body())]
    else:
        types = [t for t, form in MEDIA_TYPES.items() if form in service.formats]
        raise Problem(
            415,
            "images are taken as multipart/form-data, as application/json, or one as "
            f"{', '.join(types)}",
        )
    if not given:
        raise Problem(422, "there is no image in the request")
    if len(given) > service.limits.images:
        raise Problem(
            413,
            f"a request may have {service.limits.images} images, got {len(given)}; send several",
        )
    return given, own


def _read_json(body: bytes, limits: Limits) -> tuple[list[Given], dict[str, Any]]:
    # Counted before anything is built: two bytes of text become an object of fifty and more.
    if (
        body.count(b",") > limits.numbers
        or body.count(b"[") + body.count(b"{") > limits.numbers // 5
    ):
        raise Problem(
            413,
            f"JSON may hold {limits.numbers:,} numbers, in {limits.numbers // 5:,} lists and "
            "objects; send images as files or in base64",
        )
    try:
        asked = wire.PredictIn.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        status = _STATUS_OF_FAULT.get(faults[0]["type"], 422)
        raise Problem(status, first_fault(faults)) from None
    given = []
    for place, image in enumerate(asked.images):
        content = [one for one in (image.pixels, image.base64) if one is not None]
        if len(content) != 1 or not isinstance(content[0], list | str):
            raise Problem(422, f"images.{place}: give either pixels, as rows, or base64")
        if image.pixels is not None and not isinstance(image.pixels, list):
            raise Problem(422, f"images.{place}: pixels must be rows of numbers")
        given.append(Given(str(place) if image.name is None else image.name, content[0]))
    return given, asked.model_dump(exclude_unset=True, exclude={"images"})


async def _read_form(request: Request, limits: Limits) -> tuple[list[Given], dict[str, Any]]:
    given: list[Given] = []
    fields: dict[str, str] = {}
    async with request.form(max_files=1000 + 2 * limits.images, max_fields=16) as form:
        for key, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields[key] = value
            elif value.filename or value.size:  # a browser sends a field without a file so
                name = (value.filename or str(len(given)))[:256]
                given.append(Given(name, await value.read()))
    return given, _parameters(fields)


def _parameters(fields: dict[str, str]) -> dict[str, Any]:
    """Those that are given."""
    if not fields:
        return {}
    try:
        return wire.Parameters.model_validate(fields).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise Problem(422, first_fault(error.errors(include_url=False))) from None


async def _predict(
    service: Service, given: Sequence[Given], asked: wire.Parameters
) -> dict[str, Any]:
    served = service.model(asked.model)
    rule = _choose_rule(served, asked.rule)
    samples = asked.samples or default_samples(served.classifier, service.limits)
    if samples > service.limits.samples:
        raise Problem(422, f"samples may be at most {service.limits.samples}, got {samples}")
    deadline = time.monotonic() + service.limits.seconds
    small = all(not isinstance(one.content, list) for one in given) and (
        sum(len(one.content) for one in given) <= SMALL_BODY
    )
    readers = None if small else service.readers
    found = await _in(readers, look_at, given, service.limits, service.formats)
    if sum(one.area for one in found) > SMALL:
        readers = service.readers
    if max(one.area for one in found) > LARGE:
        readers = service.large_reader
    read = await _in(
        readers,
        read_found,
        found,
        served.classifier.preprocessing,
        service.formats,
        deadline,
    )
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
        raise busy("there is not enough memory for this now; ask for less at once") from None
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


def _choose_rule(served: Served, name: str | None) -> Rule:
    try:
        return served.classifier.choose_rule(name)
    except RuleError as error:
        raise Problem(422, f"rule: {error}") from None


async def _in(threads: Executor | None, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """The function's result, from one of the threads; ``None`` to call it here."""
    if threads is None:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


async def _while_there(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """The answer; given up as soon as the client has gone away."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Problem(400, "the client went away")
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
