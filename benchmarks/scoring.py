"""How many images a second ``nescio predict --out`` scores, in how much memory, and through kills.

    python benchmarks/scoring.py MODEL [--data mnist] [--images 1000000] [--processes 1 2]
    python benchmarks/scoring.py MODEL [--images 1000000] [--processes 2] --kill 20

The images are the test set over and over, each time moved by a seeded number of pixels; they are
written to one IDX file. Each process has one thread. Memory is read from /proc, process by process,
ten times a second. With --kill the job is killed (SIGKILL, all of its processes at once) at so many
seeded random moments, as it starts, works or joins, and resumed each time; its result must be, byte
for byte, that of an uninterrupted run, with each image once. Writes docs/scoring.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

import nescio
from nescio.data import all_images, load
from nescio.scoring.parts import Part

RESULT = Path(__file__).parent.parent / "docs" / "scoring.json"
MOST_MOVED = 3
"""Pixels by which the test set is moved, at most, in each direction."""


def write_images(path: Path, data: str, count: int, seed: int) -> None:
    """So many images as an IDX file; one copy of the test set is in memory."""
    images = all_images(load(data, labelled=False)).images[:, 0]
    height, width = images.shape[1:]
    rng = np.random.default_rng(seed)
    m = MOST_MOVED
    padded = pad(images, (m, m, m, m))
    with path.open("wb") as file:
        file.write(bytes([0, 0, 8, 3]) + np.array([count, height, width], ">u4").tobytes())
        for start in range(0, count, len(images)):
            top, left = rng.integers(0, 2 * m + 1, 2)
            moved = padded[: count - start, top : top + height, left : left + width]
            file.write(moved.contiguous().numpy().tobytes())


class Job:
    """``nescio predict`` by so many processes, watched."""

    def __init__(self, arguments: Sequence[str], processes: int, log: Path) -> None:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(processes)]
        start = launcher if processes > 1 else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._log = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, *start, "-m", "nescio", "predict", *arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        self.began = time.monotonic()
        self.peaks: dict[int, dict[str, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for pid in tree(self.process.pid):
                own = self.peaks.setdefault(pid, {})
                for name, value in memory(pid).items():
                    own[name] = max(own.get(name, 0), value)

    def wait(self) -> int:
        """Until it ends by itself; gives its status."""
        status = self.process.wait()
        self._end()
        return status

    def kill(self) -> None:
        """All of its processes at once, with no chance to clean up."""
        for pid in [*tree(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._log.close()


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def memory(pid: int) -> dict[str, int]:
    """MiB of a process that scores: all, and without what is mapped from files; else nothing."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"predict" not in command or b"torch.distributed.run" in command:
            return {}
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {"resident": "VmRSS", "anonymous": "RssAnon"}
    return {n: int(fields[f].split()[0]) // 1024 for n, f in named.items() if f in fields}


def parts(out: Path) -> list[tuple[Part, int]]:
    """Parts that are there, and their bytes."""
    found = []
    try:
        for entry in os.scandir(out.with_name(f"{out.name}.parts")):
            part = Part.parse(entry.name)
            if part is not None:
                found.append((part, entry.stat().st_size))
    except OSError:
        pass
    return found


def measure(arguments: Sequence[str], out: Path, count: int, processes: int) -> dict[str, Any]:
    """One run from its start to its end."""
    about = out.with_name(f"{out.name}.parts") / "about.json"
    job = Job([*arguments, "--out", str(out)], processes, out.with_suffix(".log"))
    ready, largest, seen = 0.0, 0, 0
    while job.process.poll() is None:
        time.sleep(0.2)
        if not ready and about.exists():
            ready = time.monotonic() - job.began
        if ready and time.monotonic() - job.began > ready + seen / 500:
            there = parts(out)
            seen = max(seen, len(there))
            largest = max([largest, *(size for _, size in there)])
    if job.wait():
        raise SystemExit(out.with_suffix(".log").read_text())
    seconds = time.monotonic() - job.began
    peaks = [own for own in job.peaks.values() if own]
    return {
        "processes": processes,
        "images": count,
        "seconds": round(seconds, 1),
        "start_seconds": round(ready, 1),
        "images_per_second": round(count / (seconds - ready), 1),
        "peak_resident_mib": sorted(own["resident"] for own in peaks),
        "peak_anonymous_mib": sorted(own["anonymous"] for own in peaks),
        "largest_part_bytes": largest,
        "result_bytes": out.stat().st_size,
        "answers": answers(out.with_suffix(".log")),
    }


def answers(log: Path) -> str:
    return next(line for line in log.read_text().splitlines() if "answered" in line).split(": ", 1)[
        1
    ]


def kill(
    arguments: Sequence[str],
    out: Path,
    count: int,
    results: set[str],
    *,
    processes: int,
    times: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Kill runs so often, resume them each time, and let them end; digests go to ``results``."""
    rng = np.random.default_rng(seed)
    killed: list[dict[str, Any]] = []
    log = out.with_suffix(".log")
    number = 0
    # A run that got to its end is compared, and the next one is killed.
    while len(killed) < times:
        own = out.with_stem(f"{out.stem}-{number}")
        number += 1
        # Below 0 it is killed as it starts, above 1 as it joins its parts.
        for share in sorted(rng.uniform(-0.1, 1.05, times - len(killed))):
            job = Job([*arguments, "--out", str(own), *resumed(own)], processes, log)
            while share >= 0 and job.process.poll() is None:
                if sum(part.counts.images for part, _ in parts(own)) >= min(share, 1) * count:
                    break
                time.sleep(0.02)
            spread = 10.0 if share < 0 else 0.3 if share > 1 else 2.0
            time.sleep(float(rng.uniform(0, spread)))
            alive = job.process.poll() is None
            job.kill()
            done = sum(part.counts.images for part, _ in parts(own))
            if alive:
                killed.append({"round": number, "share": round(float(share), 3), "done": done})
                print(json.dumps(killed[-1]), flush=True)
            if own.exists() and not resumed(own):
                break
        else:
            if Job([*arguments, "--out", str(own), *resumed(own)], processes, log).wait():
                raise SystemExit(log.read_text())
        if not each_once(own, count):
            raise SystemExit("an image is missing, or there twice")
        results.add(digest(own))
        own.unlink()
    return killed


def resumed(out: Path) -> list[str]:
    return ["--resume"] if out.with_name(f"{out.name}.parts").exists() else []


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def each_once(out: Path, count: int) -> bool:
    """Whether the result names every image, in order, once."""
    with out.open() as file:
        names = (json.loads(line)["image"] for line in file)
        return all(name == f"many[{i}]" for i, name in enumerate(names)) and _lines(out) == count


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", default="runs", help="under which name figures are written")
    parser.add_argument("--folder", type=Path, help="where images and results lie; a temporary one")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        images = folder / "many-images-idx3-ubyte"
        write_images(images, options.data, options.images, options.seed)
        arguments = [str(options.model.absolute()), str(images)]
        found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
        found |= {
            "nescio": nescio.__version__,
            "torch": torch.__version__,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "data": options.data,
            "image_bytes": images.stat().st_size,
        }
        runs = []
        results = set()
        for number, processes in enumerate(options.processes):
            out = folder / f"whole-{number}.jsonl"
            runs.append(measure(arguments, out, options.images, processes))
            print(json.dumps(runs[-1]), flush=True)
            if not each_once(out, options.images):
                raise SystemExit("an image is missing, or there twice")
            results.add(digest(out))
            out.unlink()
        if options.kill:
            processes = options.processes[-1]
            out = folder / "killed.jsonl"
            killed = kill(
                arguments,
                out,
                options.images,
                results,
                processes=processes,
                times=options.kill,
                seed=options.seed,
            )
            found["kills"] = {
                "processes": processes,
                "images": options.images,
                "uninterrupted": runs[-1],
                "killed": killed,
                "same_result": len(results) == 1,
                "each_once": True,  # else it would have ended before
            }
            print(json.dumps({k: v for k, v in found["kills"].items() if k != "killed"}))
        else:
            found[options.key] = {"runs": runs, "same_result": len(results) == 1}
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
