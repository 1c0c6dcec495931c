"""All kinds of posterior on the same network and data, and how near each comes to HMC.

    python benchmarks/posteriors.py --seeds 0,1 --effort quick      the table of all kinds
    python benchmarks/posteriors.py --agreement                     beside HMC, on a small problem

Writes docs/posteriors.json; rows that are measured again are replaced. Costs are of the processor
(CPU seconds of this process), so what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

import nescio
from nescio.cli.console import make_reporter
from nescio.data import ImageSet, to_float
from nescio.files import atomic_path
from nescio.inference import Job, Posterior, fit_posterior
from nescio.randomness import Stream, generator
from nescio.training import find_recipe, library_versions

OUT = Path(__file__).parents[1] / "docs" / "posteriors.json"

KINDS = (
    "mean-field",
    "low-rank:8",
    "ivon",
    "laplace:kron",
    "swag:20",
    "dropout:0.2",
    "ensemble:5",
    "mean-field-ensemble:5",
)
"""On the digits. The head's 10,250 weights are too many for laplace (full) and hmc."""

SMALL_KINDS = (
    "mean-field",
    "low-rank:8",
    "ivon",
    "laplace",
    "laplace:kron",
    "swag:20",
    "dropout:0.2",
    "ensemble:5",
    "ensemble:10",
    "mean-field-ensemble:5",
)

OOD = ("noise:1000", "letters:1000")

SAMPLES = 100

AGREEMENT = ("total_variation", "std_difference")
"""What is compared with HMC."""

GRID = 20
"""Points a side on which predictions for the small problem are compared."""

POINTS = 40
"""Training points of the small problem."""


