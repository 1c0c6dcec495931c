"""Measure nescio beside its peers, interleaved in one run; writes JSON.

python benchmarks/bench.py --data mnist --out docs/performance.json

Every contender takes one step in turn, and so on for many rounds; the median of each and
its ratio to the plain network's count. So what disturbs the machine disturbs all alike.
Peers that are not installed are named as such (``make bench`` installs those that can be).
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from contenders import (
    BATCH,
    BayesianTorch,
    Blitz,
    Contender,
    Dropout,
    Ensemble,
    Ivon,
    Laplace,
    Nescio,
    Plain,
)
from torch import nn

import nescio
from nescio.data import split, to_float
from nescio.files import write_text
from nescio.inference.engine import EngineOptions
from nescio.network import NetworkSpec, build

SHAPE, CLASSES, STEP_BATCH = (1, 28, 28), 10, 128
Maker = Callable[[nn.Module, int], Contender]

MAKERS: dict[str, Maker] = {
    "plain network": Plain,
    "nescio": Nescio,
    "nescio, head only": partial(Nescio, random="head"),
    "nescio, exp scales": partial(Nescio, scale="exp"),
    "nescio, flipout": partial(Nescio, options=EngineOptions(estimator="flipout")),
    "nescio, local": partial(Nescio, options=EngineOptions(estimator="local")),
    "nescio, compiled": partial(Nescio, options=EngineOptions(compiled=True)),
    "nescio, Pyro engine": partial(Nescio, engine="pyro"),
    "MC dropout": Dropout,
    "ensemble of 5": Ensemble,
    "bayesian-torch": BayesianTorch,
    "bayesian-torch, flipout": partial(BayesianTorch, kind="Flipout"),
    "blitz": Blitz,
    "IVON (ivon-opt)": Ivon,
    "Laplace, last layer": Laplace,
}


STEPS_ONLY = {"nescio, exp scales", "nescio, flipout", "nescio, local", "nescio, compiled"}
"""They differ from nescio in training alone: predictions are not timed again."""


def network(name: str) -> nn.Module:
    return build(NetworkSpec(name, SHAPE, CLASSES))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def available(makers: dict[str, Maker], name: str, size: int) -> tuple[dict, dict]:
    made, missing = {}, {}
    for label, maker in makers.items():
        try:
            made[label] = maker(network(name), size)
        except ImportError as error:
            missing[label] = str(error)
    return made, missing


def interleaved(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {label: [] for label in work}
    for turn in range(rounds + 2):
        for label, one in work.items():
            took = seconds(one)
            if turn >= 2:
                times[label].append(took)
    return times


def summary(times: dict[str, list[float]], scale: float = 1.0) -> dict[str, dict[str, float]]:
    plain = median(times["plain network"])
    return {
        label: {
            "median": median(values) * scale,
            "low": min(values) * scale,
            "high": max(values) * scale,
            "ratio": median(values) / plain,
        }
        for label, values in times.items()
    }


def measure_steps(contenders: dict[str, Contender], rounds: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(STEP_BATCH, *SHAPE, generator=generator)
    y = torch.randint(0, CLASSES, (STEP_BATCH,), generator=generator)
    work = {label: partial(one.step, x, y) for label, one in contenders.items()}
    return summary(interleaved(work, rounds), 1e3)


def measure_prediction(contenders: dict[str, Contender], rounds: int, samples: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10_000, *SHAPE), generator=generator, dtype=torch.uint8)
    for one in contenders.values():
        if isinstance(one, Laplace):
            one.fit(images[:2000], torch.arange(2000) % CLASSES)
    work = {label: partial(one.predict, images, samples) for label, one in contenders.items()}
    return summary(interleaved(work, rounds))


def measure_quality(contenders: dict[str, Contender], data: nescio.Dataset, passes: int) -> dict:
    """Accuracy and NLL on held-out *training* images after so many passes."""
    images, labels = data.train.images, data.train.require_labels()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held, kept = order[: len(order) // 10], order[len(order) // 10 :]
    truth = labels[held]
    found = {}
    for label, one in contenders.items():
        torch.manual_seed(0)
        shuffler = torch.Generator().manual_seed(1)
        start = time.perf_counter()
        for _ in range(passes):
            for batch in torch.randperm(len(kept), generator=shuffler).split(STEP_BATCH):
                index = kept[batch]
                one.step(to_float(images[index]), labels[index])
        took = time.perf_counter() - start
        if isinstance(one, Laplace):
            one.fit(images[kept], labels[kept])
        p = one.predict(images[held], 100)
        found[label] = {
            "accuracy": float((p.argmax(-1) == truth).float().mean()),
            "nll": float(-p.gather(1, truth[:, None]).clamp_min(1e-30).log().mean()),
            "training_seconds": took,
        }
        print(label, found[label], file=sys.stderr)
    return found


def measure_memory(labels: list[str], name: str) -> dict[str, float]:
    """Peak memory of a process that does ten steps and one small prediction, in MB."""
    found = {}
    for label in labels:
        command = [sys.executable, __file__, "--one", label, "--network", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[label] = float(done.stdout.split()[-1])
    return found


def one_process(label: str, name: str) -> None:
    contender = MAKERS[label](network(name), 60_000)
    x, y = torch.rand(STEP_BATCH, *SHAPE), torch.zeros(STEP_BATCH, dtype=torch.int64)
    for _ in range(10):
        contender.step(x, y)
    images = torch.zeros(BATCH, *SHAPE, dtype=torch.uint8)
    if isinstance(contender, Laplace):
        contender.fit(images, torch.arange(BATCH) % CLASSES)
    contender.predict(images, 2)
    print(peak_megabytes())


def peak_megabytes() -> float:
    """The most memory that this process itself has held."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike ru_maxrss it starts anew when a process is replaced
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure_adaptive(data: nescio.Dataset, rounds: int) -> dict:
    """Adaptive against fixed sampling on images held out of training, by a fitted classifier.

    Both decide; the plain network makes a hundred passes over the same images.
    """
    classifier = nescio.fit("mlp", data)
    held = split(data, seed=0, calibration=0.1, test=0.0).calibration
    plain = Plain(network("mlp"), 1)
    found = {}
    work = {
        "plain network": lambda: plain.predict(held.images, 10),
        "fixed": lambda: found.update(fixed=classifier.decide(held)),
        "adaptive": lambda: found.update(adaptive=classifier.decide(held, adaptive=True)),
    }
    torch.set_num_threads(1)
    times = {label: median(values) for label, values in interleaved(work, rounds).items()}
    times["plain network"] *= 10  # a tenth of the hundred passes was timed
    fixed, adaptive = found["fixed"], found["adaptive"]
    same = (fixed.accepted == adaptive.accepted) & (
        ~fixed.accepted | (fixed.verdicts.top == adaptive.verdicts.top)
    )
    same &= fixed.verdicts.unfamiliar == adaptive.verdicts.unfamiliar
    return {
        "images": len(held),
        "seconds": times,
        "ratio": {label: times[label] / times["plain network"] for label in times},
        "same_decisions": int(same.sum()),
        "mean_samples": float(adaptive.samples.float().mean()),
    }


