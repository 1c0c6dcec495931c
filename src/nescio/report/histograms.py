"""Histograms of the report: scores against a threshold, and the article's of one answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from nescio.evaluation.study import Column, Specimen
from nescio.report.svg import LETTER, Scale, bars, drawing, element, round_ticks, rule, text
from nescio.report.words import percent

WIDTH = 400.0
"""Of the histograms of scores."""

ROW, ABOVE, BELOW = 56.0, 24.0, 40.0
"""Their heights: one set, the threshold's label, the axis."""

TALL = 34.0
"""The highest bar of a row."""

BINS = 60
"""Of a row, about."""

FAR = 4.0
"""A threshold's multiple; what is beyond counts in the last bin."""

SMALLEST = 1e-6
"""The left end of a logarithmic axis of shares."""


@dataclass(frozen=True)
class Scores:
    """The scores of one set.

    Attributes:
        name: The set's.
        values: ``(N,)``, infinite ones count in the last bin.
        familiar: Whether it is of the kind that the model was taught.
    """

    name: str
    values: Column
    familiar: bool


def score_graph(
    rows: Sequence[Scores], threshold: float | None, label: str, *, logarithmic: bool = False
) -> Markup:
    """Histograms one below the other, with one axis and one threshold.

    Args:
        rows: The sets, the familiar one first.
        threshold: What is beyond it is refused; ``None`` or infinite where nothing is.
        label: Of the axis.
        logarithmic: Whether the score is a share, to be seen by its order of magnitude.
    """
    limit = threshold if threshold is not None and math.isfinite(threshold) else None
    axis = _logarithmic_axis() if logarithmic else _linear_axis(rows, limit)
    place = None if limit is None else axis.scale(axis.warp(limit))
    edges = _edges(axis.scale, place)
    height = ABOVE + ROW * len(rows) + BELOW
    base = ABOVE + ROW * len(rows)
    parts = [
        rule(0, base, WIDTH, base, "axis"),
        *(text(axis.scale(at), base + 15, words, anchor=anchor, kind="tick")
          for at, words, anchor in axis.ticks),
        text(WIDTH / 2, base + 32, label, anchor="middle"),
    ]  # fmt: skip
    if place is not None:
        parts += _threshold(place, base)
    told = []
    for number, row in enumerate(rows):
        row_parts, words = _row(row, axis, edges, ABOVE + ROW * (number + 1), limit)
        parts += row_parts
        told.append(words)
    return drawing(WIDTH, height, parts, f"Histograms of {label}. {' '.join(told)}")


@dataclass(frozen=True)
class _Axis:
    scale: Scale
    ticks: Sequence[tuple[float, str, str]]
    logarithmic: bool

    def warp(self, value: float) -> float:
        return math.log10(max(value, SMALLEST)) if self.logarithmic else value

    def places(self, values: Column) -> Column:
        numbers = np.nan_to_num(values.astype(float), nan=np.inf, posinf=np.finfo(float).max)
        if self.logarithmic:
            numbers = np.log10(np.maximum(numbers, SMALLEST))
        scale = self.scale
        inside = np.clip(numbers, scale.low, scale.high)
        share = (inside - scale.low) / (scale.high - scale.low)
        places: Column = scale.start + share * (scale.end - scale.start)
        return places


def _linear_axis(rows: Sequence[Scores], limit: float | None) -> _Axis:
    finite = np.concatenate([row.values[np.isfinite(row.values)] for row in rows])
    most = float(finite.max()) if len(finite) else 0.0
    least = min(float(finite.min()), 0.0) if len(finite) else 0.0
    if limit is not None:
        most = min(max(most, 1.1 * limit), FAR * limit) if limit > 0 else max(most, limit)
    high = most if most > least else least + 1.0
    ticks = round_ticks(least, high, 7)
    scale = Scale(least, high, 0.0, WIDTH)
    return _Axis(scale, [(at, f"{at:g}", _anchor(scale(at))) for at in ticks], logarithmic=False)


