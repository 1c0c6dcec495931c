"""Several processes behind one socket, tried with real ones and a service without PyTorch."""

import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from service_support import Server, connect, get, lives, load, wait_until

pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks at processes in /proc"
)

Start = Callable[..., Server]

# Each test starts processes, which takes seconds: those that try most are fast tests.
ALONE = pytest.param(1, marks=pytest.mark.slow)
TWO = pytest.param(2, marks=pytest.mark.slow)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_text("old")
    return path


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**settings: Any) -> Server:
            given = {"models": [str(model)], "port": 0, "grace": 5, **settings}
            command = ["-m", "stub_service", json.dumps(given)]
            log = tmp_path / f"log{len(list(tmp_path.iterdir()))}"
            return stack.enter_context(Server(command, log))

        yield begin


def replace(model: Path, content: str) -> None:
    new = model.with_suffix(".new")
    new.write_text(content)
    new.rename(model)


@pytest.mark.parametrize("workers", [ALONE, 2])
def test_hangup_under_load_loses_nothing_and_the_new_model_answers(
    start: Start, model: Path, workers: int
) -> None:
    server = start(workers=workers)
    where = server.where()
    server.logs("serves", workers if workers > 1 else 0)
    with load(where, 8) as clients:
        replace(model, "new")
        server.send(signal.SIGHUP)
        server.logs("loaded anew", workers)
        before = [len(client.answers) for client in clients]
        wait_until(
            lambda: all(len(c.answers) > n + 2 for c, n in zip(clients, before, strict=True)),
            "answers after the reload",
        )
    assert all(client.failures == [] for client in clients)
    for client in clients:
        words = [answer["word"] for answer in client.answers]
        assert words == sorted(words, reverse=True)  # first old, then new
        assert words[0] == "old"
        assert words[-1] == "new"


@pytest.mark.parametrize("workers", [ALONE, TWO])
def test_a_bad_file_on_hangup_keeps_the_old_model(start: Start, model: Path, workers: int) -> None:
    server = start(workers=workers)
    where = server.where()
    server.logs("serves", workers if workers > 1 else 0)
    replace(model, "bad")
    server.send(signal.SIGHUP)
    server.logs("the old model stays", workers)
    status, body = get(where, "/v1/predict")
    assert (status, json.loads(body)["word"]) == (200, "old")
    lines = server.log().splitlines()
    assert sum("is bad" in line for line in lines) == workers
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("workers", [ALONE, TWO])
def test_the_end_under_load_answers_what_was_asked(start: Start, workers: int) -> None:
    server = start(workers=workers)
    with load(server.where(), 8, "/v1/predict?seconds=0.05") as clients:
        server.send(signal.SIGTERM)
        wait_until(lambda: all(client.let_go for client in clients), "all to be let go")
    assert [client.failures for client in clients] == [[]] * 8
    assert server.ended() == 0
    assert "Traceback" not in server.log()


@contextmanager
def asking_long(where: str) -> Iterator[None]:
    """Within it a request is under way that takes a minute."""
    connection = connect(where)
    connection.request("GET", "/v1/predict?seconds=60")
    wait_until(lambda: "requests_under_way 2.0" in get(where, "/metrics")[1], "the request")
    yield
    connection.close()


@pytest.mark.slow
def test_what_takes_longer_than_the_grace_is_given_up(start: Start) -> None:
    server = start(workers=2, grace=1)
    with asking_long(server.where()):
        began = time.monotonic()
        server.send(signal.SIGTERM)
        assert server.ended() == 0
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("workers", [ALONE, TWO])
def test_a_second_interrupt_stops_at_once(start: Start, workers: int) -> None:
    server = start(workers=workers, grace=60)
    with asking_long(server.where()):
        server.send(signal.SIGINT)
        time.sleep(1)
        assert server.process.poll() is None
        began = time.monotonic()
        server.send(signal.SIGINT)
        assert server.ended() == 130
        assert time.monotonic() - began < 30


