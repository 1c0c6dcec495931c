"""What the page on serving shows is so."""

import contextlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from asking import asking, models_of

import nescio
from nescio.service.app import create_app
from nescio.service.limits import Limits
from nescio.service.openapi import MEANINGS

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")


@pytest.fixture
def address(classifier: nescio.Classifier) -> Iterator[str]:
    app = create_app(models_of(classifier))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join()


def test_the_client_of_ten_lines_is_answered(address: str) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert found is not None
    code = found[1].replace("http://127.0.0.1:8000", address)
    assert code != found[1]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        exec(code, {})  # noqa: S102 - the project's own page
    assert re.fullmatch(r"bar (left|right|top|I don't know \(\w+\))\n", told.getvalue())


def test_the_problem_that_is_shown_is_told(classifier: nescio.Classifier) -> None:
    shown = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.S)[-1])
    with asking(create_app(models_of(classifier))) as client:
        # What a browser sends of a form in which no file was chosen.
        part = b'--b\r\nContent-Disposition: form-data; name="f"; filename=""\r\n\r\n\r\n--b--\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        told = client.post("/v1/predict", content=part, headers=kind)
        assert told.json() == shown


def test_every_status_and_limit_is_listed() -> None:
    listed = {
        int(n)
        for row in re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", PAGE, re.M)
        for n in row.split(", ")
    }
    assert listed | {500} == set(MEANINGS) | {405}
    limits = Limits()
    assert f"more than {limits.body_bytes // 2**20} MiB" in PAGE
    assert f"{limits.pixels // 10**6} million pixels" in PAGE
    assert f"or {limits.request_pixels // 10**6} million in a request" in PAGE
    assert f"more than {limits.images} images" in PAGE
    assert f"or {limits.numbers // 10**6} million numbers" in PAGE
    assert f"more than {limits.samples:,} samples" in PAGE
    assert f"`--timeout`, {limits.seconds:g} s" in PAGE
