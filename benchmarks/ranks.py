"""Two processes against one: the same posterior, and how much faster.

    python benchmarks/ranks.py same [--data digits]
    python benchmarks/ranks.py speed [--data mnist] [--rounds 25]
    python benchmarks/ranks.py parts [--data mnist] [--rounds 25]

``same`` trains one network from the same initial weights on the same split: with one process and
two seeds, with two processes and two seeds. Differences between one process and two are held
against those between two seeds of one process: of means (in units of the posterior scale), of
scales, of the ELBO and of the figures of an evaluation.

``speed`` times steps of training, one thread a process: ten by process 0 alone while the other
waits, ten by each for itself on half the batch, ten by both together, and so on in turns. The
efficiency of two is half their speed over that of one, in the same round, and the median counts;
that of processes apart, which exchange nothing, is what the machine allows.

``parts`` measures what a step is made of, for the model of docs/scale.md: the time of a step
of one process by the images in it, and of a sum over two processes by its bytes. All write their
figures to docs/ranks.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import nescio
from nescio.data import ImageSet, suitable_augmentation
from nescio.devices import peak_memory
from nescio.inference import Job
from nescio.inference.learner import mean_field
from nescio.inference.run import Run
from nescio.network import NetworkSpec, build, lay_out
from nescio.ranks import SOLO, join_ranks

RESULTS = Path(__file__).parents[1] / "docs" / "ranks.json"


def command(processes: int, *arguments: object) -> list[str]:
    """A job of so many processes of one thread each."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    run += ["--nproc-per-node", str(processes)]
    return [*(run if processes > 1 else [sys.executable]), *map(str, arguments)]


def run(processes: int, *arguments: object) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
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


def some_images(arguments: argparse.Namespace, count: int) -> ImageSet:
    data = nescio.load(arguments.data).train
    labels = data.require_labels()[:count]
    return ImageSet(data.name, data.images[:count], labels, data.classes)


def run_of(arguments: argparse.Namespace, images: ImageSet, ranks: Any) -> Run:
    """A training that is about to make its first step."""
    recipe = replace(nescio.DEFAULT, epochs=1000, minimum_steps=0, augment=arguments.augment)
    recipe = replace(recipe, random=arguments.random, batch_size=arguments.batch_size)
    network = build(NetworkSpec("cnn", images.preprocessing.shape, len(images.classes)), 0)
    return Run(Job(lay_out(network), images, recipe, ranks=ranks), mean_field)


def timed(run: Run, steps: int) -> float:
    """Seconds that so many steps take."""
    batches = list(islice(run._batches(0), steps))
    start = time.perf_counter()
    for batch in batches:
        run._step(batch)
    return time.perf_counter() - start


def work(arguments: argparse.Namespace) -> None:
    """Steps of process 0 alone, of all apart, and of all together, in turns."""
    torch.set_num_threads(1)
    ranks = Counted(join_ranks("cpu"))
    images = some_images(arguments, arguments.steps * arguments.batch_size)
    shared = run_of(arguments, images, ranks)
    alone = run_of(arguments, images, SOLO) if ranks.rank == 0 else None
    arguments.batch_size //= ranks.size
    apart = run_of(arguments, images, SOLO)
    taken: list[tuple[float, float, float]] = []
    for number in range(arguments.rounds + 1):
        one = 0.0 if alone is None else timed(alone, arguments.steps)
        ranks.wait()  # the others were idle until here
        start = time.perf_counter()
        timed(apart, arguments.steps)
        ranks.wait()
        both = time.perf_counter() - start
        ranks.bytes, ranks.seconds = 0, 0.0
        all_ = timed(shared, arguments.steps)
        if number:  # the first round warms up
            taken.append((one, both, all_))
        ranks.wait()
    if ranks.rank == 0:
        efficiencies = [one / (ranks.size * all_) for one, _, all_ in taken]
        ceilings = [one / (ranks.size * both) for one, both, _ in taken]
        done = len(images)
        found = {
            "images_a_second_alone": done / statistics.median(one for one, _, _ in taken),
            "images_a_second_apart": done / statistics.median(both for _, both, _ in taken),
            "images_a_second": done / statistics.median(all_ for _, _, all_ in taken),
            "efficiency": statistics.median(efficiencies),
            "efficiency_quartiles": statistics.quantiles(efficiencies, n=4)[::2],
            "efficiency_apart": statistics.median(ceilings),
            "efficiency_apart_quartiles": statistics.quantiles(ceilings, n=4)[::2],
            "peak_megabytes": peak_memory() / 1e6,
            "bytes_a_step": ranks.bytes / arguments.steps,
            "milliseconds_in_sums_a_step": 1e3 * ranks.seconds / arguments.steps,
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
    """Steps of training by one process and by more."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        for random, size in (("head", 128), ("head", 512), ("all", 128), ("all", 512)):
            for processes in [n for n in (2, 4, 8, 16) if n <= (os.cpu_count() or 1)]:
                own = [__file__, "work", "--out", out, "--data", arguments.data]
                own += ["--random", random, "--batch-size", size, "--rounds", arguments.rounds]
                run(processes, *own, "--steps", max(2, 1280 // size))
                case = f"{random} random, batches of {size}, {processes} processes"
                found[case] = json.loads(out.read_text())
                print(case, json.dumps(found[case], indent=1), flush=True)
    return {"data": arguments.data, "rounds": arguments.rounds, "cases": found}


def parts(arguments: argparse.Namespace) -> dict[str, Any]:
    """The time of a step by its images, and of a sum by its bytes; medians over rounds."""
    torch.set_num_threads(1)
    sizes = (16, 32, 64, 128, 256, 512)
    steps: dict[str, dict[str, float]] = {}
    for arguments.random in ("head", "all"):
        runs = {}
        for arguments.batch_size in sizes:
            runs[arguments.batch_size] = run_of(arguments, some_images(arguments, 2048), SOLO)
        taken: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(arguments.rounds):
            for size, one in runs.items():
                count = max(2, 256 // size)
                taken[size].append(timed(one, count) / count)
        steps[arguments.random] = {str(n): 1e3 * statistics.median(t) for n, t in taken.items()}
        print(arguments.random, steps[arguments.random], flush=True)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        run(2, __file__, "sums", "--out", out)
        found = json.loads(out.read_text())
    return {"milliseconds_a_step_by_images": steps, "milliseconds_a_sum_by_bytes": found}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("same", "speed", "parts", "work", "sums"))
    parser.add_argument("--data")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--random", default="head")
    parser.add_argument("--augment", default="auto")
    parser.add_argument("--batch-size", type=int, default=128)
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
