"""What is refused: each with its status, in a problem body, and nothing told of the inside."""

import asyncio
import json
import re
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from asking import ask_raw, asking, base64_of, models_of, png
from fastapi import FastAPI
from PIL import ImageFile
from starlette.testclient import TestClient
from tests_support import stripes

import nescio
from nescio.service.app import create_app
from nescio.service.batching import Batcher, BatchSettings
from nescio.service.limits import Limits

IMAGE = stripes(1, 5).images[0, 0].numpy()
FILE = png(IMAGE)
PIXELS = IMAGE.tolist()
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
LIMITS = Limits(
    body_bytes=100_000, pixels=10_000, request_pixels=25_000, images=4, numbers=20_000, samples=50
)


@pytest.fixture(scope="module")
def app(classifier: nescio.Classifier) -> FastAPI:
    return create_app(models_of(classifier), limits=LIMITS)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with asking(app) as client:
        yield client


def problem(answer: httpx2.Response, status: int) -> str:
    """The detail of a problem, which must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail"}
    assert told["status"] == status
    assert not re.search(
        r"Traceback|/tmp|site-packages|\.py\b|0x[0-9a-f]{6}|PIL|BytesIO", answer.text
    )
    assert "Content-Security-Policy" in answer.headers
    detail = told["detail"]
    assert isinstance(detail, str)
    assert "\n" not in detail
    return detail


def one(**asked: Any) -> dict[str, Any]:
    return {"images": [{"pixels": PIXELS}], **asked}


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "EOF"),
        (b"{", 400, "EOF"),
        (b"\xff\xfe", 400, ""),
        (b'{"images": [{"pixels": [[1]], "name": "\\ud800"}]}', 400, "hex escape"),
        (b"[" * 3_900, 400, "recursion"),
        (b'{"images":' + b"[" * 3_900, 400, "recursion"),
        (b'{"images": [{"pixels": ' + b"9" * 50_000 + b"}]}", 400, ""),
        (b"null", 422, "object"),
        (b"[]", 422, "object"),
        (b"{}", 422, "images"),
        (b'{"images": []}', 422, "at least 1"),
        (b'{"images": 7}', 422, "array"),
        (b'{"images": [7]}', 422, "images.0"),
        (b'{"images": [{}]}', 422, "either pixels"),
        (b'{"images": [{"pixels": null}]}', 422, "either pixels"),
        (b'{"images": [{"pixels": "AAAA"}]}', 422, "rows"),
        (b'{"images": [{"pixels": 7}]}', 422, "rows"),
        (b'{"images": [{"pixels": {}}]}', 422, "rows"),
        (b'{"images": [{"base64": 7}]}', 422, "string"),
        (b'{"images": [{"base64": [[1]]}]}', 422, "string"),
        (b'{"images": [{"pixels": [[1]], "base64": "AAAA"}]}', 422, "either pixels"),
        (b'{"images": [{"pixels": [[1]], "path": "/etc/passwd"}]}', 422, "path"),
        (b'{"images": [{"pixels": [[1]], "name": 7}]}', 422, "name"),
    ],
)
def test_json_that_asks_for_nothing_sensible(
    client: TestClient, body: bytes, status: int, told: str
) -> None:
    assert told in problem(client.post("/v1/predict", content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        ("[]", "rows"),
        ("[[]]", "empty"),
        ("[[1,2],[3]]", "one length, got 1 and 2"),
        ("[[1,2],3]", "rows"),
        ("[1,2]", "rows"),
        ("[[[1]]]", "3 of them"),
        ("[[[1,2,3,4]]]", "3 of them"),
        ("[[[1,2,3],[1,2]]]", "one length"),
        ("[[[[1,2,3]]]]", "3 of them"),
        ("[[[[1],[2],[3]]]]", "numbers"),
        ('[["7"]]', "numbers"),
        ("[[true]]", "numbers"),
        ("[[null]]", "numbers"),
        ("[[{}]]", "numbers"),
        ("[[1,[1,2,3]]]", "numbers"),
        ("[[[1,2,3],1]]", "numbers"),
        ("[[-1]]", "between 0 and 255"),
        ("[[256]]", "between 0 and 255"),
        ("[[" + "9" * 400 + "]]", "between 0 and 255"),
        ("[[-0.1]]", "[0, 1]"),
        ("[[1.5]]", "[0, 1]"),
        ("[[0.5,200]]", "[0, 1]"),
        ("[[NaN]]", "[0, 1]"),
        ("[[0.5,NaN,0.5]]", "[0, 1]"),
        ("[[Infinity]]", "[0, 1]"),
        ("[[1e999]]", "[0, 1]"),
        ("[[0.5," + "9" * 400 + "]]", "[0, 1]"),
        ("[[0.5,NaN," + "9" * 400 + "]]", "[0, 1]"),
        ('[["' + "x" * 60_000 + '",' + ",".join(["1"] * 9_000) + "]]", "numbers"),
    ],
)
def test_numbers_that_are_no_image(client: TestClient, pixels: str, told: str) -> None:
    body = f'{{"images": [{{"pixels": {pixels}}}]}}'
    assert told in problem(client.post("/v1/predict", content=body, headers=JSON), 422)


@pytest.mark.parametrize("text", ["", "A", "AA==A", "%%%%", "ä", "data:image/png;base64,§", "AAAA"])
def test_base64_that_holds_no_image(client: TestClient, text: str) -> None:
    problem(client.post("/v1/predict", json={"images": [{"base64": text}]}), 422)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"samples": 0}, "samples"),
        ({"samples": -1}, "samples"),
        ({"samples": 51}, "at most 50, got 51"),
        ({"samples": 10**30}, "samples"),
        ({"samples": 1.5}, "samples"),
        ({"samples": "many"}, "samples"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"adaptive": "perhaps"}, "adaptive"),
        ({"rule": "strict"}, "unknown rule"),
        ({"rule": "median:2"}, "between 0 and 1"),
        ({"rule": "nan:0.2"}, "between 0 and 1"),
        ({"rule": "x" * 65}, "64"),
        ({"sample": 3}, "sample"),
    ],
)
def test_parameters_that_do_not_fit(client: TestClient, asked: dict[str, Any], told: str) -> None:
    query = client.post("/v1/predict", params=asked, content=FILE, headers=PNG)
    form = {name: str(value) for name, value in asked.items()}
    upload = client.post("/v1/predict", files={"f": ("f", FILE)}, data=form)
    for answer in (query, upload, client.post("/v1/predict", json=one(**asked))):
        assert told in problem(answer, 422)


def test_json_has_numbers_as_numbers(client: TestClient) -> None:
    for asked in ({"samples": "7"}, {"samples": True}, {"adaptive": 1}, {"rule": 1}):
        assert next(iter(asked)) in problem(client.post("/v1/predict", json=one(**asked)), 422)


def test_a_model_that_is_not_there(client: TestClient) -> None:
    for name in ("other", "../../etc/passwd", "", "\x00"):
        detail = problem(client.post("/v1/predict", json=one(model=name)), 404)
        assert detail == "there is no such model; there are stripes"
        problem(client.get("/v1/model", params={"model": name}), 404)


def test_pages_and_methods_that_are_not_there(client: TestClient) -> None:
    for path in (
        "/nothing", "/v1", "/v1/predict/", "/docs", "/redoc", "/page/", "/page/../app.py",
        "/page/%2e%2e%2fapp.py", "/page/..%2Fapp.py", "/page/index.html/..", "/page/__init__.py",
        "//etc/passwd", "/page/%00",
    ):  # fmt: skip
        problem(client.get(path), 404)
    for method, path in (("GET", "/v1/predict"), ("POST", "/v1/model"), ("PUT", "/")):
        assert "allow" in client.request(method, path).headers
        problem(client.request(method, path), 405)


def test_content_that_is_not_taken(client: TestClient) -> None:
    for kind in ("text/plain", "application/xml", "video/mp4", "multipart/mixed", "nonsense"):
        answer = client.post("/v1/predict", content=FILE, headers={"Content-Type": f"{kind}; x=y"})
        detail = problem(answer, 415)
        assert "multipart/form-data" in detail
        assert f"'{kind}' is not taken" in detail
    packed = client.post(
        "/v1/predict", content=zlib.compress(FILE), headers={**PNG, "Content-Encoding": "deflate"}
    )
    assert "Content-Encoding" in problem(packed, 415)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PPM"])
def test_formats_are_by_content_not_by_name(
    classifier: nescio.Classifier, client: TestClient, form: str
) -> None:
    file = {"f": ("image.png", png(IMAGE, form), "image/png")}
    assert "read are PNG, JPEG, BMP, WEBP" in problem(client.post("/v1/predict", files=file), 422)
    with asking(create_app(models_of(classifier), formats=("PNG", form))) as wider:
        assert wider.post("/v1/predict", files=file).status_code == 200
        jpeg = wider.post("/v1/predict", files={"f": ("f", png(IMAGE, "JPEG"))})
        assert "read are PNG" in problem(jpeg, 422)


def test_files_that_are_no_images(client: TestClient) -> None:
    cut = FILE[: len(FILE) // 2]
    for content in (b"", b"rubbish", cut, FILE[:8], b"GIF89a", b"<svg/>", b"\x00" * 1000):
        problem(client.post("/v1/predict", content=content, headers=PNG), 422)
        problem(client.post("/v1/predict", files={"f": ("f.png", content)}), 422)


def test_forms_without_sense(client: TestClient) -> None:
    kind = {"Content-Type": "multipart/form-data"}
    assert "oundary" in problem(client.post("/v1/predict", content=b"x", headers=kind), 400)
    bound = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (
        b"",
        b"rubbish",
        b"--b\r\n",
        b"--b\r\nContent-Disposition: nothing\r\n\r\nx\r\n--b--",
    ):
        answer = client.post("/v1/predict", content=body, headers=bound)
        assert problem(answer, answer.status_code)
        assert answer.status_code in (400, 422)
    nothing = b'--b\r\nContent-Disposition: form-data; name="f"; filename=""\r\n\r\n\r\n--b--\r\n'
    assert "no image" in problem(client.post("/v1/predict", content=nothing, headers=bound), 422)
    fields = client.post(
        "/v1/predict", files={"f": ("f", FILE)}, data={str(i): "" for i in range(50)}
    )
    problem(fields, 400)


def test_too_many_images(client: TestClient) -> None:
    for answer in (
        client.post("/v1/predict", files=[("f", (str(i), FILE)) for i in range(5)]),
        client.post("/v1/predict", files=[("f", (str(i), FILE)) for i in range(200)]),
        client.post("/v1/predict", json={"images": [{"pixels": PIXELS}] * 5}),
        client.post(
            "/v1/predict",
            content=b'{"images":[' + b'{"base64":""},' * 4 + b'{"base64":""}]}',
            headers=JSON,
        ),
    ):
        assert "may have 4 images" in problem(answer, 413)


def test_too_many_bytes(client: TestClient) -> None:
    for kind in ("image/png", "application/json", "multipart/form-data; boundary=b"):
        answer = client.post("/v1/predict", content=b"x" * 100_001, headers={"Content-Type": kind})
        assert "100,000 bytes" in problem(answer, 413)


def test_more_images_than_are_even_counted(classifier: nescio.Classifier) -> None:
    body = b'{"images":[' + b"{}," * 10_001 + b"{}]}"
    with asking(create_app(models_of(classifier))) as client:
        assert "10000" in problem(client.post("/v1/predict", content=body, headers=JSON), 413)


def test_too_many_numbers(client: TestClient) -> None:
    rows = json.dumps({"images": [{"pixels": [[0] * 30_000]}]}, separators=(",", ":"))
    assert "20,000 numbers" in problem(client.post("/v1/predict", content=rows, headers=JSON), 413)


@pytest.mark.parametrize(
    "body",
    [
        b'{"images":[' + b"{}," * 10_001 + b"{}]}",
        b'{"images":[{"pixels":[' + b"[]," * 5_000 + b"[]]}]}",
        b'{"images":[{"pixels":[' + b"{}," * 5_000 + b"{}]}]}",
        b"[" * 5_000,
    ],
)
def test_small_texts_of_many_objects_are_not_built(client: TestClient, body: bytes) -> None:
    problem(client.post("/v1/predict", content=body, headers=JSON), 413)


def test_too_many_pixels_are_not_decoded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("nescio.service.images.decode_opened", fail)
    bomb = png(np.zeros((200, 200)))
    several = [("f", (str(i), png(np.zeros((100, 90))))) for i in range(4)]
    numbers = {"images": [{"pixels": [[0] * 130] * 130}]}
    for answer, told in (
        (client.post("/v1/predict", content=bomb, headers=PNG), "has 40,000 pixels"),
        (client.post("/v1/predict", files={"f": ("f", bomb)}), "has 40,000 pixels"),
        (client.post("/v1/predict", json={"images": [{"base64": base64_of(bomb)}]}), "40,000"),
        (client.post("/v1/predict", json=numbers), "has 16,900 pixels"),
        (client.post("/v1/predict", files=several), "36,000 pixels together"),
    ):
        assert told in problem(answer, 413)


def test_no_thread_begins_for_what_is_refused(app: FastAPI) -> None:
    """Fifty at once would begin forty, which keep all others waiting."""

    async def refuse() -> set[threading.Thread]:
        before = set(threading.enumerate())
        for path, content, status in (
            ("/v1/predict", png(np.zeros((200, 200))), 413),
            ("/nowhere", b"", 404),
        ):
            answer = await ask_raw(app, path, [content], {"content-type": "image/png"})
            assert answer.status == status
        return set(threading.enumerate()) - before

    assert not [one for one in asyncio.run(refuse()) if "AnyIO" in one.name]


def large_png(side: int = 9400) -> bytes:
    """One bit a pixel: 88 megapixels in some ten kilobytes."""
    packed = zlib.compress(bytes((side // 8 + 1) * side), 9)
    header = side.to_bytes(4, "big") * 2 + b"\x01\x00\x00\x00\x00"
    chunks = b"".join(
        len(content).to_bytes(4, "big") + kind + content
        + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    )  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_the_size_of_a_png_is_judged_by_its_header(
    classifier: nescio.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would decode all of it to look for an EXIF chunk behind the pixels."""

    def fail(*_: Any) -> None:
        raise AssertionError("it was decoded")

    bomb = large_png()
    assert len(bomb) < 20_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with asking(create_app(models_of(classifier))) as client:
        began = time.process_time()
        for _ in range(50):
            answer = client.post("/v1/predict", content=bomb, headers=PNG)
            assert "has 88,360,000 pixels, 25,000,000 are taken" in problem(answer, 413)
        assert time.process_time() - began < 2.0  # all of them; each took 80 ms to decode


