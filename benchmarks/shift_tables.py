"""Draw docs/pictures/corruptions.png from what shifts.py measured.

python benchmarks/shift_tables.py [docs/shifts.json] [docs/pictures/corruptions.png]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nescio.data import CORRUPTIONS

DOCS = Path(__file__).parent.parent / "docs"
BLUE, ORANGE, GREEN, INK, SOFT = "#0072B2", "#D55E00", "#007A5A", "#222222", "#555555"

CURVES = {
    "accepted_accuracy": ("right when answered", BLUE, "-"),
    "coverage": ("answered", GREEN, "--"),
    "forced_accuracy": ("right when forced", ORANGE, ":"),
}
"""Figure, its name for a reader, colour and line: told apart without colour, too."""

COLUMNS = 5
MARK = 99.0
"""Per cent; a line at which the eye can measure."""


def draw(record: dict[str, Any]) -> Figure:
    """A panel for each corruption.

    Thin lines are single models, thick ones their mean; shaded is where the models' exact 95 %
    intervals for right answers lie, which are wide where few images were answered.
    """
    models = record["models"]
    names = list(models[0]["corruptions"])
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(2.3 * COLUMNS + 0.4, 2.05 * rows + 0.8), dpi=110, layout="constrained")
    axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        panel(axis, models, name)
    for place in range(len(names), len(axes)):
        axes[place].set_axis_off()
        axes[place - COLUMNS].tick_params(labelbottom=True)
    key(axes[len(names)] if len(names) < len(axes) else axes[0])
    images, seeds = models[0]["corrupted"], ", ".join(str(model["seed"]) for model in models)
    figure.supxlabel(
        f"severity; 0 is {record['data']} as it is. {images:,} test images, "
        f"seed{'s' if len(models) > 1 else ''} {seeds}",
        fontsize=9,
        color=SOFT,
    )
    figure.supylabel("per cent", fontsize=9, color=SOFT)
    return figure


def panel(axis: Axes, models: list[dict[str, Any]], name: str) -> None:
    axis.axhline(MARK, color="#999999", lw=0.7)
    low, high = (
        np.array([curve(model, name, "accepted_accuracy", end) for model in models])
        for end in ("low", "high")
    )
    axis.fill_between(range(6), low.min(0), high.max(0), color=BLUE, alpha=0.13, lw=0)
    for figure_name, (_, colour, line) in CURVES.items():
        values = np.array([curve(model, name, figure_name) for model in models])
        if len(models) > 1:
            axis.plot(values.T, color=colour, lw=0.5, alpha=0.45)
        # No mean where a model answered nothing: it would be of fewer models.
        axis.plot(values.mean(0), color=colour, lw=1.8, ls=line)
    axis.set_title(name, fontsize=9.5, color=INK, fontweight="bold", pad=15)
    axis.text(
        0.5, 1.03, CORRUPTIONS[name].description, transform=axis.transAxes, ha="center",
        va="bottom", fontsize=7.5, color=SOFT,
    )  # fmt: skip
    axis.set(xlim=(0, 5), ylim=(0, 102), xticks=range(6), yticks=(0, 25, 50, 75, 99))
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7.5, length=2, color="#999999", labelcolor=SOFT)


def curve(model: dict[str, Any], name: str, figure_name: str, part: str = "value") -> list[float]:
    """The figure at severities 0 to 5, in per cent; NaN, which leaves a gap, where undefined."""
    shares = [model["clean"][figure_name]]
    shares += [grade[figure_name] for grade in model["corruptions"][name]]
    return [float("nan") if share is None else 100 * share[part] for share in shares]


def key(axis: Axes) -> None:
    """The names of the curves, each beside a piece of its line, in the panel left over."""
    for place, (words, colour, line) in enumerate(CURVES.values()):
        height = 0.8 - 0.17 * place
        axis.plot(
            [0.02, 0.2], [height] * 2, color=colour, lw=1.8, ls=line, transform=axis.transAxes
        )
        axis.text(
            0.25, height, words, transform=axis.transAxes, va="center", fontsize=9, color=colour
        )
    below = f"grey line: {MARK:g} %\nshaded: exact 95 % intervals\nof right when answered"
    axis.text(0.02, 0.05, below, transform=axis.transAxes, fontsize=8, color=SOFT)


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "shifts.json"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else DOCS / "pictures" / "corruptions.png"
    draw(json.loads(source.read_text())).savefig(target)


if __name__ == "__main__":
    main()