def table(
    seeds: Sequence[int], effort: str, kinds: Sequence[str], old: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every kind on the digits, by the default recipe and network; grows by a row each time."""
    recipe = find_recipe("default").with_effort(effort)
    rows = {(row["posterior"], row["seed"]): row for row in old.get("rows", [])}
    if old.get("effort") != effort:
        rows = {}
    for seed in seeds:
        for kind in kinds:
            row = {"posterior": kind, "seed": seed, **one(kind, seed, recipe)}
            print(json.dumps(row), flush=True)
            rows[kind, seed] = row
            yield {"effort": effort, "samples": SAMPLES, "rows": list(rows.values())}


def one(kind: str, seed: int, recipe: nescio.Recipe) -> dict[str, Any]:
    begun = time.process_time()
    classifier = nescio.fit(
        "cnn",
        "digits",
        recipe=recipe,
        posterior=kind,
        samples=SAMPLES,
        seed=seed,
        precision="float32",  # auto asks the clock, and a busy machine may answer otherwise
        reporter=make_reporter(quiet=True),
    )
    trained = time.process_time() - begun
    evaluation = classifier.evaluate("digits", ood=OOD, samples=SAMPLES)
    images = torch.zeros(256, 28, 28, dtype=torch.uint8)
    begun = time.process_time()
    classifier.predict_samples(images, samples=SAMPLES)
    predicted = (time.process_time() - begun) / len(images)
    return {
        "n": evaluation.n,
        "accuracy": interval(evaluation.forced_accuracy),
        "nll": evaluation.nll,
        "nll_interval": interval(evaluation.intervals["nll"]),
        "ece": evaluation.ece,
        "aurc": evaluation.aurc,
        "aurc_interval": interval(evaluation.intervals["aurc"]),
        "coverage": interval(evaluation.coverage),
        "ood": {name: interval(each.refusal_rate) for name, each in evaluation.ood.items()},
        "train_cpu_seconds": trained,
        "predict_cpu_ms": 1000 * predicted,
    }


def interval(found: Any) -> list[float]:
    return [float(found.value), float(found.low), float(found.high)]


class Small(nn.Module):
    """Two numbers, ten units, two classes: 52 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(2, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(torch.tanh(self.hidden(x.flatten(1) * 6 - 3)))
        return logits


def small(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small()


def moons() -> ImageSet:
    """Two half moons, one point an image of 1 x 2 pixels; seeded."""
    rng = np.random.default_rng(0)
    labels = np.arange(POINTS) % 2
    angle = rng.uniform(0, np.pi, POINTS)
    x = np.where(labels, 0.5 - np.cos(angle), np.cos(angle) - 0.5) + rng.normal(0, 0.15, POINTS)
    y = np.where(labels, 0.25 - np.sin(angle), np.sin(angle) - 0.25) + rng.normal(0, 0.15, POINTS)
    pixels = np.clip((np.stack([x, y], 1) + 3) / 6 * 255, 0, 255).round().astype(np.uint8)
    images = torch.from_numpy(pixels).reshape(POINTS, 1, 1, 2)
    return ImageSet("moons", images, torch.from_numpy(labels), ("lower", "upper"))


def grid() -> Tensor:
    """``(GRID ** 2, 1, 1, 2)`` uint8, evenly over all points that an image can be."""
    side = torch.linspace(0, 255, GRID).round().to(torch.uint8)
    return torch.cartesian_prod(side, side).reshape(-1, 1, 1, 2)


@torch.no_grad()
def probabilities(guide: Posterior, count: int, seed: int) -> Tensor:
    """``(count, GRID ** 2, 2)`` under networks drawn from a posterior of :class:`Small`."""
    draw, x = guide.sampler(), to_float(grid())
    networks = (draw(generator(seed, Stream.PREDICTION, s), s) for s in range(count))
    return torch.stack([functional_call(small(0), w, (x,)).softmax(-1) for w in networks])


def distance(found: Tensor, gold: Tensor) -> dict[str, float]:
    """Between two ``(S, n, 2)``, on average over the grid."""
    variation = 0.5 * (found.mean(0) - gold.mean(0)).abs().sum(-1)
    spread = (found[..., 1].std(0) - gold[..., 1].std(0)).abs()
    return {"total_variation": float(variation.mean()), "std_difference": float(spread.mean())}


def agreement(
    seeds: Sequence[int], draws: int, kinds: Sequence[str], old: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every kind beside long NUTS on the moons; a second run of NUTS tells the noise."""
    data = moons()
    recipe = replace(
        find_recipe("default"),
        epochs=1,
        minimum_steps=2000,
        random="all",
        augment="none",
        prior="normal:1",
    )

    def fitted(kind: str, seed: int) -> tuple[Any, float]:
        begun = time.process_time()
        fit = fit_posterior(
            Job(small(seed), data, replace(recipe, posterior=kind), again=small, seed=seed)
        )
        return fit, time.process_time() - begun

    runs = [fitted(f"hmc:{draws}", seed) for seed in (0, 1)]
    golds = [probabilities(run.guide, draws, 0) for run, _ in runs]
    noise = {
        **distance(golds[1], golds[0]),
        "diagnostics": [dict(run.diagnostics) for run, _ in runs],
        "train_cpu_seconds": [seconds for _, seconds in runs],
    }
    print(json.dumps(noise), flush=True)
    gold = torch.cat(golds)
    rows = {(row["posterior"], row["seed"]): row for row in old.get("rows", [])}
    for seed in seeds:
        for kind in kinds:
            fit, seconds = fitted(kind, seed)
            figures = distance(probabilities(fit.guide, 1000, seed), gold)
            row = {"posterior": kind, "seed": seed, "train_cpu_seconds": seconds, **figures}
            print(json.dumps(row), flush=True)
            rows[kind, seed] = row
            yield {"networks": 2 * draws, "hmc_against_hmc": noise, "rows": list(rows.values())}


def digits_table(part: dict[str, Any]) -> list[str]:
    """Markdown, a row for each kind: the mean over the seeds, the least and the most."""
    lines = [
        "| posterior | seeds | right, % | NLL | AURC | refused: digits, % | noise, % | letters, % "
        "| training, CPU s | one image, CPU ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in by_kind(part["rows"]).items():
        refused = [100 * (1 - row["coverage"][0]) for row in rows]
        cells = [
            f"`{kind}`",
            str(len(rows)),
            ranged([100 * row["accuracy"][0] for row in rows], ".1f"),
            ranged([row["nll"] for row in rows], ".3f"),
            ranged([row["aurc"] for row in rows], ".1e"),
            ranged(refused, ".1f"),
            *(
                ranged([100 * row["ood"][name][0] for row in rows], ".1f")
                for name in rows[0]["ood"]
            ),
            f"{np.mean([row['train_cpu_seconds'] for row in rows]):.0f}",
            f"{np.mean([row['predict_cpu_ms'] for row in rows]):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def by_kind(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each kind, in the order of the kinds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["posterior"], []).append(row)
    order = list(dict.fromkeys((*SMALL_KINDS, *KINDS)))
    return dict(sorted(found.items(), key=lambda one: order.index(one[0])))


def ranged(values: Sequence[float], form: str) -> str:
    """The mean, and the least and the most where they differ."""
    mean, low, high = (format(x, form) for x in (np.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def agreement_table(part: dict[str, Any]) -> list[str]:
    """Markdown, a row for each kind: the mean over the seeds, the least and the most."""
    lines = [
        "| posterior | seeds | total variation | difference of standard deviations |",
        "|---|---|---|---|",
    ]
    noise = part["hmc_against_hmc"]
    named = {"hmc, another run": [noise], **{f"{k}": v for k, v in by_kind(part["rows"]).items()}}
    for kind, rows in named.items():
        cells = (ranged([row[n] for row in rows], ".3f") for n in AGREEMENT)
        lines.append(f"| `{kind}` | {len(rows)} | {' | '.join(cells)} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--effort", default="quick", choices=("quick", "normal", "best"))
    parser.add_argument("--kinds", help="only these, by commas")
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--draws", type=int, default=400, help="networks that HMC keeps, twice")
    parser.add_argument("--tables", action="store_true", help="print what was measured, and end")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    own = SMALL_KINDS if given.agreement else KINDS
    kinds = given.kinds.split(",") if given.kinds else own
    record = json.loads(given.out.read_text()) if given.out.exists() else {}
    if given.tables:
        print(
            "\n".join([*digits_table(record["table"]), "", *agreement_table(record["agreement"])])
        )
        return

    def write(**part: Any) -> None:
        whole = {**record, **part, "versions": library_versions()}
        with atomic_path(given.out) as temporary:
            temporary.write_text(json.dumps(whole, indent=1) + "\n")

    if given.agreement:
        for part in agreement(seeds, given.draws, kinds, record.get("agreement", {})):
            write(agreement=part)
        return
    for grown in table(seeds, given.effort, kinds, record.get("table", {})):
        write(table=grown)


if __name__ == "__main__":
    main()
