"""Streamed shards through the command line: trained on, evaluated, interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests_support import stripes, write_shards

from nescio.cli.app import main

TRAIN = ["--epochs", "3", "--batch-size", "32", "--network", "mlp", "--device", "cpu", "--quiet"]


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["evaluate", *words, "--json", "--samples", "10", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "were trained on" not in printed.err  # the data are known to be those of training
    results: dict[str, object] = json.loads(printed.out)
    results.pop("seconds")
    return results


@pytest.mark.slow
def test_train_and_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    pattern = write_shards(tmp_path, stripes(240, 0), size=60)
    assert pattern.endswith("set-{000..003}.tar")
    model, other = str(tmp_path / "m.nescio"), str(tmp_path / "n.nescio")
    stream = ["--stream", "--memory", "0"]
    assert main(["train", pattern, "--out", model, *TRAIN, *stream, "--workers", "1"]) == 0
    assert main(["train", pattern, "--out", other, *TRAIN]) == 0
    capsys.readouterr()
    results = evaluated(capsys, model, pattern, *stream)
    assert results["n"] == 36
    assert results == evaluated(capsys, model, pattern)
    # The whole set fits the buffer, so streaming changes nothing at all.
    assert results == evaluated(capsys, other, pattern, *stream)
    assert not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training that takes minutes."""
    folder = tmp_path_factory.mktemp("endless")
    pattern = write_shards(folder, stripes(300, 0), size=100)
    words = ["train", pattern, "--out", str(folder / "m.nescio"), "--stream", "--network", "mlp"]
    return [sys.executable, "-m", "nescio", *words, "--epochs", "100000", "--batch-size", "8"]


def workers_of(session: int) -> list[int]:
    """The processes of a session, by number."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,sess="], capture_output=True, check=True)
    pairs = [line.split() for line in listed.stdout.decode().splitlines()]
    return [int(pid) for pid, own in pairs if own == str(session)]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_training_leaves_no_process_and_no_traceback(
    endless: list[str], how: signal.Signals
) -> None:
    with subprocess.Popen(
        endless, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
    ) as running:
        end = time.monotonic() + 120
        # Itself, the resource tracker, the server of forks, and two workers.
        while len(workers_of(running.pid)) < 5 and time.monotonic() < end:
            time.sleep(0.2)
        assert len(workers_of(running.pid)) >= 5
        if how is signal.SIGINT:
            os.killpg(running.pid, how)  # as a terminal does: to all
        else:
            running.kill()
        assert running.stderr is not None
        told = running.stderr.read().decode()
        running.wait(60)
    assert "Traceback" not in told
    end = time.monotonic() + 20
    while workers_of(running.pid) and time.monotonic() < end:
        time.sleep(0.2)
    assert workers_of(running.pid) == []
