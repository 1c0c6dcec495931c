"""The application: routes, page and guard put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from nescio.service.batching import Batcher
from nescio.service.images import DEFAULT_FORMATS
from nescio.service.limits import Limits
from nescio.service.models import Models
from nescio.service.openapi import describe_interface
from nescio.service.page import page_router
from nescio.service.problems import Problem, tell_http, tell_invalid, tell_problem
from nescio.service.routes import Service, api_router
from nescio.service.security import Guard, Security


def create_app(
    models: Models,
    *,
    batcher: Batcher | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    security: Security = Security(),  # noqa: B008 - frozen
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> FastAPI:
    """The ASGI application that answers for ``models``.

    Args:
        models: What is served.
        batcher: Computes; ``None`` for one with the usual settings.
        limits: On requests.
        security: Who may ask.
        formats: That image files may have, of :data:`nescio.decode.FORMATS`.
    """
    service = Service(
        models=models,
        batcher=Batcher() if batcher is None else batcher,
        limits=limits,
        formats=tuple(formats),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(
        title="nescio",
        summary='Image classification that may answer "I don\'t know"',
        version="1",  # of the interface
        docs_url=None,  # it would ask third parties for its scripts
        redoc_url=None,
        redirect_slashes=False,  # it would send clients to whatever host they claim to ask
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(api_router(service))
    app.include_router(page_router())
    app.openapi = describe_interface(  # type: ignore[method-assign]
        app, keyed=security.api_key is not None
    )
    app.add_exception_handler(Problem, tell_problem)
    app.add_exception_handler(HTTPException, tell_http)
    app.add_exception_handler(RequestValidationError, tell_invalid)
    app.add_middleware(Guard, security=security, limits=limits)
    if security.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=security.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
        )
    return app
