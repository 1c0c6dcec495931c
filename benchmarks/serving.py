"""How many answers a second ``nescio serve`` gives, how soon, and for how long.

    python benchmarks/serving.py MODEL [--data digits] [--rounds 3] [--seconds 8]
    python benchmarks/serving.py MODEL --soak 600 [--workers 2 --kill]

The first runs in turns, on one machine and in one run: the batch predictor (the classifier's own
``stream_decisions``, adaptive, over many images); the service under one to 64 clients at once that
upload PNG files; and a plain FastAPI server that runs the same network once for each
(``plain_server.py``). All take what cores there are, and the clients do, too. It writes
docs/serving.json and prints a table.

The second keeps 64 clients asking for so long, and samples the memory of all processes of the
server; with --kill one worker of several is killed (SIGKILL) half way, and the requests that
were lost are held against those that were under way in that worker.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import nescio

HERE = Path(__file__).parent
RESULT = HERE.parent / "docs" / "serving.json"
CLIENTS = (1, 4, 16, 64)
IMAGES = 500
"""Different images that clients upload, and that the predictor is given four times over."""


@contextmanager
def started(command: Sequence[str], port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of its own process, once it answers at ``path``."""
    server = subprocess.Popen([sys.executable, *command])
    try:
        deadline = time.monotonic() + 180
        while not _answers(f"http://127.0.0.1:{port}{path}"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start: {' '.join(command)}")
            time.sleep(0.1)
        yield server
    finally:
        server.terminate()
        server.wait(60)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - it is ours
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def served(model: Path, port: int, workers: int) -> Any:
    """``nescio serve`` on that port."""
    options = f"serve {model} --port {port} --workers {workers} --log errors"
    command = ["-c", "from nescio.cli import run; run()", *options.split()]
    return started(command, port, "/readyz")


def plain(model: Path, port: int) -> Any:
    """The plain server on that port."""
    command = f"{HERE / 'plain_server.py'} {model} --port {port}"
    return started(command.split(), port, "/openapi.json")


def free_port() -> int:
    """One that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def client(port: int, path: str, images: Path, clients: int, seconds: float) -> list[str]:
    """The command that asks."""
    return (
        f"{sys.executable} {HERE / 'load.py'} --port {port} --path {path} --images {images} "
        f"--connections {clients} --seconds {seconds}"
    ).split()


def asked(port: int, path: str, images: Path, clients: int, seconds: float) -> dict[str, Any]:
    """What clients of that number were answered; no error is let pass."""
    command = client(port, path, images, clients, seconds)
    load = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if load["lost"] or load["refused"] or set(load["statuses"]) != {"200"}:
        raise SystemExit(f"not all was answered: {load['statuses']}, {load['lost']} lost")
    return dict(load)


def write_images(images: Tensor, folder: Path) -> None:
    """``(n, 1, H, W)`` uint8 as PNG files."""
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{number:04d}.png")


def predictor_rate(classifier: nescio.Classifier, images: Tensor, seconds: float) -> float:
    """Images a second of the classifier's own ``stream_decisions``, adaptive."""
    many = images[:, 0].repeat(4, 1, 1)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for decisions in classifier.stream_decisions(many, rule=classifier.rule, adaptive=True):
            done += len(list(decisions))
    return done / (time.perf_counter() - began)


def one_by_one(classifier: nescio.Classifier, images: Tensor, seconds: float) -> list[float]:
    """Milliseconds of a predictor for each of some single images."""
    predictor = classifier.predictor()

    def decide(image: Tensor) -> None:
        stream = predictor.stream_decisions(
            image, rule=classifier.rule, samples=nescio.classifier.SAMPLES, adaptive=True
        )
        for decisions in stream:
            list(decisions)

    decide(images[:1])
    taken: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        decide(images[len(taken) % len(images)][None])
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def measure(model: Path, images: Tensor, rounds: int, seconds: float, workers: int) -> Any:
    """All of it in turns; the figures as JSON."""
    classifier = nescio.load_model(model)
    ours, theirs = free_port(), free_port()
    rates: dict[str, list[float]] = {"predictor": []}
    latency: dict[str, list[float]] = {"predictor": []}
    with (
        tempfile.TemporaryDirectory() as name,
        served(model, ours, workers) as server,
        plain(model, theirs),
    ):
        folder = Path(name)
        write_images(images, folder)
        time.sleep(2)
        idle = memory(server.pid)
        ways: dict[str, Callable[[int, float], dict[str, Any]]] = {
            "service": lambda n, s: asked(ours, "/v1/predict", folder, n, s),
            "plain": lambda n, s: asked(theirs, "/predict", folder, n, s),
        }
        for ask in ways.values():
            ask(16, 2.0)  # the first calls make ready
        for _ in range(rounds):
            rates["predictor"].append(predictor_rate(classifier, images, seconds))
            latency["predictor"] += one_by_one(classifier, images, seconds / 2)
            for clients in CLIENTS:
                for way, ask in ways.items():
                    load = ask(clients, seconds)
                    own = f"{way} {clients}"
                    rates.setdefault(own, []).append(len(load["latency"]) / load["seconds"])
                    latency.setdefault(own, []).extend(load["latency"])
        after = memory(server.pid)
    rate = {way: statistics.median(found) for way, found in rates.items()}
    return {
        "machine": {"cores": len(os.sched_getaffinity(0)), "processor": platform.machine()},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "workers": workers,
        "images": len(images),
        "rounds": rounds,
        "seconds": seconds,
        "rate": rate,
        "rates": rates,
        "p50_ms": {way: float(np.percentile(found, 50)) for way, found in latency.items()},
        "p99_ms": {way: float(np.percentile(found, 99)) for way, found in latency.items()},
        "requests": {way: len(found) for way, found in latency.items()},
        "share_of_predictor": rate[f"service {CLIENTS[-1]}"] / rate["predictor"],
        "idle_mb": idle,
        "after_load_mb": after,
    }


def table(found: dict[str, Any]) -> str:
    """The figures in Markdown."""
    rate, p50, p99 = found["rate"], found["p50_ms"], found["p99_ms"]
    one = p50["predictor"]
    lines = [
        "| clients | nescio: requests/s | p50 ms | p99 ms | plain: requests/s | p50 ms | p99 ms |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for clients in CLIENTS:
        row = [str(clients)]
        for way in (f"service {clients}", f"plain {clients}"):
            row += [f"{rate[way]:.0f}", f"{p50[way]:.1f}", f"{p99[way]:.1f}"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(
        [
            *lines,
            "",
            f"The batch predictor by itself: {rate['predictor']:.0f} images/s; the service has "
            f"{found['share_of_predictor']:.2f} of that with {CLIENTS[-1]} clients.",
            f"A predictor takes {one:.1f} ms for one image (p50); a single client waits "
            f"{p50['service 1'] - one:.1f} ms longer.",
            f"Memory of the idle server: {found['idle_mb']:.0f} MB; after the load "
            f"{found['after_load_mb']:.0f} MB.",
        ]
    )


def soak(
    model: Path, images: Tensor, seconds: float, workers: int, clients: int, *, kill: bool
) -> Any:
    """Full load for so long; with ``kill`` a worker is killed half way."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name, served(model, port, workers) as server:
        folder = Path(name)
        write_images(images, folder)
        command = client(port, "/v1/predict", folder, clients, seconds)
        with (folder / "load.json").open("wb") as output:
            asking = subprocess.Popen(command, stdout=output)
            began, samples, under_way = time.monotonic(), [], None
            while asking.poll() is None:
                now = time.monotonic() - began
                samples.append((now, memory(server.pid)))
                if kill and under_way is None and now > seconds / 2:
                    held = {pid: connections(pid, port) for pid in family(server.pid)[1:]}
                    victim = max(held, key=held.__getitem__)
                    under_way = held[victim]
                    os.kill(victim, signal.SIGKILL)
                time.sleep(min(1.0, seconds / 20))
        load = json.loads((folder / "load.json").read_text())
        ready = _answers(f"http://127.0.0.1:{port}/readyz")
    return summary(load, samples) | {
        "workers": workers,
        "clients": clients,
        "killed_with_under_way": under_way,
        "ready_after": ready,
    }


def summary(load: dict[str, Any], samples: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The figures of a soak: of requests, and of memory ``(seconds, MB)``."""
    ended, latency = np.array(load["ended"]), np.array(load["latency"])
    minutes = [latency[(ended >= s) & (ended < s + 60)] for s in range(0, int(load["seconds"]), 60)]
    # What is kept between requests has come to its size after the first fifth.
    late = np.array([(s, mb) for s, mb in samples if s > 0.2 * samples[-1][0]])
    slope = float(np.polyfit(late[:, 0] / 60, late[:, 1], 1)[0]) if len(late) > 2 else 0.0
    return {
        "seconds": load["seconds"],
        "requests": len(latency),
        "rate": len(latency) / load["seconds"],
        "statuses": load["statuses"],
        "lost": load["lost"],
        "refused": load["refused"],
        "p50_ms": float(np.percentile(latency, 50)),
        "p99_ms": float(np.percentile(latency, 99)),
        "p99_ms_by_minute": [float(np.percentile(own, 99)) for own in minutes if len(own)],
        "memory_mb_max": max(mb for _, mb in samples),
        "memory_mb_per_minute": slope,
        "memory_mb": [round(mb, 1) for _, mb in samples],
    }


def family(pid: int) -> list[int]:
    """A process and all below it, the youngest last."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in below for found in family(int(child)))]


def memory(pid: int) -> float:
    """Resident MB of a process and all below it; shared pages count once for each."""
    pages = 0
    for one in family(pid):
        try:
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except FileNotFoundError:  # it ended meanwhile
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def connections(pid: int, port: int) -> int:
    """How many open connections a process has from clients of that port."""
    opened = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = f":{port:04X}"
    return sum(r[1].endswith(own) and r[3] == "01" and f"socket:[{r[9]}]" in opened for r in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", default="digits", help="whose test images are uploaded")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--clients", type=int, default=CLIENTS[-1], help="of the soak")
    parser.add_argument("--kill", action="store_true", help="kill a worker half way")
    given = parser.parse_args()
    if given.kill and (given.workers < 2 or not given.soak):
        parser.error("--kill needs --soak and --workers of at least 2")
    data = nescio.load(given.data)
    images = (data.train if data.test is None else data.test).images[:IMAGES]
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if given.soak:
        found = soak(given.model, images, given.soak, given.workers, given.clients, kill=given.kill)
        kept["kill" if given.kill else "soak"] = found
        print(json.dumps({k: v for k, v in found.items() if k != "memory_mb"}, indent=1))
    else:
        name = "load" if given.workers > 1 else "load1"
        kept[name] = measure(given.model, images, given.rounds, given.seconds, given.workers)
        print(table(kept[name]))
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
