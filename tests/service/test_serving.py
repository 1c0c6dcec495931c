"""``nescio serve`` as it is started, with models."""

import http.client
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from asking import png
from service_support import Server, connect, get, wait_until
from tests_support import stripes

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc"),
]

RUN = "from nescio.cli import run; run()"
MEGABYTE = 1e6
Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(*arguments: str, port: int = 0) -> Server:
            command = ["-c", RUN, "serve", *arguments, "--port", str(port)]
            log = tmp_path / f"log{len(list(tmp_path.glob('log*')))}"
            return stack.enter_context(Server(command, log))

        yield begin


@pytest.fixture
def model(model_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "stripes.nescio"
    path.write_bytes(model_file.read_bytes())
    return path


def predict(connection: http.client.HTTPConnection, image: bytes) -> tuple[int, dict[str, Any]]:
    connection.request("POST", "/v1/predict", image, {"Content-Type": "image/png"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def resident(pid: int) -> float:
    """The memory of a process, in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return 1024 * float(found[1])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_answers_reloads_and_ends(start: Start, model: Path, workers: str) -> None:
    server = start(f"mine={model}", "--workers", workers, "--grace", "10")
    where = server.where()
    image = png(stripes(1, 5).images[0, 0].numpy())
    assert get(where, "/readyz")[0] == 200
    stop, results = threading.Event(), []

    def keep_asking() -> None:
        connection = connect(where)
        while not stop.is_set():
            results.append(predict(connection, image))
        connection.close()

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    server.send(signal.SIGHUP)
    server.logs("read anew: mine", int(workers))
    model.write_bytes(model.read_bytes()[:-100])
    server.send(signal.SIGHUP)
    server.logs("model mine is left as it was", int(workers))
    count = len(results)
    wait_until(lambda: len(results) > count + 8, "more answers")
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in results} == {200}
    assert {answer["predictions"][0]["label"] for _, answer in results} == {"left"}
    figures = get(where, "/metrics")[1]
    assert f'nescio_images_total{{verdict="accepted"}} {len(results)}.0' in figures
    assert f'nescio_model_loads_total{{outcome="failed"}} {workers}.0' in figures
    server.send(signal.SIGTERM)
    assert server.ended() == 0
    assert "Traceback" not in server.log()


def test_an_idle_server_is_small(start: Start, model: Path) -> None:
    server = start(str(model))
    where = server.where()
    assert get(where, "/readyz")[0] == 200
    assert resident(server.process.pid) < 600 * MEGABYTE


def test_a_killed_worker_is_replaced(start: Start, model: Path) -> None:
    server = start(str(model), "--workers", "2")
    where = server.where()
    server.logs("serves", 2)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.logs("serves", 3)
    assert get(where, "/readyz")[0] == 200
    assert len(server.workers()) == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_cannot_be_served_is_one_line_and_status_2(
    start: Start, model: Path, tmp_path: Path, workers: str
) -> None:
    missing = start(str(tmp_path / "none.nescio"), "--workers", workers)
    assert missing.ended() == 2
    assert re.fullmatch(r"error: .*none\.nescio.*\n", missing.log())
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = start(str(model), "--workers", workers, port=other.getsockname()[1])
        assert taken.ended() == 2
    assert re.fullmatch(r"error: .* something listens there already; .*\n", taken.log())


def test_the_key_is_in_no_log(start: Start, model: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("long-and-secret\n")
    server = start(
        str(model),
        "--api-key-file",
        str(key),
        "--log-json",
        "--workers",
        "2",
        "--proxy",
        "127.0.0.1",
    )
    where = server.where()
    connection = connect(where)
    connection.request(
        "GET",
        "/v1/models?key=long-and-secret",
        headers={"X-API-Key": "wrong", "X-Forwarded-For": "192.0.2.9"},
    )
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 403
    connection.request("GET", "/v1/models", headers={"X-API-Key": "long-and-secret"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    connection.close()
    # A line is written once its answer has gone.
    wait_until(lambda: server.log().count('"/v1/models"') == 2, "two lines")
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert [line["status"] for line in lines if line.get("path") == "/v1/models"] == [403, 200]
    assert [line["client"] for line in lines if "path" in line] == ["192.0.2.9", "127.0.0.1"]
    assert "long-and-secret" not in server.log()
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in server.workers()]
    assert not any("long-and-secret" in command for command in commands)
