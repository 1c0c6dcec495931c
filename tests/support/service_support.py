"""A server in processes of its own, and clients that keep asking it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


class Server:
    """A server that was started, and what it prints."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        paths = [str(ROOT / "src"), str(ROOT / "tests" / "support")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environment,
                start_new_session=True,
            )

    def where(self) -> str:
        """Its address, once it serves."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log()
        return line.split()[-1]

    def log(self) -> str:
        return self._log.read_text()

    def logs(self, text: str, count: int = 1) -> None:
        """Wait until it has logged that so often."""
        wait_until(lambda: self.log().count(text) >= count, f"{text!r} in {self.log()}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(PATIENCE)

    def workers(self) -> list[int]:
        """The processes below it."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass
class Client:
    """One that asks again and again over one connection, until it is told to stop.

    Attributes:
        answers: What it was answered.
        failures: The error of each request without an answer, and the answer before it.
        let_go: Whether an answer said that it is the last on this connection.
    """

    where: str
    path: str
    answers: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[Exception, dict[str, Any] | None]] = field(default_factory=list)
    let_go: bool = False

    def ask_until(self, stop: threading.Event) -> None:
        connection = connect(self.where)
        before = None
        while not stop.is_set():
            try:
                before = ask(connection, self.path)
                self.answers.append(before)
                if connection.sock is None:
                    self.let_go = True
                    return
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((error, before))
                connection.close()
        connection.close()


@contextmanager
def load(where: str, clients: int, path: str = "/v1/predict") -> Iterator[list[Client]]:
    """Within it so many clients ask; after it none does any more."""
    stop = threading.Event()
    asking = [Client(where, path) for _ in range(clients)]
    threads = [threading.Thread(target=client.ask_until, args=(stop,)) for client in asking]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(client.answers for client in asking), "an answer for each")
        yield asking
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def connect(where: str) -> http.client.HTTPConnection:
    address = urlsplit(where)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)


def ask(connection: http.client.HTTPConnection, path: str) -> dict[str, Any]:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (answer.status, body)
    content: dict[str, Any] = json.loads(body)
    return content


def get(where: str, path: str) -> tuple[int, str]:
    """The status and the body of one answer, over a connection of its own."""
    connection = connect(where)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether the process is there, and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
