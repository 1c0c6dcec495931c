"""The article's picture of one answer: a histogram of sampled probabilities a class."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nescio.files import atomic_path
from nescio.refusal import Decision, Reason
from nescio.report.colours import BLUE, GREEN, GREY, INK, ORANGE, SOFT
from nescio.report.reference import Reference, draw_reference

BINS = 8
"""The article's number."""

COLUMNS = 10
"""Histograms in a row."""

MOST_CLASSES = 40
"""With more classes only so many, the most probable ones, are drawn."""

LOWEST = -25.0
"""Log-probabilities below this count in the first bin."""

IMAGE, GAP, CELL = 2.6, 0.45, (1.2, 1.85)
"""Inches: the image's column, the space after it, and each histogram with its title."""

TOP, TITLE, BOTTOM = 0.8, 0.62, 0.75
"""Inches above the first row, between rows, and below the last."""

FEWEST_COLUMNS = 3
"""Room for so many histograms is kept in any case, so that the words below them fit."""

STRIP, STRIP_BELOW, STRIP_WIDEST = 1.15, 0.3, 5.5
"""Inches for the familiarity below the last row, of which so many for its ticks; its width."""

STRIP_BAR = 0.45
"""The height of its histogram in inches."""

LEFT, MARGIN = IMAGE + GAP, 0.15
"""Inches before the histograms, and at the right."""

LETTERS = 14.5
"""Letters of the words below in an inch."""

TITLE_WIDTH = 13
"""Characters in a line of a histogram's title."""


def draw_answer(
    log_probabilities: Tensor,
    decision: Decision,
    classes: Sequence[str],
    *,
    image: Tensor,
    actual: str | None = None,
    title: str = "",
    reference: Reference | None = None,
) -> Figure:
    """Draw one answer.

    A sure answer shows a narrow histogram near 0 for its class; an unsure one wide
    histograms for several.

    Args:
        log_probabilities: ``(S, C)`` natural logarithms of the sampled probabilities.
        decision: What was answered.
        classes: The ``C`` class names.
        image: ``(K, H, W)`` uint8, as the network saw it.
        actual: The true label, if known.
        title: Written above, such as the file's name.
        reference: What the image's familiarity is held against; drawn below, where the rule
            judged it.
    """
    values = log_probabilities.double().clamp_min(LOWEST).numpy()
    shown = _shown(decision, classes)
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    strange = decision.scores.get("unfamiliarity")
    judged = reference is not None and strange is not None
    below = BOTTOM + (STRIP if judged else 0.0)
    # Sizes are in inches and set by hand: a layout engine takes seconds for forty axes.
    width, height = _size(rows, columns, below)
    figure = Figure(figsize=(width, height), dpi=110)
    side = IMAGE - 0.5
    image_top = height - TOP
    axis = figure.add_axes((0.25 / width, (image_top - side) / height, side / width, side / height))
    _draw_image(axis, image, decision, actual)
    grid = figure.add_gridspec(
        rows,
        columns,
        left=LEFT / width,
        right=(LEFT + columns * CELL[0]) / width,
        top=(height - TOP) / height,
        bottom=below / height,
        wspace=0.1,
        hspace=TITLE / (CELL[1] - TITLE),
    )
    lowest = _draw_histograms(grid, values, shown, decision, classes)
    label = _axis_label(len(shown), len(classes), lowest, round((width - LEFT) * LETTERS))
    figure.text(LEFT / width, (below - 0.24) / height, label, va="top", fontsize=8, color=SOFT)
    if reference is not None and strange is not None:
        long = min(width - LEFT - MARGIN, STRIP_WIDEST)
        place = (LEFT / width, STRIP_BELOW / height, long / width, STRIP_BAR / height)
        unfamiliar = decision.reason is Reason.UNFAMILIAR
        draw_reference(figure.add_axes(place), reference, strange, refused=unfamiliar)
    if title:
        place_of_title = (0.5, 1 - 0.08 / height)
        words = _shorten(title, 90)
        figure.text(*place_of_title, words, ha="center", va="top", fontsize=9, color=SOFT)
    return figure


def save_answer(
    path: Path, log_probabilities: Tensor, decision: Decision, *args: Any, **options: Any
) -> None:
    """Draw one answer (:func:`draw_answer`) into a PNG file, whole or not at all."""
    content = answer_png(log_probabilities, decision, *args, **options)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def answer_png(*args: Any, **options: Any) -> bytes:
    """One answer (:func:`draw_answer`) as PNG."""
    buffer = BytesIO()
    draw_answer(*args, **options).savefig(buffer, format="png")
    return buffer.getvalue()


def verdict_in_words(decision: Decision, actual: str | None) -> tuple[str, str]:
    """The verdict for a headline, and its colour.

    "Correct" or "Incorrect" where the truth is known, "Undecided" for a refusal.
    """
    if not decision.accepted:
        return f"Undecided\nI don't know: {decision.reason}", ORANGE
    if actual is None:
        return f"{_shorten(str(decision.label), 22)}", BLUE
    answer = _shorten(str(decision.label), 22)
    if decision.label == actual:
        return f"Correct\n{answer}", GREEN
    return f"Incorrect\n{answer}", ORANGE


