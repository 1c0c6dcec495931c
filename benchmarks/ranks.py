"""Two processes against one: the same posterior, and how much faster.

    python benchmarks/ranks.py same [--data digits]
    python benchmarks/ranks.py speed [--data mnist] [--images 12800] [--rounds 3]
    python benchmarks/ranks.py parts [--data mnist] [--rounds 3]

``same`` trains one network from the same initial weights on the same split: with one process and
two seeds, with two processes and two seeds. Differences between one process and two are held
against those between two seeds of one process: of means (in units of the posterior scale), of
scales, of the ELBO and of the figures of an evaluation.

``speed`` times steps of training and the scoring of images, one thread a process, in turns: one
process, two. The efficiency of two is half their speed over that of one.

``parts`` measures what a step is made of, for the model of docs/scale.md: the time of a step
of one process by the images in it, and of a sum over two processes by its bytes. All write their
figures to docs/ranks.json.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import nescio
from nescio.data import ImageSet, suitable_augmentation
from nescio.inference import Job, fit_posterior
from nescio.network import NetworkSpec, build
from nescio.ranks import join_ranks

RESULTS = Path(__file__).parents[1] / "docs" / "ranks.json"


def command(processes: int, *arguments: object) -> list[str]:
    """A job of so many processes of one thread each."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    run += ["--nproc-per-node", str(processes)]
    return [*(run if processes > 1 else [sys.executable]), *map(str, arguments)]


def run(processes: int, *arguments: object, threads: int = 1) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(
        command(processes, *arguments), check=True, env=environment, stderr=subprocess.DEVNULL
    )


