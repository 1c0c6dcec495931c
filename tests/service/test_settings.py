"""Settings, the share of the processor, and where the service listens."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nescio.errors import UsageError
from nescio.service.limits import Limits
from nescio.service.security import Security
from nescio.service.serve import address, listen, tell_systemd
from nescio.service.settings import Job, Place, Settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"threads": -1}, "--threads must be at least 1, got -1"),
        ({"grace": 0}, "--grace must be seconds from 1 to 3600, got 0"),
        ({"grace": float("nan")}, "--grace must be seconds from 1 to 3600, got nan"),
    ],
)
def test_settings_out_of_range(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as error:
        Settings(("model",), **given)
    assert str(error.value) == told


def test_a_worker_is_told_everything(tmp_path: Path) -> None:
    settings = Settings(
        ("a=b", "c"),
        workers=3,
        threads=2,
        log="errors",
        proxies=("10.0.0.1",),
        limits=Limits(rate=2.5, seconds=7),
        security=Security("secret", ("name",), ("https://example.org",)),
        network="module:factory",
    )
    job = Job("m:f", settings, Place(2, tmp_path), 5)
    line = job.to_json()
    assert line.count(b"\n") == 1
    assert json.loads(line)["settings"]["security"]["api_key"] == "secret"
    assert Job.from_json(line) == job


def test_a_free_port_and_its_address() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address(listener) == f"http://127.0.0.1:{port}/"
        with socket.create_connection(("127.0.0.1", port)):
            pass
    with listen("0.0.0.0", 0) as listener:  # noqa: S104 - that is what is tried
        assert address(listener).startswith("http://localhost:")


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", 70000, "--port 70000: expected a number from 0 to 65535"),
        ("192.0.2.1", 0, "--host 192.0.2.1 --port 0: this machine has no such address"),
        (
            "no such name",
            0,
            "--host no such name --port 0: no address of this machine has that name",
        ),
    ],
)
def test_where_nothing_can_listen(host: str, port: int, told: str) -> None:
    with pytest.raises(UsageError) as error:
        listen(host, port)
    assert str(error.value).startswith(told)


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        tell_systemd("READY=1")
        assert told.recv(100) == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell_systemd("READY=1")  # nobody to tell


def test_a_supervisor_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from nescio.cli.app import main\n"
        "from nescio.service import serve\n"
        "serve.serve = lambda *_: 0\n"
        "assert main(['serve', 'a.nescio', '--workers', '2']) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
