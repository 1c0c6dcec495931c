"""Make docs/scale.md from what was measured: docs/ranks.json, scoring.json, kills.json, gpu.json.

    python benchmarks/scale.py

The model of costs is fitted and held against measurements here; predictions follow from it, from
the GPU's figures and from the bandwidths that are assumed, all in one place below.
"""

import json
from pathlib import Path
from statistics import mean
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"

NODE = (250e9, 30e-6)
"""Bytes a second that pass through each GPU in a sum within one machine (NVLink), and seconds that
one message takes."""

FABRIC = (40e9, 50e-6)
"""Between machines with 400 Gb/s each; 80 % of it."""

ETHERNET = (2.5e9, 100e-6)
"""Between machines with 25 Gb/s each; 80 % of it."""

GPUS = 8
"""In a machine."""

PASSES = 16
"""Of the training that is predicted."""

BILLION = 1e9


def read(name: str) -> Any:
    path = DOCS / name
    return json.loads(path.read_text()) if path.exists() else {}


def line(points: dict[str, float]) -> tuple[float, float]:
    """Intercept and slope of milliseconds by images: least squares on relative errors."""
    pairs = [(float(n), t) for n, t in points.items()]
    weights = [1 / t**2 for _, t in pairs]
    total = sum(weights)
    x0 = sum(w * n for w, (n, _) in zip(weights, pairs, strict=True)) / total
    y0 = sum(w * t for w, (_, t) in zip(weights, pairs, strict=True)) / total
    top = sum(w * (n - x0) * (t - y0) for w, (n, t) in zip(weights, pairs, strict=True))
    slope = top / sum(w * (n - x0) ** 2 for w, (n, _) in zip(weights, pairs, strict=True))
    return y0 - slope * x0, slope


def sum_seconds(size: float, count: int, wire: tuple[float, float]) -> float:
    """A ring over ``count`` processes: ``2 (p - 1) / p`` of the bytes, ``2 (p - 1)`` messages."""
    bandwidth, latency = wire
    return 2 * (count - 1) / count * size / bandwidth + 2 * (count - 1) * latency


def step_seconds(compute: tuple[float, float], images: float, size: float, machines: int) -> float:
    """A step on ``machines`` machines of :data:`GPUS`: first within each, then between them."""
    fixed, each = compute
    within = sum_seconds(size, GPUS, NODE)
    between = sum_seconds(size / GPUS, machines, FABRIC) if machines > 1 else 0.0
    return fixed + each * images / (GPUS * machines) + within + between


def training(ranks: dict[str, Any]) -> str:
    rows = []
    for case, found in ranks["speed"]["cases"].items():
        low, high = found["efficiency_quartiles"]
        apart = f"{found['efficiency_apart']:.2f}" if "efficiency_apart" in found else "-"
        rows.append(
            f"| {case} | {found['images_a_second_alone']:,.0f} | {found['images_a_second']:,.0f} | "
            f"**{found['efficiency']:.2f}** ({low:.2f} to {high:.2f}) | {apart} | "
            f"{found['peak_megabytes']:,.0f} | {found['bytes_a_step']:,.0f} | "
            f"{found['milliseconds_in_sums_a_step']:.1f} |"
        )
    return "\n".join(rows)


def sameness(ranks: dict[str, Any]) -> tuple[str, str]:
    figures = ranks["same"]["figures"]
    names = list(next(iter(figures.values())))
    heads = [name.replace("1 processes", "1 process") for name in figures]
    head = "| | " + " | ".join(heads) + " |\n|---|" + "---:|" * len(figures)
    body = [
        f"| {name.replace('_', ' ')} | " + " | ".join(f"{f[name]:.4f}" for f in figures.values())
        for name in names
    ]
    apart = [
        f"| {name} | {found['means_rms']:.3f} | {found['log_scales_rms']:.5f} | "
        f"{found['log_scales_mean']:+.5f} |"
        for name, found in ranks["same"]["apart"].items()
    ]
    return "\n".join([head, *(f"{row} |" for row in body)]), "\n".join(apart)