def _logarithmic_axis() -> _Axis:
    lowest = round(math.log10(SMALLEST))
    scale = Scale(lowest, 0.0, 0.0, WIDTH)
    words = {lowest: "0.000001 or less", -4: "0.0001", -2: "0.01", -1: "0.1", 0: "1"}
    return _Axis(
        scale,
        [(float(at), own, _anchor(scale(at))) for at, own in words.items()],
        logarithmic=True,
    )


def _anchor(place: float) -> str:
    """Which part of a tick's words is at the tick, so that they stay inside."""
    if place < 0.04 * WIDTH:
        return "start"
    return "end" if place > 0.96 * WIDTH else "middle"


def _edges(scale: Scale, threshold: float | None) -> Column:
    """Places of the bins' edges; the threshold is one of them."""
    first, last = scale.start, scale.end
    if threshold is None or not scale.start < threshold < scale.end:
        return np.linspace(first, last, BINS + 1)
    before = max(1, round(BINS * (threshold - first) / (last - first)))
    left = np.linspace(first, threshold, before + 1)
    right = np.linspace(threshold, last, max(1, BINS - before) + 1)
    return np.concatenate([left, right[1:]])


def _row(
    row: Scores, axis: _Axis, edges: Column, base: float, limit: float | None
) -> tuple[list[Markup], str]:
    counts, _ = np.histogram(axis.places(row.values), edges)
    heights = counts / np.diff(edges)
    tops = base - TALL * heights / max(heights.max(), 1e-9)
    # A single image among thousands is what there is to see: it must not vanish.
    tops = np.where(counts > 0, np.minimum(tops, base - 1.2), base)
    colour = "blue" if row.familiar else "orange"
    parts = [
        rule(0, base, WIDTH, base, "grid"),
        bars(edges.tolist(), tops.tolist(), base, colour, gap=0.8),
        text(0, base - TALL - 6, _cut(row.name), kind=f"{colour} strong"),
    ]
    words = f"{row.name}: {len(row.values):,} images."
    if limit is not None:
        beyond = float((row.values > np.float32(limit)).mean())
        label, place = f"{percent(beyond)} beyond", axis.scale(axis.warp(limit))
        inside = WIDTH - LETTER * len(label) > place
        parts.append(
            text(
                WIDTH if inside else place - 6,
                base - TALL - 6,
                label if inside else f"{label} \u2192",
                anchor="end",
                kind=colour,
            )
        )
        words = f"{row.name}: {percent(beyond)} of {len(row.values):,} images beyond {limit:.3g}."
    return parts, words


def _cut(name: str) -> str:
    most = int(0.7 * WIDTH / LETTER)
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"


def _threshold(place: float, base: float) -> list[Markup]:
    right = place < WIDTH - 110
    return [
        rule(place, 12, place, base, "threshold"),
        text(
            place + 5 if right else place - 5,
            12,
            "refused beyond \u2192",
            anchor="start" if right else "end",
            kind="ink",
        ),
    ]


VOTE_WIDTH, VOTE_HEIGHT = 64.0, 40.0
"""Of the histogram of one class."""

VOTES = 20
"""Classes that are drawn of an answer, at most: the most probable ones."""


@dataclass(frozen=True)
class Vote:
    """What the networks say of one class.

    Attributes:
        name: The class.
        median: Of its sampled probabilities.
        proposed: Whether the rule puts it forward.
        drawing: Its histogram.
    """

    name: str
    median: float
    proposed: bool
    drawing: Markup


def votes(specimen: Specimen) -> list[Vote]:
    """The article's histograms: how probable each class is under each sampled network.

    All share their axes: log-probability to the right, networks upwards.
    """
    ranked = sorted(range(len(specimen.classes)), key=lambda i: -specimen.probability[i])
    shown = sorted(ranked[:VOTES])
    most = max(1, *(max(specimen.counts[i]) for i in shown))
    edges = np.linspace(0.0, VOTE_WIDTH, len(specimen.edges)).tolist()
    base = VOTE_HEIGHT - 1
    found = []
    for i in shown:
        name, counts = specimen.classes[i], specimen.counts[i]
        proposed = name in specimen.proposed
        tops = [base - (base - 1) * count / most for count in counts]
        found.append(Vote(name, specimen.median[i], proposed, _vote(edges, tops, base, proposed)))
    return found


