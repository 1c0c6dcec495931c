"""What OpenAPI tells of the interface beyond what FastAPI finds by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from nescio.service import wire

REFERENCE = "#/components/schemas/{model}"

MEANINGS = {
    400: "The request is malformed.",
    401: "An API key is wanted.",
    403: "The API key, or the name that the server was called by, is another.",
    404: "There is no such model.",
    408: "The request did not arrive in time.",
    413: "The body, an image, or the number of images or numbers is too large.",
    415: "The content type is not taken.",
    422: "A parameter does not fit, or no image can be read.",
    429: "Too many requests from this client.",
    500: "The server failed.",
    503: "Too much is waiting.",
    504: "There was no answer in time.",
}

ALWAYS = (400, 401, 403, 408, 413, 429, 500, 504)
"""What may become of any request."""

RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The declared answers for what goes wrong."""
    schema = {"$ref": REFERENCE.format(model=wire.ProblemOut.__name__)}
    declared: dict[int | str, dict[str, Any]] = {}
    for status in sorted(statuses):
        content = {"application/problem+json": {"schema": schema}}
        declared[status] = {"description": MEANINGS[status], "content": content}
        if status in (429, 503):
            declared[status]["headers"] = RETRY_AFTER
    return declared


_BAR = (
    "iVBORw0KGgoAAAANSUhEUgAAAAMAAAADCAAAAABzQ+pjAAAADklEQVR42mNg+M/AAMUAEfoC/q0aQZMA"
    "AAAASUVORK5CYII="
)
"""A PNG of 3 by 3 pixels in base64."""

_FILE = {"schema": {"type": "string", "format": "binary"}}

_EXAMPLES = {
    "pixels": {
        "summary": "Grey pixels, whole numbers from 0 to 255",
        "value": {"images": [{"name": "a bar", "pixels": [[0, 255, 0], [0, 255, 0], [0, 255, 0]]}]},
    },
    "several": {
        "summary": "A file in base64, and colour in [0, 1]; the article's rule, 50 networks",
        "value": {
            "images": [
                {"base64": _BAR},
                {"pixels": [[[0.0, 0.5, 1.0], [0.25, 0.25, 0.25]]]},
            ],
            "samples": 50,
            "rule": "median:0.2",
        },
    },
}

_ANSWER = {
    "model": "digits",
    "notes": [],
    "predictions": [
        {
            "image": "three.png",
            "label": "3",
            "accepted": True,
            "reason": None,
            "proposed": ["3"],
            "nearest": "3",
            "stage": "image",
            "probability": {"3": 0.98, "5": 0.02},
            "median": {"3": 0.99, "5": 0.01},
            "scores": {"predictive_entropy": 0.1, "unfamiliarity": 1.2, "familiarity": 0.6},
            "samples": 12,
        },
        {
            "image": "letter.png",
            "label": None,
            "accepted": False,
            "reason": "unfamiliar",
            "proposed": [],
            "nearest": "5",
            "stage": "image",
            "probability": {"3": 0.4, "5": 0.6},
            "median": {"3": 0.3, "5": 0.7},
            "scores": {"predictive_entropy": 0.7, "unfamiliarity": 9.1, "familiarity": 0.006},
            "samples": 12,
        },
        {"image": "notes.txt", "error": "not an image that can be read, or damaged"},
    ],
}


def _form() -> dict[str, Any]:
    """A form: files under any name, and the parameters."""
    files = {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string", "format": "binary"},
        "description": "One or many files; the field may have any other name, too.",
    }
    fields = {
        name: _not_null(schema)
        for name, schema in wire.Parameters.model_json_schema()["properties"].items()
    }
    return {"type": "object", "properties": {"images": files, **fields}, "required": ["images"]}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without ``null``, which only JSON can say."""
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "title", "default")}
    kinds = schema.get("anyOf", [])
    return rest | (kinds[0] if kinds else {})


def _query() -> list[dict[str, Any]]:
    """The parameters, as they may stand in the address."""
    schemas = wire.Parameters.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": schema,
        }
        for name, schema in schemas.items()
    ]


PREDICT: dict[str, Any] = {
    "response_model": wire.PredictOut,
    "responses": {
        200: {
            "description": "The answers, in the order of the images.",
        },
        **problems(*ALWAYS, 404, 415, 422, 503),
    },
    "openapi_extra": {
        "parameters": _query(),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": REFERENCE.format(model=wire.PredictIn.__name__)},
                    "examples": _EXAMPLES,
                },
                "multipart/form-data": {"schema": _form()},
                "image/png": _FILE,
                "image/jpeg": _FILE,
                "image/webp": _FILE,
                "image/bmp": _FILE,
                "application/octet-stream": _FILE,
            },
        },
    },
}
"""Of ``POST /v1/predict``."""


def describe_interface(app: FastAPI, *, keyed: bool) -> Callable[[], dict[str, Any]]:
    """What makes the OpenAPI of ``app``, with the schemas that only :data:`PREDICT` names.

    Args:
        app: With all its routes.
        keyed: Whether a key is wanted.
    """

    def make() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title, version=app.version, summary=app.summary, routes=app.routes
                ),
                keyed=keyed,
            )
        return app.openapi_schema

    return make


def _complete(schema: dict[str, Any], *, keyed: bool) -> dict[str, Any]:
    _, own = models_json_schema(
        [(wire.PredictIn, "validation"), (wire.ProblemOut, "serialization")], ref_template=REFERENCE
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(own["$defs"])
    for path in schema["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _not_null(parameter["schema"])
    # FastAPI would leave out what is null in it.
    answer = schema["paths"]["/v1/predict"]["post"]["responses"]["200"]
    answer["content"]["application/json"]["example"] = _ANSWER
    if keyed:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path, operations in schema["paths"].items():
            if path.startswith("/v1/") or path == "/metrics":
                for operation in operations.values():
                    operation["security"] = [{"bearer": []}, {"header": []}]
    return schema