def _size(rows: int, columns: int, below: float) -> tuple[float, float]:
    """Width and height of the figure, in inches; six lines below a small image must fit."""
    height = TOP + rows * CELL[1] - TITLE + below
    width = LEFT + max(columns, FEWEST_COLUMNS) * CELL[0] + MARGIN
    return width, max(height, TOP + IMAGE + 0.55)


def _shown(decision: Decision, classes: Sequence[str]) -> list[int]:
    """Which classes to draw, in their own order."""
    if len(classes) <= MOST_CLASSES:
        return list(range(len(classes)))
    ranked = sorted(range(len(classes)), key=lambda c: -decision.probability[classes[c]])
    return sorted(ranked[:MOST_CLASSES])


def _draw_image(axis: Axes, image: Tensor, decision: Decision, actual: str | None) -> None:
    pixels = image.permute(1, 2, 0).numpy()
    grey = pixels.shape[-1] == 1
    axis.imshow(
        pixels[..., 0] if grey else pixels,
        cmap="gray" if grey else None,
        vmin=0,
        vmax=255,
        interpolation="nearest",
    )
    axis.set_xticks([])
    axis.set_yticks([])
    words, colour = verdict_in_words(decision, actual)
    axis.set_title(words, color=colour, fontsize=11, fontweight="bold")
    known = "real label not known" if actual is None else f"real label: {_shorten(actual, 24)}"
    proposed = ", ".join(_shorten(name, 14) for name in decision.proposed[:4]) or "none"
    more = f" and {len(decision.proposed) - 4} more" if len(decision.proposed) > 4 else ""
    below = f"{known}\n" + textwrap.fill(f"proposed: {proposed}{more}", 30)
    if decision.nearest is not None and "familiarity" in decision.scores:
        share = decision.scores["familiarity"]
        below += f"\n{_familiarity(share)}"
        below += f"\nnearest: {_shorten(decision.nearest, 14)}"
        if decision.reason == "unfamiliar":
            below += f"\ngiven away by stage {_shorten(str(decision.stage), 14)}"
    axis.set_xlabel(below, fontsize=8.5, color=INK)


def _familiarity(share: float) -> str:
    """Where an image stands among the calibration images, by its p-value."""
    if share > 0.1:
        return "as strange as many familiar ones"
    return f"stranger than {min(100 * (1 - share), 99.99):.4g} % of familiar ones"


def _draw_histograms(
    grid: GridSpec, values: Any, shown: Sequence[int], decision: Decision, classes: Sequence[str]
) -> float:
    """The histograms of the classes that are shown; gives the left end of their axes."""
    lowest = min(float(values[:, shown].min()), -1.0)
    edges = np.linspace(lowest, 0.0, BINS + 1)
    columns = grid.ncols
    axes = grid.subplots(sharex=True, sharey=True, squeeze=False).ravel()
    for place, histogram in enumerate(axes):
        if place >= len(shown):
            histogram.set_visible(False)
            continue
        name = classes[shown[place]]
        _draw_histogram(histogram, values[:, shown[place]], edges, name, decision)
        _label_axes(histogram, first=place % columns == 0, last=place + columns >= len(shown))
    return lowest


def _draw_histogram(axis: Axes, values: Any, edges: Any, name: str, decision: Decision) -> None:
    proposed = name in decision.proposed
    axis.hist(
        values, bins=edges, color=BLUE if proposed else GREY, edgecolor="white", linewidth=0.6
    )
    axis.set_title(
        f"{_two_lines(name)}\n({decision.median[name]:.2f})",
        fontsize=8.5,
        color=BLUE if proposed else INK,
        fontweight="bold" if proposed else "normal",
    )


def _two_lines(name: str) -> str:
    """A class name for a narrow title: more lines would run into the row above."""
    short = _shorten(name, 2 * TITLE_WIDTH - 2)
    lines = textwrap.wrap(short, TITLE_WIDTH)
    return "\n".join(lines if len(lines) <= 2 else (short[:TITLE_WIDTH], short[TITLE_WIDTH:]))


def _label_axes(axis: Axes, *, first: bool, last: bool) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7, length=2, color="#999999", labelcolor=SOFT)
    axis.tick_params(labelbottom=last)
    axis.xaxis.set_major_locator(MaxNLocator(3))
    # Ticks are most of the time that a picture takes; the shared ones are drawn once.
    axis.yaxis.set_visible(first)
    if first:
        axis.set_ylabel("networks", fontsize=7.5, color=SOFT)


def _axis_label(shown: int, classes: int, lowest: float, width: int) -> str:
    parts = [
        "log-probability of the class under each sampled network; its median probability above"
    ]
    if lowest <= LOWEST:
        parts.append(f"less than {LOWEST:g} counts in the first bin")
    if shown < classes:
        parts.append(f"the {shown} most probable of {classes} classes")
    return textwrap.fill("; ".join(parts), width)


def _shorten(text: str, most: int) -> str:
    """Cut the middle out: long names often differ at their ends."""
    if len(text) > most:
        tail = most // 2 - 1
        text = f"{text[: most - tail - 1].rstrip()}\u2026{text[len(text) - tail :].lstrip()}"
    # matplotlib would read dollar signs as formulas.
    return text.replace("$", r"\$")