def scoring(found: dict[str, Any]) -> str:
    rows = []
    for key in ("efficiency", "million"):
        for run in found.get(key, {}).get("runs", []):
            resident = " and ".join(str(v) for v in run["peak_resident_mib"])
            own = " and ".join(str(v) for v in run["peak_anonymous_mib"])
            rows.append(
                f"| {run['images']:,} | {run['processes']} | {run['images_per_second']:,.0f} | "
                f"{run['seconds']:,.0f} | {resident} | {own} |"
            )
    return "\n".join(rows)


def efficiency_of_scoring(found: dict[str, Any]) -> tuple[float, list[float]]:
    runs = found["efficiency"]["runs"]
    pairs = [(runs[i], runs[i + 1]) for i in range(0, len(runs) - 1, 2)]
    each = [b["images_per_second"] / (2 * a["images_per_second"]) for a, b in pairs]
    return mean(each), each


def gpu_compute(gpu: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a step of ``cnn`` in bfloat16 on one GPU: fixed, and for each image."""
    taken = {}
    for step in gpu["steps"]:
        if step["network"] == "cnn" and step["precision"] == "bfloat16":
            taken[step["batch"]] = step["times"]["nescio, head only"]["median_ms"] / 1e3
    (few, short), (many, long) = sorted(taken.items())
    each = (long - short) / (many - few)
    return short - each * few, each


def predictions(compute: tuple[float, float], size: float) -> str:
    rows = []
    for batch in (128, 8_192, 65_536):
        cells = [compute[0] + compute[1] * batch]
        cells += [step_seconds(compute, batch, size, machines) for machines in (1, 8)]
        rates = [batch / cell for cell in cells]
        shares = [rate / (n * rates[0]) for rate, n in zip(rates, (1, 8, 64), strict=True)]
        told = [
            f"{1e3 * cell:.1f} ms, {rate:,.0f}/s ({share:.2f})"
            for cell, rate, share in zip(cells, rates, shares, strict=True)
        ]
        rows.append(f"| {batch:,} | " + " | ".join(told) + " |")
    return "\n".join(rows)


def billion(rate: float, gpu: dict[str, Any]) -> str:
    """Images a second, hours and machine-hours of a billion images, by kind and number."""
    on_gpu = 10_000 / gpu["way"]["adaptive_seconds"]
    rows = []
    for what, each, of_machine, counts in (
        ("core like these", rate, 16, (1, 16, 1024)),
        ("H200", on_gpu, GPUS, (1, GPUS, 8 * GPUS)),
    ):
        for count in counts:
            hours = BILLION / (each * count) / 3600
            many = f"{what}s" if what == "H200" else what.replace("core", "cores")
            rows.append(
                f"| {count:,} {what if count == 1 else many} | {each * count:,.0f} | "
                f"{_hours(hours)} | {_hours(hours * count / of_machine)} |"
            )
    return "\n".join(rows)


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def passes_over_a_billion(compute: tuple[float, float], size: float) -> str:
    """The same of a training, 65,536 images a step."""
    rows = []
    for gpus in (1, GPUS, 8 * GPUS):
        batch = 65_536
        step = compute[0] + compute[1] * batch
        if gpus > 1:
            step = step_seconds(compute, batch, size, gpus // GPUS)
        hours = PASSES * BILLION / batch * step / 3600
        name = "1 H200" if gpus == 1 else f"{gpus} H200s"
        rows.append(
            f"| {name} | {batch / step:,.0f} | {_hours(hours)} | {_hours(hours * gpus / GPUS)} |"
        )
    return "\n".join(rows)


def killed(kills: dict[str, Any], found: dict[str, Any]) -> str:
    rows = []
    for run in kills.get("runs", []):
        what = f"training of {run['data']}, {run['processes']} process"
        what += "es" if run["processes"] > 1 else ""
        most = max(run["steps_lost"], default=0)
        rows.append(
            f"| {what} | {run['kills']} | at most {most} steps at a time "
            f"(a pass has {run['steps_a_pass']}) | "
            f"{'to the bit the same' if all(run['bit_equal']) else 'NOT the same'}, "
            f"{len(run['bit_equal'])} trainings |"
        )
    if "kills" in found:
        run = found["kills"]
        same = run["same_result"] and run["each_once"]
        rows.append(
            f"| scoring of {run['images']:,} images, {run['processes']} processes | "
            f"{len(run['killed'])} | the pieces under way | "
            f"{'byte for byte the same, each image once' if same else 'NOT the same'} |"
        )
    return "\n".join(rows)


def check(ranks: dict[str, Any]) -> str:
    """What the model says of two processes here, beside what was measured."""
    rows = []
    for case, found in ranks["speed"]["cases"].items():
        random, batch = case.split()[0], float(case.split("of ")[1].split(",")[0])
        fixed, each = line(ranks["parts"]["milliseconds_a_step_by_images"][random])
        sums = {float(n): t for n, t in ranks["parts"]["milliseconds_a_sum_by_bytes"].items()}
        nearest = min(sums, key=lambda n: abs(n - found["bytes_a_step"]))
        said = batch / (fixed + each * batch / 2 + sums[nearest]) * 1e3
        measured = found["images_a_second"]
        rows.append(f"| {case} | {said:,.0f} | {measured:,.0f} | {measured / said:.2f} |")
    return "\n".join(rows)


def main() -> None:
    ranks, found, gpu = read("ranks.json"), read("scoring.json"), read("gpu.json")
    kills = read("kills.json")
    same, apart = sameness(ranks)
    share, each = efficiency_of_scoring(found)
    fixed, slope = line(ranks["parts"]["milliseconds_a_step_by_images"]["head"])
    alone = [r for r in found["efficiency"]["runs"] if r["processes"] == 1]
    rate = mean(run["images_per_second"] for run in alone)
    size = next(iter(ranks["speed"]["cases"].values()))["bytes_a_step"]
    compute = gpu_compute(gpu)
    template = (Path(__file__).parent / "scale.md.template").read_text()
    page = template.format(
        cores=ranks["speed"]["cores"],
        torch=ranks["speed"]["torch"],
        rounds=ranks["speed"]["rounds"],
        training=training(ranks),
        same=same,
        apart=apart,
        scoring=scoring(found),
        scoring_share=f"{share:.2f}",
        scoring_each=", ".join(f"{value:.2f}" for value in each),
        killed=killed(kills, found),
        fixed=f"{fixed:.1f}",
        slope=f"{slope:.2f}",
        sums=", ".join(
            f"{t:.1f} ms for {int(n):,} bytes"
            for n, t in ranks["parts"]["milliseconds_a_sum_by_bytes"].items()
        ),
        check=check(ranks),
        gpu_fixed=f"{1e3 * compute[0]:.1f}",
        gpu_each=f"{1e6 * compute[1]:.2f}",
        bytes=f"{size:,.0f}",
        node=f"{NODE[0] / 1e9:.0f} GB/s and {1e6 * NODE[1]:.0f} microseconds a message",
        fabric=f"{FABRIC[0] / 1e9:.0f} GB/s and {1e6 * FABRIC[1]:.0f} microseconds",
        slow=f"{1e3 * sum_seconds(4 * 100e6, 8, ETHERNET):,.0f}",
        quick=f"{1e3 * sum_seconds(4 * 100e6, 8, FABRIC):,.0f}",
        predictions=predictions(compute, size),
        billion=billion(rate, gpu),
        passes=passes_over_a_billion(compute, size),
        rate=f"{rate:,.0f}",
        million_rate=f"{found.get('million', {}).get('images_a_core_second', 0):,.0f}",
    )
    (DOCS / "scale.md").write_text(page)


if __name__ == "__main__":
    main()