def test_no_image_is_decoded_in_the_thread_of_all_clients(
    classifier: nescio.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nescio.service import images

    decode, threads = images.decode_opened, set()

    def watched(*arguments: Any, **how: Any) -> Any:
        threads.add(threading.get_ident())
        return decode(*arguments, **how)

    monkeypatch.setattr(images, "decode_opened", watched)
    app = create_app(models_of(classifier))

    async def ask() -> int:
        answer = await ask_raw(app, "/v1/predict", [FILE], {"content-type": "image/png"})
        assert answer.status == 200
        return threading.get_ident()

    assert asyncio.run(ask()) not in threads
    assert len(threads) == 1


def test_a_header_that_lies_of_its_size_is_a_bomb(client: TestClient) -> None:
    """30,000 by 30,000 pixels, says the header of a file of a hundred bytes."""
    header = (30_000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    chunk = b"IHDR" + header
    file = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk
    file += zlib.crc32(chunk).to_bytes(4, "big") + b"\x00" * 60
    answer = client.post("/v1/predict", content=file, headers=PNG)
    assert problem(answer, answer.status_code)
    assert answer.status_code in (413, 422)


def test_too_many_that_wait(classifier: nescio.Classifier) -> None:
    settings = BatchSettings(queue_images=2)
    with asking(create_app(models_of(classifier), batcher=Batcher(settings))) as client:
        answer = client.post("/v1/predict", json={"images": [{"pixels": PIXELS}] * 3})
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1


def test_an_accident_tells_nothing(
    client: TestClient,
    app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_: Any) -> None:
        raise RuntimeError("secret of /tmp/inside.py")

    monkeypatch.setattr(app.state.service.batcher, "submit", fail)
    detail = problem(client.post("/v1/predict", json=one()), 500)
    assert "secret" not in detail
    assert "secret" in caplog.text


def test_memory_that_is_short_is_told(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nescio.errors import OutOfMemoryError

    async def fail(_: Any) -> None:
        raise OutOfMemoryError("predicting: not enough memory")

    monkeypatch.setattr(app.state.service.batcher, "submit", fail)
    answer = client.post("/v1/predict", json=one())
    assert "memory" in problem(answer, 503)
    assert "retry-after" in answer.headers


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_is_short_while_an_image_is_decoded(
    error: Exception, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bands(_: Any) -> Iterator[None]:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("nescio.decode.png.Png.bands", bands)
        answer = client.post("/v1/predict", content=FILE, headers=PNG)
    assert "memory" in problem(answer, 503)
    assert "retry-after" in answer.headers
    assert client.post("/v1/predict", content=FILE, headers=PNG).status_code == 200
