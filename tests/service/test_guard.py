"""Who may ask and how much, and what browsers are told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from io import BytesIO
from typing import Any

import pytest
from asking import Asked, ask_raw, asking, models_of, png
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests_support import stripes

import nescio
from nescio.service.app import create_app
from nescio.service.limits import Limits
from nescio.service.models import Models
from nescio.service.problems import Problem
from nescio.service.security import (
    CLIENTS,
    Rates,
    Security,
    allowed_hosts,
    host_name,
    is_loopback,
)

FILE = png(stripes(1, 5).images[0, 0].numpy())
PNG = {"Content-Type": "image/png"}
KEY = "correct horse"


@pytest.fixture(scope="module")
def models(classifier: nescio.Classifier) -> Models:
    return models_of(classifier)


Client = Callable[..., TestClient]


@pytest.fixture
def client(models: Models) -> Iterator[Client]:
    opened = []

    def open_client(**how: Any) -> TestClient:
        manager = asking(create_app(models, **how))
        opened.append(manager)
        return manager.__enter__()

    yield open_client
    for manager in opened:
        manager.__exit__(None, None, None)


def run(asked: Coroutine[Any, Any, Asked]) -> tuple[int | None, dict[str, Any], Asked]:
    answer = asyncio.run(asked)
    return answer.status, json.loads(answer.body or b"null"), answer


def test_a_key_is_wanted_where_there_is_one(client: Client) -> None:
    keyed = client(security=Security(api_key=KEY))
    for path in ("/v1/models", "/v1/model", "/metrics", "/v1/nothing"):
        missing = keyed.get(path)
        assert missing.status_code == 401
        assert missing.headers["www-authenticate"] == "Bearer"
        assert KEY not in missing.text
    assert keyed.post("/v1/predict", content=FILE, headers=PNG).status_code == 401
    for wrong in ("", "x", KEY + "x", KEY[:-1], KEY.upper(), "ä" * 9):
        for headers in (
            {"Authorization": f"Bearer {wrong}".encode()},
            {"X-API-Key": wrong.encode()},
        ):
            assert keyed.get("/v1/models", headers=headers).status_code in (401, 403)
    assert keyed.get("/v1/models", headers={"X-API-Key": "x"}).status_code == 403
    assert keyed.get("/v1/models", headers={"Authorization": f"Basic {KEY}"}).status_code == 401
    for right in ({"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}):
        assert keyed.get("/v1/models", headers=right).status_code == 200
    right = {"X-API-Key": KEY}
    assert keyed.post("/v1/predict", content=FILE, headers={**PNG, **right}).status_code == 200


def test_page_and_health_want_no_key(client: Client) -> None:
    keyed = client(security=Security(api_key=KEY))
    for path in ("/", "/healthz", "/readyz", "/openapi.json"):
        assert keyed.get(path).status_code == 200


def test_a_server_for_this_machine_answers_to_its_names_alone(client: Client) -> None:
    local = client(security=Security(hosts=allowed_hosts("127.0.0.1", ["Lab.example"])))
    good = (
        "localhost",
        "localhost:8000",
        "127.0.0.1:1",
        "[::1]:8000",
        "LOCALHOST",
        "lab.example:80",
    )
    for host in good:
        assert local.get("/v1/models", headers={"Host": host}).status_code == 200
    for host in (
        "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example",
        "localhost@evil.example", "", "localhost, evil.example", "127.0.0.1:8000:1", "[::1",
    ):  # fmt: skip
        answer = local.get("/", headers={"Host": host})
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
    for probe in ("/healthz", "/readyz"):  # by whoever knows an address alone
        assert local.get(probe, headers={"Host": "evil.example"}).status_code == 200


def test_which_names_are_allowed() -> None:
    local = ("localhost", "127.0.0.1", "[::1]")
    assert allowed_hosts("127.0.0.1") == allowed_hosts("::1") == allowed_hosts("localhost") == local
    assert allowed_hosts("0.0.0.0") is None  # noqa: S104 - it binds nothing
    assert allowed_hosts("::") is None
    assert allowed_hosts("10.1.2.3", ["a.example"]) == ("a.example",)
    assert is_loopback("127.9.9.9")
    assert not is_loopback("example.org")
    assert host_name("A.example:80 ") == "a.example"
    assert host_name("[::1]") == "[::1]"


def test_every_answer_has_the_headers_that_protect_browsers(client: Client) -> None:
    page = client()
    for answer in (
        page.get("/"),
        page.get("/nothing"),
        page.post("/v1/predict", content=FILE, headers=PNG),
        page.post("/v1/predict", content=b"", headers=PNG),
        page.get("/openapi.json"),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        for part in ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in answer.headers


def test_other_origins_are_refused_unless_named(client: Client) -> None:
    origin = {"Origin": "https://a.example"}
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    closed = client()
    assert "access-control-allow-origin" not in closed.get("/v1/models", headers=origin).headers
    assert closed.options("/v1/predict", headers={**origin, **ask}).status_code == 405
    opened = client(security=Security(api_key=KEY, origins=("https://a.example",)))
    before = opened.options("/v1/predict", headers={**origin, **ask})
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == "https://a.example"
    refused = opened.get("/v1/models", headers=origin)  # a page must be able to read why
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    other = opened.get("/v1/models", headers={"Origin": "https://b.example", "X-API-Key": KEY})
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-credentials" not in other.headers


def test_a_client_that_asks_too_often_waits(client: Client) -> None:
    rated = client(limits=Limits(rate=0.5, burst=3))
    statuses = [rated.get("/v1/models").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = rated.get("/v1/models")
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert rated.get("/healthz").status_code == 200


def test_the_rate_is_of_each_client_and_comes_back() -> None:
    rates = Rates(rate=2.0, burst=1)
    rates.take("a", 0.0)
    rates.take("b", 0.0)
    with pytest.raises(Problem):
        rates.take("a", 0.1)
    rates.take("a", 0.6)
    with pytest.raises(Problem):  # what was saved up is at most a burst
        rates.take("b", 100.0) or rates.take("b", 100.0)


def test_clients_beyond_number_are_forgotten() -> None:
    rates = Rates(rate=1.0, burst=1)
    for number in range(CLIENTS + 500):
        rates.take(str(number), 0.0)
    assert len(rates._buckets) == CLIENTS


def test_a_body_without_length_is_bounded(models: Models) -> None:
    app = create_app(models, limits=Limits(body_bytes=10_000))
    begin = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    for kind in ("image/png", "application/json", "multipart/form-data; boundary=b"):
        pieces = [begin, *[b"x" * 1000] * 10_000]
        status, told, asked = run(
            ask_raw(
                app, "/v1/predict", pieces, {"content-type": kind, "transfer-encoding": "chunked"}
            )
        )
        assert (status, told["status"]) == (413, 413)
        assert asked.pieces_read == 11


def test_a_body_longer_than_it_said_is_bounded(models: Models) -> None:
    app = create_app(models, limits=Limits(body_bytes=10_000))
    headers = {"content-type": "image/png", "content-length": "10"}
    status, _, asked = run(ask_raw(app, "/v1/predict", [b"x" * 1000] * 10_000, headers))
    assert status == 413
    assert asked.pieces_read == 11


def test_a_body_that_says_it_is_too_long_is_not_read(models: Models) -> None:
    app = create_app(models, limits=Limits(body_bytes=10_000))
    for length, wanted in (
        ("10001", 413),
        ("9" * 5000, 413),
        ("-1", 400),
        ("ten", 400),
        ("²", 400),
    ):
        headers = {"content-type": "image/png", "content-length": length}
        status, _, asked = run(ask_raw(app, "/v1/predict", [b"x"] * 5, headers))
        assert (status, asked.pieces_read) == (wanted, 0)


def test_bodies_together_are_bounded(models: Models) -> None:
    """Clients that send most of a body and then wait must not fill the memory."""
    app = create_app(models, limits=Limits(held_bytes=10_000, seconds=1.0))
    headers = {"content-type": "image/png"}

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 4000
        await asyncio.sleep(60)
        yield b""

    async def four() -> list[Asked]:
        waiting = [
            asyncio.ensure_future(ask_raw(app, "/v1/predict", slow(), headers)) for _ in "12"
        ]
        await asyncio.sleep(0.1)
        third = await ask_raw(app, "/v1/predict", [b"x" * 4000], headers)
        await asyncio.wait(waiting)
        last = await ask_raw(app, "/v1/predict", [FILE], headers)
        return [third, *(one.result() for one in waiting), last]

    third, first, second, last = asyncio.run(four())
    assert third.status == 503
    assert "retry-after" in third.headers
    assert first.status == second.status == 408
    assert last.status == 200  # they were given back


def test_an_answer_that_takes_too_long_is_given_up(models: Models) -> None:
    app = create_app(models, limits=Limits(seconds=0.2))
    given_up = []

    async def forever(_: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.append(True)
            raise

    app.state.service.batcher.submit = forever
    began = time.monotonic()
    status, told, _ = run(ask_raw(app, "/v1/predict", [FILE], {"content-type": "image/png"}))
    assert (status, told["status"]) == (504, 504)
    assert time.monotonic() - began < 5
    assert given_up == [True]


def test_work_for_a_client_that_went_away_is_given_up(models: Models) -> None:
    app = create_app(models)
    given_up, begun = asyncio.Event(), asyncio.Event()

    async def forever(_: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.set()
            raise

    app.state.service.batcher.submit = forever

    async def leave() -> None:
        await ask_raw(app, "/v1/predict", [FILE], {"content-type": "image/png"}, gone=begun)
        await asyncio.wait_for(given_up.wait(), 5)

    asyncio.run(leave())
    assert given_up.is_set()


@pytest.mark.slow
def test_one_slow_reader_does_not_hold_the_rest(
    models: Models, app_with_slow_large: FastAPI
) -> None:
    """A large image is read by a thread of its own."""
    large = {"content-type": "image/png"}
    small = png(stripes(1, 6).images[0, 0].numpy())

    async def both() -> float:
        slow = asyncio.ensure_future(
            ask_raw(app_with_slow_large, "/v1/predict", [FILE_LARGE], large)
        )
        await asyncio.sleep(0.2)
        began = time.monotonic()
        answer = await ask_raw(app_with_slow_large, "/v1/predict", [small], large)
        assert answer.status == 200
        seconds = time.monotonic() - began
        assert not slow.done()
        assert (await slow).status == 200
        return seconds

    assert asyncio.run(both()) < 1.5


FILE_LARGE = png([[0] * 2000] * 1100)


@pytest.fixture
def app_with_slow_large(models: Models, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    from nescio.service import images

    open_image = images.open_image

    def slowly(source: BytesIO, **how: Any) -> Any:
        if len(source.getbuffer()) == len(FILE_LARGE):
            time.sleep(2.0)
        return open_image(source, **how)

    monkeypatch.setattr(images, "open_image", slowly)
    return create_app(models)


def test_limits_must_be_above_nothing() -> None:
    for wrong in ({"images": 0}, {"seconds": -1.0}, {"rate": float("nan")}, {"body_bytes": 0}):
        with pytest.raises(nescio.UsageError, match=next(iter(wrong))):
            Limits(**wrong)