def test_a_killed_worker_loses_its_own_requests_alone_and_is_replaced(start: Start) -> None:
    server = start(workers=2)
    where = server.where()
    server.logs("serves", 2)
    with load(where, 16, "/v1/predict?seconds=0.02") as clients:
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        server.logs("ended by SIGKILL")
        server.logs("serves", 3)
        wait_until(lambda: len(server.workers()) == 2, "two workers")
    failures = [failure for client in clients for failure in client.failures]
    assert all(len(client.failures) <= 1 for client in clients)
    for _, before in failures:
        assert before is not None
        assert before["process"] == victim
    assert victim not in server.workers()
    assert get(where, "/v1/predict")[0] == 200


@pytest.mark.slow
def test_workers_end_with_a_supervisor_that_is_killed(start: Start, tmp_path: Path) -> None:
    server = start(workers=2)
    where = server.where()
    server.logs("serves", 2)
    workers = server.workers()
    server.process.kill()
    wait_until(lambda: not any(map(lives, workers)), "the workers to end")
    with pytest.raises(OSError, match="refused"):
        get(where, "/readyz")


@pytest.mark.parametrize("workers", [ALONE, 2])
def test_a_model_that_is_missing_is_one_line_and_status_2(
    start: Start, model: Path, workers: int
) -> None:
    model.unlink()
    server = start(workers=workers)
    assert server.ended() == 2
    assert server.log() == f"error: {model}: there is no such file\n"


@pytest.mark.slow
def test_a_worker_that_dies_while_it_starts_is_one_line_and_status_2(
    start: Start, model: Path
) -> None:
    model.write_text("die")
    server = start(workers=2)
    assert server.ended() == 2
    assert "ended with status 7 before it served" in server.log()
    assert server.log().count("\n") == 1


@pytest.mark.slow
def test_a_replacement_that_cannot_start_leaves_the_others_at_work(
    start: Start, model: Path
) -> None:
    server = start(workers=2)
    where = server.where()
    server.logs("serves", 2)
    model.write_text("bad")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.logs("is bad; another is started in 1 s")
    assert json.loads(get(where, "/v1/predict")[1])["word"] == "old"
    model.write_text("mended")
    server.logs("serves", 3)


@pytest.mark.slow
def test_a_worker_for_which_there_is_no_room_is_tried_again(start: Start) -> None:
    server = start(workers=2)
    where = server.where()
    server.logs("serves", 2)
    pid = server.process.pid
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, usual[1]))
    os.kill(server.workers()[0], signal.SIGKILL)
    server.logs("cannot be started: Too many open files")
    assert get(where, "/v1/predict")[0] == 200
    resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
    server.logs("serves", 3)


@pytest.mark.parametrize("workers", [1, TWO])
def test_a_port_in_use_is_one_line_and_status_2(start: Start, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start(workers=workers, port=port)
        assert server.ended() == 2
    assert server.log() == (
        f"error: --host 127.0.0.1 --port {port}: something listens there already; "
        "choose another port, or 0 for one that is free\n"
    )


@pytest.mark.slow
def test_figures_add_up_over_workers_also_dead_ones_and_leave_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    server = start(workers=2)
    where = server.where()
    server.logs("serves", 2)
    asked = 0
    with load(where, 8) as clients:
        wait_until(lambda: all(len(c.answers) > 10 for c in clients), "some answers")
    asked = sum(len(client.answers) for client in clients)
    assert len({a["process"] for c in clients for a in c.answers}) == 2
    for _ in range(2):  # before a worker died, and after
        figures = read_figures(get(where, "/metrics")[1])
        key = 'nescio_requests_total{method="GET",route="/v1/predict",status="200"}'
        assert figures[key] == asked
        assert figures['nescio_images_total{verdict="accepted"}'] == asked
        assert figures["nescio_networks_sampled_sum"] == 20 * asked
        assert figures["nescio_requests_under_way"] == 1  # this one
        os.kill(server.workers()[0], signal.SIGKILL)
        server.logs("serves", 3)
    server.send(signal.SIGTERM)
    assert server.ended() == 0
    assert list(own.iterdir()) == []


def read_figures(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
