"""Write docs/performance.md and its picture from what bench.py measured."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Template
from matplotlib.figure import Figure

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
BLUE, GREY, INK = "#0072B2", "#BDBDBD", "#222222"


def table(rows: list[list[str]], header: list[str]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratio(entry: dict, label: str) -> str:
    return f"{entry[label]['ratio']:.2f}" if label in entry else "-"


def prediction_cells(mlp: dict, label: str) -> list[str]:
    """Seconds for 100 samples, and their ratio to a hundred plain passes."""
    predict = mlp["prediction_s"].get(label)
    if predict is None:
        return ["as nescio", ""]
    # The ensemble answers from its five networks, however many samples are asked for.
    times = 1 if label.startswith("ensemble") else 100 / mlp["prediction_samples"]
    plain = 100 / mlp["prediction_samples"] * mlp["prediction_s"]["plain network"]["median"]
    hundred = times * predict["median"]
    return [f"{hundred:.1f}", f"{hundred / plain:.2f}"]


def main_table(record: dict) -> str:
    mlp, cnn = record["networks"]["mlp"], record["networks"]["cnn"]
    quality = record.get("quality", {})
    rows = []
    for label, step in sorted(mlp["step_ms"].items(), key=lambda item: item[1]["ratio"]):
        q = quality.get(label)
        rows.append(
            [
                label,
                f"{step['median']:.1f}",
                f"**{step['ratio']:.2f}**",
                ratio(cnn["step_ms"], label),
                *prediction_cells(mlp, label),
                f"{mlp['memory_mb'][label]:.0f}" if label in mlp["memory_mb"] else "-",
                f"{100 * q['accuracy']:.1f}" if q else "-",
                f"{q['nll']:.3f}" if q else "-",
            ]
        )
    return table(
        rows,
        [
            "method", "step, ms", "step, ratio", "step of the CNN, ratio",
            "100 samples of 10,000 images, s", "ratio", "memory, MB", "accuracy, %", "NLL",
        ],
    )  # fmt: skip


def picture(record: dict) -> None:
    steps = record["networks"]["mlp"]["step_ms"]
    ordered = sorted(steps.items(), key=lambda item: -item[1]["ratio"])
    figure = Figure(figsize=(8, 0.36 * len(ordered) + 0.9), layout="constrained")
    axis = figure.subplots()
    for place, (label, entry) in enumerate(ordered):
        ours = label.startswith("nescio")
        axis.barh(place, entry["ratio"], color=BLUE if ours else GREY, height=0.7)
        axis.text(entry["ratio"] + 0.06, place, f"{entry['ratio']:.2f}", va="center", fontsize=9)
    axis.set_yticks(range(len(ordered)), [label for label, _ in ordered])
    axis.axvline(1, color=INK, lw=0.8)
    axis.set_xlabel(
        "training step of the 784-1024-10 network, as a multiple of the plain network's"
    )
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
    figure.savefig(DOCS / "pictures" / "performance.png", dpi=110)


def gpu_steps(record: dict) -> str:
    """Milliseconds of a step, and the ratio to the plain network's, on a GPU."""
    runs = record["steps"]
    labels = dict.fromkeys(label for run in runs for label in run["times"])

    def cell(run: dict, label: str) -> str:
        own = run["times"].get(label)
        return f"{own['median_ms']:.1f} ({own['ratio']:.2f})" if own else "-"

    header = [f"`{run['network']}`, {run['precision']}, {run['batch']:,}" for run in runs]
    rows = [[label, *(cell(run, label) for run in runs)] for label in labels]
    return table(rows, ["ms (ratio)", *header])


def page(record: dict, gpu: dict) -> str:
    growth = table(
        [
            [
                f"{row['parameters']:,}",
                f"{1e3 * row['plain network']:.2f}",
                f"{1e3 * row['nescio']:.2f}",
                f"{row['nescio'] / row['plain network']:.2f}",
            ]
            for row in record["scaling"]["steps"]
        ],
        ["parameters", "plain step, ms", "nescio's step, ms", "ratio"],
    )
    prediction = table(
        [
            [f"{row['images']:,}", f"{row['samples']}", f"{row['seconds']:.2f}"]
            for row in record["scaling"]["prediction"]
        ],
        ["images", "samples", "seconds"],
    )
    template = Template((HERE / "performance.md.jinja").read_text(), keep_trailing_newline=True)
    return template.render(
        record=record,
        mlp=record["networks"]["mlp"],
        methods=main_table(record),
        growth=growth,
        prediction=prediction,
        gpu=gpu,
        gpu_steps=gpu_steps(gpu),
    )


def main() -> None:
    record = json.loads((DOCS / "performance.json").read_text())
    picture(record)
    gpu = json.loads((DOCS / "gpu.json").read_text())
    (DOCS / "performance.md").write_text(page(record, gpu), encoding="utf-8")


if __name__ == "__main__":
    main()
