"""Measure nescio on a GPU beside the plain network, interleaved in one run; writes JSON.

python benchmarks/gpu.py --data mnist --out docs/gpu.json

Steps are timed in runs of many, since a GPU works behind the program's back: each contender takes
a run in turn, and the medians and their ratios to the plain network's count.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from contenders import Contender, Dropout, Nescio, Plain
from torch import nn

import nescio
from nescio.classifier import familiar_set, judge, shifted_sets
from nescio.devices import lowered
from nescio.files import write_text
from nescio.inference import DEFAULT
from nescio.inference.engine import EngineOptions
from nescio.network import NetworkSpec, build

SHAPE, CLASSES = (1, 28, 28), 10
BATCHES = (128, 4096)
STRANGE = ("mnist@inverted", "mnist@turned", "mnist@pairs", "noise:10000", "letters:10000")


def options(device: torch.device, **changes: Any) -> EngineOptions:
    return EngineOptions(generator=torch.Generator(device).manual_seed(0), **changes)


def contenders(
    name: str, device: torch.device, precision: torch.dtype, batch: int
) -> dict[str, Contender]:
    def network() -> nn.Module:
        return build(NetworkSpec(name, SHAPE, CLASSES)).to(device)

    def ours(random: str = "all", **changes: Any) -> Contender:
        chosen = options(device, precision=precision, **changes)
        return Nescio(network(), 60_000, random=random, options=chosen)

    made: dict[str, Callable[[], Contender]] = {
        "plain network": lambda: Plain(network(), 60_000),
        "MC dropout": lambda: Dropout(network(), 60_000),
        "nescio, head only": lambda: ours("head", estimator="local"),
        "nescio": ours,
        "nescio, local": partial(ours, estimator="local"),
        "nescio, flipout": partial(ours, estimator="flipout"),
    }
    if batch == BATCHES[0] and precision is torch.float32:  # compiling takes its time
        made["nescio, compiled"] = partial(ours, compiled=True)
    return {label: make() for label, make in made.items()}


def run_of_steps(
    contender: Contender, x: torch.Tensor, y: torch.Tensor, count: int, precision: torch.dtype
) -> float:
    """Seconds a step."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        if isinstance(contender, Plain):
            with lowered(x.device, precision):
                contender.step(x, y)
        else:
            contender.step(x, y)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def measure_steps(
    name: str, device: torch.device, precision: torch.dtype, batch: int, rounds: int
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, *SHAPE, generator=generator).to(device)
    y = torch.randint(0, CLASSES, (batch,), generator=generator).to(device)
    work = contenders(name, device, precision, batch)
    times: dict[str, list[float]] = {label: [] for label in work}
    for label, one in work.items():
        print(f"{name} {precision} {batch}: {label}", file=sys.stderr, flush=True)
        run_of_steps(one, x, y, 12, precision)  # kernels are chosen, networks compiled
    for _ in range(rounds):
        for label, one in work.items():
            times[label].append(run_of_steps(one, x, y, 30, precision))
    plain = median(times["plain network"])
    return {
        label: {
            "median_ms": 1e3 * median(own),
            "low_ms": 1e3 * min(own),
            "high_ms": 1e3 * max(own),
            "ratio": median(own) / plain,
        }
        for label, own in times.items()
    }


def measure_way(data: str, seed: int, epochs: int | None) -> dict[str, Any]:
    """Train by the default recipe, evaluate as a report does, and answer images one by one."""
    recipe = DEFAULT if epochs is None else replace(DEFAULT, epochs=epochs, minimum_steps=0)
    start = time.perf_counter()
    classifier = nescio.fit("cnn", data, recipe=recipe, seed=seed, device="cuda")
    trained = time.perf_counter() - start
    passes = sum(epoch.seconds for epoch in classifier.record.history)
    test = familiar_set(classifier, data)
    strange = shifted_sets(classifier, [s.replace("mnist", data) for s in STRANGE])
    start = time.perf_counter()
    study = judge(classifier, test, strange).study
    judged = time.perf_counter() - start
    found = {
        "train_seconds": trained,
        "pass_seconds": passes,
        "passes": len(classifier.record.history),
        "judged_images": len(test) + sum(len(s) for s in strange.values()),
        "judge_seconds": judged,
        "forced_accuracy": study.forced.accuracy.to_json(),
        "one_image": measure_latency(classifier, test.images[:1]),
    }
    for adaptive in (False, True):
        torch.cuda.synchronize()
        start = time.perf_counter()
        classifier.decide(test, adaptive=adaptive)
        found["adaptive_seconds" if adaptive else "fixed_seconds"] = time.perf_counter() - start
    return found


def measure_latency(classifier: nescio.Classifier, image: torch.Tensor) -> dict[str, float]:
    array = image[:, 0].numpy()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        classifier.decide(array, adaptive=True)
        times.append(1e3 * (time.perf_counter() - start))
    return {"median_ms": median(times[5:]), "low_ms": min(times[5:]), "high_ms": max(times[5:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist", help="what the default recipe is timed on")
    parser.add_argument("--out", type=Path, default=Path("docs/gpu.json"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, help="passes of the default recipe [its own]")
    asked = parser.parse_args()
    device = torch.device("cuda")
    record: dict[str, Any] = {
        "machine": {
            "gpu": torch.cuda.get_device_name(device),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "rounds": asked.rounds,
        "way": measure_way(asked.data, 0, asked.epochs),
        "steps": [],
    }
    write_text(asked.out, json.dumps(record, indent=1) + "\n")
    for name in ("mlp", "cnn"):
        for precision in (torch.float32, torch.bfloat16):
            for batch in BATCHES:
                times = measure_steps(name, device, precision, batch, asked.rounds)
                record["steps"].append(
                    {
                        "network": name,
                        "precision": str(precision).removeprefix("torch."),
                        "batch": batch,
                        "times": times,
                    }
                )
                # What is measured so far is kept if the rest fails.
                write_text(asked.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