def same(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train four times; compare."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = nescio.load(arguments.data)
        spec = NetworkSpec("cnn", data.train.preprocessing.shape, len(data.classes))
        save_file(build(spec, 0).state_dict(), folder / "start.safetensors")
        split = folder / "split.csv"
        models = {}
        for processes in (1, 2):
            for seed in (0, 1):
                out = folder / f"{processes}-{seed}.nescio"
                more = ["--split", split] if split.exists() else ["--write-split", split]
                train = ["-m", "nescio", "train", arguments.data, "--out", out, "--seed", seed]
                train += ["--weights", folder / "start.safetensors", *more, "--quiet"]
                run(processes, *train, "--effort", arguments.effort)
                models[processes, seed] = nescio.load_model(out)
        figures = {f"{p} processes, seed {s}": figures_of(m) for (p, s), m in models.items()}
        pairs = {
            "one process: seed 0 and seed 1": ((1, 0), (1, 1)),
            "two processes: seed 0 and seed 1": ((2, 0), (2, 1)),
            "seed 0: one process and two": ((1, 0), (2, 0)),
            "seed 1: one process and two": ((1, 1), (2, 1)),
            "one process, seed 0; two, seed 1": ((1, 0), (2, 1)),
            "one process, seed 1; two, seed 0": ((1, 1), (2, 0)),
        }
        apart = {name: distance(models[a], models[b]) for name, (a, b) in pairs.items()}
        return {"data": arguments.data, "figures": figures, "apart": apart}


def figures_of(classifier: nescio.Classifier) -> dict[str, float]:
    """The end of training, and an evaluation."""
    last = classifier.record.history[-1]
    found = classifier.evaluate(classifier.record.data, ood=["noise:1000", "letters:1000"], seed=0)
    told = found.to_json()
    return {
        "elbo": last.elbo,
        "log_likelihood": last.log_likelihood,
        "kl": last.kl,
        "forced_accuracy": told["forced_accuracy"]["value"],
        "coverage": told["coverage"]["value"],
        "accepted_accuracy": told["accepted_accuracy"]["value"],
        "nll": told["nll"],
        "letters_refused": told["ood"]["letters"]["refusal_rate"]["value"],
        "noise_refused": told["ood"]["noise"]["refusal_rate"]["value"],
    }


@torch.no_grad()
def distance(one: nescio.Classifier, other: nescio.Classifier) -> dict[str, float]:
    """Of two mean fields: means in units of the scale, and the logarithm of scales."""
    means, scales = [], []
    for name, loc in one.guide.loc.items():
        scale = one.guide.scale(name)
        means.append(((loc - other.guide.loc[name]) / scale).flatten())
        scales.append((scale / other.guide.scale(name)).log().flatten())
    mean, spread = torch.cat(means), torch.cat(scales)
    return {
        "means_rms": float(mean.square().mean().sqrt()),
        "log_scales_rms": float(spread.square().mean().sqrt()),
        "log_scales_mean": float(spread.mean()),
    }


def work(arguments: argparse.Namespace) -> None:
    """Two passes of training in this process's job; the second is timed."""
    torch.set_num_threads(arguments.threads)
    ranks = join_ranks("cpu")
    data = nescio.load(arguments.data).train
    count = min(arguments.images, len(data))
    some = ImageSet(data.name, data.images[:count], data.require_labels()[:count], data.classes)
    recipe = replace(nescio.DEFAULT, epochs=2, minimum_steps=0, augment=arguments.augment)
    recipe = replace(recipe, random=arguments.random, batch_size=arguments.batch_size)
    network = build(NetworkSpec("cnn", data.preprocessing.shape, len(data.classes)), 0)
    sent = Counted(ranks)
    job = Job(network, some, recipe, ranks=sent)
    fit = fit_posterior(job)
    steps = sum(recipe.steps_per_epoch(count) for _ in fit.history)
    if ranks.rank == 0:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = {
            "seconds": fit.history[-1].seconds,
            "images": count,
            "peak_bytes": peak,
            "bytes_a_step": sent.bytes / steps,
            "waited_a_step": sent.seconds / steps,
        }
        arguments.out.write_text(json.dumps(found))


class Counted:
    """Processes, and how many bytes each hands to sums, and how long these take."""

    def __init__(self, ranks: Any) -> None:
        self._ranks, self.bytes, self.seconds = ranks, 0, 0.0
        self.rank, self.size, self.place = ranks.rank, ranks.size, ranks.place
        self.gather, self.wait = ranks.gather, ranks.wait

    def sum_(self, values: torch.Tensor) -> torch.Tensor:
        self.bytes += values.numel() * values.element_size()
        start = time.perf_counter()
        summed = self._ranks.sum_(values)
        self.seconds += time.perf_counter() - start
        return summed


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps of training by one process and by more, in turns."""
    cases = {
        "head random, batches of 128": ["--random", "head", "--batch-size", 128],
        "head random, batches of 512": ["--random", "head", "--batch-size", 512],
        "all random, batches of 128": ["--random", "all", "--batch-size", 128],
    }
    ways = [(1, 1), (2, 1), (1, 2)]
    ways += [(n, 1) for n in (4, 8, 16) if n <= (os.cpu_count() or 1)]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        for case, options in cases.items():
            runs: dict[tuple[int, int], list[dict[str, float]]] = {way: [] for way in ways}
            for _ in range(arguments.rounds):
                for processes, threads in ways:
                    own = [__file__, "work", "--out", out, "--data", arguments.data]
                    own += ["--images", arguments.images, "--threads", threads, *options]
                    run(processes, *own, threads=threads)
                    runs[processes, threads].append(json.loads(out.read_text()))
            found[case] = {f"{p} x {t}": table(runs[p, t], p * t, runs[1, 1]) for p, t in ways}
            print(case, json.dumps(found[case], indent=1), flush=True)
    return {"data": arguments.data, "rounds": arguments.rounds, "cases": found}


def parts(arguments: argparse.Namespace) -> dict[str, Any]:
    """The time of a step by its images, and of a sum by its bytes; medians over rounds."""
    steps: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        for random in ("head", "all"):
            taken: dict[int, list[float]] = {size: [] for size in (16, 32, 64, 128, 256, 512)}
            for _ in range(arguments.rounds):
                for size, times in taken.items():
                    count = max(1600, 10 * size)
                    own = [__file__, "work", "--out", out, "--data", arguments.data]
                    run(1, *own, "--images", count, "--random", random, "--batch-size", size)
                    found = json.loads(out.read_text())
                    times.append(found["seconds"] / -(-count // size))
            steps[random] = {str(n): 1e3 * statistics.median(t) for n, t in taken.items()}
            print(random, steps[random], flush=True)
        run(2, __file__, "sums", "--out", out)
        sums = json.loads(out.read_text())
    return {"milliseconds_a_step_by_images": steps, "milliseconds_a_sum_by_bytes": sums}


def sums(arguments: argparse.Namespace) -> None:
    """What sums over all processes take, by their size."""
    torch.set_num_threads(1)
    ranks = join_ranks("cpu")
    found = {}
    for size in (4, 4_000, 64_000, 512_000, 2_000_000, 8_000_000, 64_000_000):
        values = torch.zeros(size // 4)
        times = []
        for _ in range(30):
            ranks.wait()
            start = time.perf_counter()
            ranks.sum_(values)
            times.append(time.perf_counter() - start)
        found[str(size)] = 1e3 * statistics.median(times)
    if ranks.rank == 0:
        arguments.out.write_text(json.dumps(found))


def table(
    runs: Sequence[dict[str, float]], cores: int, alone: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """Medians over rounds, and the efficiency round by round."""
    ratios = [b["seconds"] / (cores * a["seconds"]) for a, b in zip(runs, alone, strict=True)]
    return {
        "images_a_second": statistics.median(r["images"] / r["seconds"] for r in runs),
        "efficiency": statistics.median(ratios),
        "efficiencies": [round(ratio, 3) for ratio in ratios],
        "peak_megabytes": statistics.median(r["peak_bytes"] for r in runs) / 1e6,
        "bytes_a_step": statistics.median(r["bytes_a_step"] for r in runs),
        "milliseconds_in_sums_a_step": 1e3 * statistics.median(r["waited_a_step"] for r in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("same", "speed", "parts", "work", "sums"))
    parser.add_argument("--data")
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--random", default="head")
    parser.add_argument("--augment", default="auto")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.data = arguments.data or ("digits" if arguments.what == "same" else "mnist")
    if arguments.augment == "auto":
        arguments.augment = suitable_augmentation(arguments.data, 28)
    if arguments.what in ("work", "sums"):
        {"work": work, "sums": sums}[arguments.what](arguments)
        return
    found = {"same": same, "speed": speed, "parts": parts}[arguments.what](arguments)
    print(json.dumps(found, indent=1))
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    cores = {"cores": os.cpu_count(), "torch": torch.__version__}
    RESULTS.write_text(json.dumps({**kept, arguments.what: {**found, **cores}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
