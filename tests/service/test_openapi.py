"""The interface is what its OpenAPI says: schemathesis makes requests of it, right and wrong."""

import json
from typing import Any

import pytest
from asking import asking, models_of
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings

import nescio
from nescio.service.app import create_app
from nescio.service.security import Security

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import CHECKS  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

SEEDED = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


@pytest.fixture(scope="module")
def app(classifier: nescio.Classifier) -> FastAPI:
    return create_app(models_of(classifier, "stripes", "again"))


@pytest.fixture(scope="module")
def interface(app: FastAPI) -> Any:
    async def asked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":  # it would begin and end the application for each request
            await app(scope, receive, send)

    return schemathesis.openapi.from_asgi("/openapi.json", asked)


def explore(interface: Any, mode: GenerationMode, requests: int) -> int:
    """Make that many requests of each operation, and hold each answer to the interface."""
    explored = 0
    for result in interface.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not list(operation.query):
            continue  # there is nothing to do wrong
        explored += 1

        @settings(max_examples=requests, **SEEDED)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            # A schema cannot say that rows have one length, or that bytes are an image.
            case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=120)

        ask()
    return explored


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_requests_get_what_is_declared(interface: Any, mode: GenerationMode) -> None:
    assert explore(interface, mode, 5) >= 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_many_requests_get_what_is_declared(interface: Any, mode: GenerationMode) -> None:
    assert explore(interface, mode, 200) >= 2


def test_the_checks_are_those_of_schemathesis() -> None:
    assert {"not_a_server_error", "response_schema_conformance"} <= set(CHECKS.get_all_names())


def test_examples_are_answered(app: FastAPI) -> None:
    told = app.openapi()
    operation = told["paths"]["/v1/predict"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    with asking(app) as client:
        for example in examples.values():
            answer = client.post("/v1/predict", json=example["value"])
            assert answer.status_code == 200, answer.text
            assert not any("error" in p for p in answer.json()["predictions"])
            kinds = {key for p in answer.json()["predictions"] for key in p}
    shown = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert set(shown["predictions"][0]) == kinds


def test_the_key_is_declared_where_it_is_wanted(classifier: nescio.Classifier) -> None:
    told = create_app(models_of(classifier), security=Security(api_key="k")).openapi()
    assert set(told["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, operations in told["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == path.startswith("/v1/")


def test_no_third_party_is_named(app: FastAPI) -> None:
    assert "http" not in json.dumps(app.openapi()).replace("HTTP", "")