def _vote(edges: list[float], tops: list[float], base: float, proposed: bool) -> Markup:
    content = bars(edges, tops, base, "blue" if proposed else "grey", gap=1.0)
    return element(
        "svg",
        content=content + rule(0, base, VOTE_WIDTH, base, "axis"),
        viewBox=f"0 0 {VOTE_WIDTH:g} {VOTE_HEIGHT:g}",
        aria_hidden="true",
    )


STRIP_WIDTH, STRIP_HEIGHT = 400.0, 92.0
"""Of the drawing of one image's unfamiliarity."""

STRIP_BASE, STRIP_TALL = 56.0, 28.0
"""Where its bars stand, and how high they are."""

ROOM = 1.6
"""Its right edge, as a multiple of the threshold and of the strangest calibration image."""


def familiarity_strip(
    reference: Column, threshold: float, value: float, *, refused: bool
) -> Markup:
    """Where one image stands among the calibration images.

    Args:
        reference: ``(M,)`` their unfamiliarity, in nats.
        threshold: What is beyond it is refused; infinite where nothing is.
        value: The image's unfamiliarity; beyond the edge it becomes an arrow there.
        refused: Whether it was refused as unfamiliar.
    """
    known = reference[np.isfinite(reference)].tolist()
    limits = [threshold] if math.isfinite(threshold) else []
    edge = ROOM * max([*known, *limits], default=1.0) or 1.0
    scale = Scale(0.0, edge, 0.0, STRIP_WIDTH)
    edges = np.linspace(0.0, edge, 41)
    counts, _ = np.histogram(np.clip(reference, 0.0, edge), edges)
    tops = STRIP_BASE - STRIP_TALL * counts / max(counts.max(), 1)
    tops = np.where(counts > 0, np.minimum(tops, STRIP_BASE - 1), STRIP_BASE)
    colour = "orange" if refused else "blue"
    places = [scale(at) for at in edges.tolist()]
    parts = [
        bars(places, tops.tolist(), STRIP_BASE, "grey", gap=0.8),
        rule(0, STRIP_BASE, STRIP_WIDTH, STRIP_BASE, "axis"),
        text(0, STRIP_BASE + 15, "0", kind="tick"),
        text(
            0,
            STRIP_BASE + 31,
            f"unfamiliarity in nats; grey: {len(reference):,} calibration images",
        ),
    ]
    if limits:
        x = scale(threshold)
        parts += [
            rule(x, 18, x, STRIP_BASE, "threshold"),
            text(x, STRIP_BASE + 15, "refused beyond", anchor="middle", kind="ink tick"),
        ]
    return drawing(
        STRIP_WIDTH,
        STRIP_HEIGHT,
        [*parts, *_mark(scale(value), value, colour, outside=value > edge)],
        strip_in_words(reference, value),
    )


def _mark(x: float, value: float, colour: str, *, outside: bool) -> list[Markup]:
    label = f"this image: {value:.3g}" if math.isfinite(value) else "this image: no number"
    if outside:
        arrow = element(
            "path",
            d=f"M{STRIP_WIDTH - 22:g} 38H{STRIP_WIDTH - 9:g}m-6 -5 8 5 -8 5",
            _class=f"line {colour}",
        )
        return [arrow, text(STRIP_WIDTH, 12, label, anchor="end", kind=f"{colour} strong")]
    half = 1.1 * LETTER * len(label) / 2
    middle = min(max(x, half), STRIP_WIDTH - half)
    return [
        rule(x, 18, x, STRIP_BASE, f"mark {colour}"),
        text(middle, 12, label, anchor="middle", kind=f"{colour} strong"),
    ]


def strip_in_words(reference: Column, value: float) -> str:
    """The strip for those who cannot see it."""
    below = int((reference < value).sum())
    return (
        f"Unfamiliarity {value:.3g} nats: more than that of {below:,} of "
        f"{len(reference):,} calibration images."
    )
