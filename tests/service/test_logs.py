"""The service's log."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from nescio.service.logs import GONE, SHOWN, JSONLines, Lines, Observer, set_up_logs
from nescio.service.metrics import Metrics


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, list[str]] = {"text": [], "json": []}

    def emit(self, record: logging.LogRecord) -> None:
        self.lines["text"].append(Lines().format(record))
        self.lines["json"].append(JSONLines().format(record))


@pytest.fixture
def kept() -> Iterator[Kept]:
    log, handler = logging.getLogger("nescio.service"), Kept()
    requests = logging.getLogger("nescio.service.requests")
    levels = log.level, requests.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    requests.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(levels[0])
    requests.setLevel(levels[1])


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"12345"})


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """As where the client went away."""


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("inside")


def ask(app: Any, path: str = "/v1/predict", method: str = "POST", **more: Any) -> Metrics:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"key=SECRET",
        "headers": [(b"authorization", b"Bearer SECRET"), (b"x-api-key", b"SECRET")],
        "client": ("192.0.2.7", 5),
        **more,
    }
    metrics = Metrics()

    async def send(message: Any) -> None:
        pass

    async def receive() -> Any:
        return {"type": "http.request", "body": b"SECRET"}

    asyncio.run(Observer(app, metrics)(scope, receive, send))
    return metrics


def test_one_line_a_request_without_secrets(kept: Kept) -> None:
    ask(fine)
    (line,) = kept.lines["text"]
    time, client, method, path, status, size, unit, *duration = line.split()
    assert (client, method, path, status) == ("192.0.2.7", "POST", "/v1/predict", "200")
    assert (size, unit, duration[1]) == ("5", "bytes", "ms")
    assert time.endswith("Z")
    (record,) = map(json.loads, kept.lines["json"])
    assert record["status"] == 200
    assert record["bytes"] == 5
    assert record["client"] == "192.0.2.7"
    assert "SECRET" not in line + kept.lines["json"][0]


def test_nobody_writes_lines_into_the_log(kept: Kept) -> None:
    ask(fine, path="/x\n2026-01-01T00:00:00Z forged \x1b[31m\u202e", method="GET\n")
    (line,) = kept.lines["text"]
    assert "\n" not in line
    assert line.isascii()
    assert line.isprintable()
    assert len(line.split()) == 9
    ask(fine, path="/" + "y" * 100_000)
    assert len(kept.lines["text"][1]) < SHOWN + 150


def test_probes_are_logged_where_they_fail_alone(kept: Kept) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        ask(fine, path=path, method="GET")
    assert kept.lines["text"] == []
    ask(silent, path="/readyz", method="GET")
    assert f" /readyz {GONE} " in kept.lines["text"][0]


def test_what_fails_inside_is_counted_and_passed_on(kept: Kept) -> None:
    with pytest.raises(ValueError, match="inside"):
        ask(failing)
    assert len(kept.lines["text"]) == 1


def test_a_traceback_is_part_of_the_json_line(kept: Kept) -> None:
    try:
        int("inside")
    except ValueError:
        logging.getLogger("nescio.service").exception("it failed")
    (record,) = map(json.loads, kept.lines["json"])
    assert record["level"] == "error"
    assert record["message"] == "it failed"
    assert "ValueError: invalid literal" in record["traceback"]
    assert "\n" not in kept.lines["json"][0]


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("requests", ["request", "event", "error"]),
        ("events", ["event", "error"]),
        ("errors", ["error"]),
    ],
)
def test_how_much_is_logged(log: Any, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    names = ("nescio.service", "nescio.service.requests", "uvicorn")
    levels = [logging.getLogger(name).level for name in names]
    try:
        set_up_logs(log, as_json=False)
        logging.getLogger("nescio.service.requests").info("request")
        logging.getLogger("nescio.service.models").info("event")
        logging.getLogger("nescio.service.models").error("error")
        logging.getLogger("uvicorn.error").info("uvicorn's own")
    finally:
        root.handlers[:], root.level = before[0], before[1]
        root.setLevel(before[1])
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-1] for line in lines] == shown
