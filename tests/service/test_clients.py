"""Clients that keep to HTTP, each in its own way: all of them are answered."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest
from asking import ask_raw, asking, base64_of, models_of, png
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests_support import stripes

import nescio
from nescio.service.app import create_app
from nescio.service.logs import GONE, Observer
from nescio.service.metrics import Metrics

IMAGE = stripes(1, 5).images[0, 0].numpy()
FILE = png(IMAGE)
FORMS = {form: png(IMAGE, form) for form in ("PNG", "BMP", "JPEG", "WEBP")}
JSON = b'{"images": [{"base64": "%s"}]}' % base64_of(FILE).encode()


@pytest.fixture(scope="module")
def app(classifier: nescio.Classifier) -> FastAPI:
    return create_app(models_of(classifier))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with asking(app) as client:
        yield client


def ask(client: TestClient, body: bytes, kind: str | None) -> httpx2.Response:
    headers = {} if kind is None else {"Content-Type": kind}
    return client.post("/v1/predict", content=body, headers=headers)


def names(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    told = answer.json()["predictions"]
    assert not any("error" in one for one in told)
    return [one["image"] for one in told]


@pytest.mark.parametrize(
    "kind",
    [
        None, "", "image/png", "image/jpg", "image/pjpeg", "IMAGE/X-PNG", "image/x-ms-bmp",
        "image/*", "application/octet-stream", "binary/octet-stream",
        "application/x-www-form-urlencoded", "image/png; charset=binary", "image/gif",
    ],
)  # fmt: skip
def test_a_file_is_what_it_holds_whatever_its_type_says(
    client: TestClient, kind: str | None
) -> None:
    for content in FORMS.values():
        assert names(ask(client, content, kind)) == ["0"]


@pytest.mark.parametrize(
    "kind",
    [
        None, "application/json", "application/json; charset=utf-8", "text/json",
        "application/vnd.api+json", "application/octet-stream",
        "application/x-www-form-urlencoded",
    ],
)  # fmt: skip
def test_json_is_taken_under_the_names_that_it_goes_by(
    client: TestClient, kind: str | None
) -> None:
    for body in (JSON, b"\xef\xbb\xbf" + JSON, b" \r\n" + JSON):
        assert names(ask(client, body, kind)) == ["0"]


def part(content: bytes, *headers: str) -> bytes:
    return b"--b\r\n" + "\r\n".join(headers).encode() + b"\r\n\r\n" + content + b"\r\n"


def post_parts(client: TestClient, *parts: bytes, end: bytes = b"--b--\r\n") -> httpx2.Response:
    return ask(client, b"".join(parts) + end, "multipart/form-data; boundary=b")


DISPOSITION = "Content-Disposition: form-data; name=f"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ((f'{DISPOSITION}; filename="a b;c.png"',), "a b;c.png"),
        ((f"{DISPOSITION}; filename=ä.png",), "ä.png"),
        ((f"{DISPOSITION}; filename*=UTF-8''%C3%A4%20b.png",), "ä b.png"),
        ((f"{DISPOSITION}; filename*=utf-8'de'%c3%a4.png",), "ä.png"),
        ((f"{DISPOSITION}; filename*=iso-8859-1''%E4.png",), "ä.png"),
        ((f"{DISPOSITION}; filename*=nonsense''%E4.png",), "0"),
        ((f'{DISPOSITION}; filename="plain.png"; filename*=UTF-8other.png',), "plain.png"),
        ((f'{DISPOSITION}; filename=""',), "0"),
        ((DISPOSITION,), "0"),
        ((DISPOSITION, "Content-Type: image/png"), "0"),
        ((DISPOSITION, "Content-Type: application/octet-stream"), "0"),
        (("Content-Type: image/png",), "0"),
        (("content-disposition:form-data",), "0"),
        (("Content-Disposition: form-data; name=samples; filename=x",), "x"),
    ],
)
def test_a_part_is_a_file_whether_it_says_so_or_not(
    client: TestClient, headers: tuple[str, ...], name: str
) -> None:
    for content in FORMS.values():
        samples = part(b"7", 'Content-Disposition: form-data; name="samples"')
        answer = post_parts(client, part(content, *headers), samples)
        assert names(answer) == [name]
        assert answer.json()["predictions"][0]["samples"] <= 7


def test_a_page_may_send_a_data_url_as_a_field(client: TestClient) -> None:
    url = b"data:image/png;base64," + base64_of(FILE).encode()
    assert names(post_parts(client, part(url, DISPOSITION), part(FILE, DISPOSITION))) == ["0", "1"]


def test_a_form_that_is_cut_short_loses_no_image_without_a_word(client: TestClient) -> None:
    whole = part(FILE, f"{DISPOSITION}; filename=a")
    assert names(post_parts(client, whole, end=b"--b--")) == ["a"]
    for end in (b"", b"--b\r\n", b"--b\r\n" + DISPOSITION.encode() + b"\r\n\r\n" + FILE[:9]):
        answer = post_parts(client, whole, end=end)
        assert answer.status_code == 400
        assert "last boundary" in answer.json()["detail"]


def test_a_field_that_is_neither_is_named(client: TestClient) -> None:
    answer = post_parts(client, part(b"some text", "Content-Disposition: form-data; name=picture"))
    assert answer.status_code == 422
    assert "field 'picture' is no parameter (samples, " in answer.json()["detail"]


def test_what_a_file_is_instead_is_told(client: TestClient) -> None:
    for content, told in ((b"%PDF-1.7", "a PDF document"), (b"\0\0\0\x18ftypheic", "a HEIC")):
        detail = ask(client, content, "image/jpeg").json()["detail"]
        assert told in detail
        assert "read are PNG" in detail


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/v1/models", "/v1/model", "/openapi.json", "/", "/page/page.js"],
)
def test_whatever_may_be_got_has_a_head(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    assert head.headers == got.headers


def test_a_head_of_what_may_not_be_got_is_refused_as_that_is(client: TestClient) -> None:
    for path, status in (("/v1/predict", 405), ("/nothing", 404)):
        head = client.head(path)
        assert (head.status_code, head.content) == (status, b"")


def test_a_client_that_leaves_is_logged_as_gone(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither as an answer that nobody saw, nor as a fault of the server's."""
    caplog.set_level(logging.INFO, "nescio.service.requests")
    observed = Observer(app, Metrics())

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    async def leave(pieces: list[bytes], headers: Mapping[str, str]) -> None:
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, gone.set)
        asked = await ask_raw(observed, "/v1/predict", pieces, headers, gone=gone)
        assert asked.status is None

    whole = app.state.service.batcher.submit
    app.state.service.batcher.submit = never
    try:
        asyncio.run(leave([FILE], {"content-type": "image/png"}))
    finally:
        app.state.service.batcher.submit = whole
    assert [record.args["status"] for record in caplog.records] == [GONE]  # type: ignore[call-overload, index]


def test_a_client_that_leaves_while_it_sends_is_logged_as_gone(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nescio.service.requests")
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not sent:
            sent.append(None)
            body = b"--b" if "multipart" in kind else FILE[:9]
            return {"type": "http.request", "body": body, "more_body": True}
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    for kind in ("image/png", "application/json", "multipart/form-data; boundary=b"):
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/predict",
            "raw_path": b"/v1/predict", "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(b"content-type", kind.encode())], "client": None,
            "server": ("127.0.0.1", 8000),
        }  # fmt: skip
        sent.clear()
        asyncio.run(Observer(app, Metrics())(scope, receive, send))
        assert sent == [None]
    assert [record.args["status"] for record in caplog.records] == [GONE] * 3  # type: ignore[call-overload, index]