def measure_scaling(rounds: int) -> dict:
    """How the step grows with the parameters, and prediction with images and samples."""
    x, y = torch.rand(STEP_BATCH, *SHAPE), torch.zeros(STEP_BATCH, dtype=torch.int64)
    steps = []
    for hidden in (64, 256, 1024, 4096):
        widths = nescio.network.mlp(SHAPE, CLASSES, hidden)
        both = {"plain network": Plain(widths, 60_000)}
        both["nescio"] = Nescio(nescio.network.mlp(SHAPE, CLASSES, hidden), 60_000)
        times = interleaved({k: partial(c.step, x, y) for k, c in both.items()}, rounds)
        parameters = sum(p.numel() for p in widths.parameters())
        steps.append({"parameters": parameters, **{k: median(v) for k, v in times.items()}})
    one = Nescio(network("mlp"), 60_000)
    prediction = []
    for images, samples in ((1, 100), (100, 100), (1000, 10), (1000, 100), (10_000, 10)):
        pixels = torch.zeros(images, *SHAPE, dtype=torch.uint8)
        took = median(seconds(lambda p=pixels, s=samples: one.predict(p, s)) for _ in range(3))
        prediction.append({"images": images, "samples": samples, "seconds": took})
    return {"steps": steps, "prediction": prediction}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="also compare accuracy after 5 passes on this set")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.json"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--network", default="mlp")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers warn of much that is not ours
    torch.set_num_threads(options.threads)
    if options.one:
        one_process(options.one, options.network)
        return
    record: dict = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": options.threads,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "step_rounds": options.rounds,
        "networks": {},
    }
    for name in ("mlp", "cnn"):
        contenders, missing = available(MAKERS, name, 60_000)
        print(f"{name}: steps", file=sys.stderr)
        entry = {"missing": missing, "step_ms": measure_steps(contenders, options.rounds)}
        if name == "mlp":
            print("mlp: prediction", file=sys.stderr)
            contenders = {k: v for k, v in contenders.items() if k not in STEPS_ONLY}
            entry["prediction_samples"] = 10
            entry["prediction_s"] = measure_prediction(contenders, 4, 10)
            print("mlp: memory", file=sys.stderr)
            entry["memory_mb"] = measure_memory(list(contenders), name)
        record["networks"][name] = entry
    record["scaling"] = measure_scaling(max(5, options.rounds // 4))
    if options.data:
        data = nescio.load(options.data)
        print("adaptive", file=sys.stderr)
        record["adaptive"] = measure_adaptive(data, 3)
        torch.set_num_threads(2)
        fresh, _ = available(MAKERS, "mlp", math.ceil(0.9 * len(data.train)))
        fresh.pop("nescio, compiled")  # it fits what nescio fits
        record["quality"] = measure_quality(fresh, data, 5)
    write_text(options.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
