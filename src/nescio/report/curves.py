"""Graphs of the report: risk and coverage, reliability, corruptions, training.

Each is a pure function from numbers to one drawing (:mod:`nescio.report.svg`) with its text
alternative. All say in words, beside what they name, what a legend would.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from nescio.evaluation import Interval
from nescio.evaluation.calibration import ReliabilityBin
from nescio.evaluation.study import Column, CorruptionCurve, RiskCurve
from nescio.report.svg import (
    LETTER,
    Frame,
    apart,
    area,
    dot,
    drawing,
    line,
    round_ticks,
    rule,
    text,
)
from nescio.report.words import percent, rate

WIDTH, HEIGHT = 400.0, 260.0
"""Of a graph; on a wide screen two stand side by side, on a phone one is as wide as the screen."""

STARTS = (0.98, 0.95, 0.9, 0.8, 0.5)
"""Where the axis of coverage may begin, if there is nothing to see before."""

NOTHING_TO_SEE = 0.05
"""What counts as nothing: this share of the largest risk."""


def risk_graph(curve: RiskCurve, coverage: float, risk: Interval | None) -> Markup:
    """Error rate against the share of images answered.

    Args:
        curve: Risk and coverage as the threshold of doubt moves.
        coverage: Of the rule in force.
        risk: Its error rate among those that it answers; ``None`` if there are none.
    """
    begin = _begin(curve, coverage)
    # Of the first few images any error looks large; the axis is not for them.
    seen = curve.coverage >= begin + 0.1 * (1 - begin)
    most = max(float(curve.risk[seen].max()), 0.0 if risk is None else risk.value, 1e-4)
    high = max(1.1 * float(np.median(curve.high[seen])), 1.25 * most)
    frame = Frame.of(WIDTH, HEIGHT, (begin, 1.0), (0.0, high), left=48)
    columns = _thin(frame, curve)
    x, y = curve.coverage[columns].tolist(), curve.risk[columns].tolist()
    band = [
        *frame.at(x, curve.low[columns].tolist()),
        *frame.at(x, curve.high[columns].tolist())[::-1],
    ]
    last = y[-1]
    parts = [
        *frame.y_axis(_shares(round_ticks(0, high, 4)), "wrong among those answered"),
        area(band, "blue faint"),
        line(frame.at(x, y), "blue"),
        *frame.x_axis(_shares(round_ticks(begin, 1.0, 4)), "answered, the least doubtful first"),
    ]
    words = f"Answering all images {rate(last)} are wrong."
    end = frame.y(last) - 11
    if risk is not None:
        words += (
            f" The rule in force answers {percent(coverage)}, of which {rate(risk.value)} "
            f"are wrong, 95 % interval {rate(risk.low)} to {rate(risk.high)}."
        )
        # Both labels stand beside their dots, so far apart as two lines need.
        chosen = frame.y(risk.value) - 14
        end, chosen = apart([end, chosen], 30, frame.y.end, frame.y.start - 16)
        parts += _chosen(frame, coverage, risk, chosen)
    if risk is None or coverage < 1.0:
        parts += [
            dot(frame.x(1.0), frame.y(last), 3, "blue"),
            text(
                frame.x.end,
                end,
                f"answering all: {rate(last)}",
                anchor="end",
                kind="blue",
                middle=True,
            ),
        ]
    return drawing(WIDTH, HEIGHT, parts, f"Risk against coverage. {words}")


def _begin(curve: RiskCurve, coverage: float) -> float:
    """Where the axis begins: as late as hides nothing, and leaves room for the rule's label."""
    nothing = NOTHING_TO_SEE * float(curve.risk[-1])
    for start in STARTS:
        before = curve.risk[curve.coverage < start]
        if coverage >= start + 0.6 * (1 - start) and (before <= nothing).all():
            return start
    return 0.0


def _thin(frame: Frame, curve: RiskCurve) -> Column:
    """Of points that share a pixel the last; none before the line has come into the frame."""
    span = frame.x.high - frame.x.low
    pixels = np.round((curve.coverage - frame.x.low) / span * (frame.x.end - frame.x.start))
    outside = (curve.risk > frame.y.high).nonzero()[0]
    seen = (curve.coverage >= frame.x.low).nonzero()[0]
    if len(outside):
        seen = seen[seen > outside[-1]]
    kept = np.append(np.diff(pixels[seen]) > 0, True)
    kept[0] = True
    columns: Column = seen[kept]
    return columns


def _chosen(frame: Frame, coverage: float, risk: Interval, place: float) -> list[Markup]:
    """The rule in force, with its interval."""
    x, y = frame.x(coverage), frame.y(risk.value)
    label = f"{percent(coverage)} answered, {rate(risk.value)} wrong"
    left = x - LETTER * len(label) > frame.x.start
    where, anchor = (x - 9, "end") if left else (x + 9, "start")
    return [
        rule(x, frame.y(risk.low), x, frame.y(risk.high), "whisker"),
        dot(x, y, 5, "orange ring"),
        text(where, place - 8, "this rule", anchor=anchor, kind="ink strong", middle=True),
        text(where, place + 7, label, anchor=anchor, kind="ink", middle=True),
    ]


def reliability_graph(bins: Sequence[ReliabilityBin]) -> Markup:
    """Accuracy against confidence; on the diagonal the model is as right as it says.

    Args:
        bins: Those with an image in them.
    """
    frame = Frame.of(WIDTH, HEIGHT, (0.0, 1.0), (0.0, 1.0), left=48)
    total = sum(own.images for own in bins)
    ticks = _shares([0.0, 0.25, 0.5, 0.75, 1.0])
    parts = [
        *frame.y_axis(ticks, "right"),
        line(frame.at([0, 1], [0, 1]), "dashed"),
        text(frame.x(0.03), frame.y(0.87), "more often right"),
        text(frame.x(0.03), frame.y(0.87) + 15, "than it says"),
        text(frame.x(0.97), frame.y(0.06), "less often", anchor="end"),
        *frame.x_axis(ticks, "confidence that it states"),
    ]
    for own in bins:
        x = frame.x(own.confidence)
        parts.append(rule(x, frame.y(own.accuracy.low), x, frame.y(own.accuracy.high), "whisker"))
    for own in bins:
        radius = 2.5 + 7.5 * (own.images / total) ** 0.5
        parts.append(dot(frame.x(own.confidence), frame.y(own.accuracy.value), radius, "blue ring"))
    words = "Reliability."
    if bins:
        label = f"largest dot: {max(own.images for own in bins):,} of {total:,} images"
        parts.append(text(WIDTH, frame.y.end - 14, label, anchor="end", kind="blue"))
        words += "".join(
            f" Of {own.images:,} images with a confidence near {percent(own.confidence)} "
            f"{percent(own.accuracy.value)} were right."
            for own in bins
        )
    return drawing(WIDTH, HEIGHT, parts, words)


GRADES_WIDTH, GRADES_HEIGHT = 300.0, 190.0
"""Of a graph of one corruption."""

SERIES = (
    ("answered", "blue"),
    ("right if answered", "ink"),
    ("right if forced", "soft dashed"),
)
"""What is drawn of each severity, and how."""


def corruption_graph(curve: CorruptionCurve) -> Markup:
    """What becomes of answers as images go bad: answered, right if so, right if forced."""
    severities = [grade.severity for grade in curve.grades]
    last = max(severities)
    frame = Frame.of(
        GRADES_WIDTH,
        GRADES_HEIGHT,
        (0.0, max(float(last), 1.0)),
        (0.0, 1.0),
        right=112,
        top=10,
    )
    shares = [
        [(g.severity, g.answered.value) for g in curve.grades],
        [
            (g.severity, g.accepted_accuracy.value)
            for g in curve.grades
            if g.accepted_accuracy is not None
        ],
        [(g.severity, g.forced_accuracy.value) for g in curve.grades],
    ]
    parts = [
        *frame.y_axis(_shares([0.0, 0.5, 1.0])),
        *frame.x_axis([(float(s), f"{s}") for s in severities], "severity"),
    ]
    drawn = [(own, kind) for own, kind in zip(shares, SERIES, strict=True) if own]
    places = apart([frame.y(own[-1][1]) for own, _ in drawn], 15, frame.y.end, frame.y.start)
    for (own, (name, kind)), place in reversed(list(zip(drawn, places, strict=True))):
        points = frame.at([float(s) for s, _ in own], [share for _, share in own])
        parts.append(line(points, kind))
        parts += [dot(x, y, 2.5, kind) for x, y in points]
        parts.append(text(frame.x.end + 8, place, name, kind=kind.split()[0], middle=True))
    words = [
        f"{name}: " + ", ".join(f"{percent(share)} at {severity}" for severity, share in own)
        for own, (name, _) in drawn
    ]
    told = f"{curve.name}, {curve.images:,} images; {'; '.join(words)}."
    return drawing(GRADES_WIDTH, GRADES_HEIGHT, parts, told)


CURVE_WIDTH, CURVE_HEIGHT = 220.0, 130.0
"""Of a training curve."""


def training_graph(name: str, passes: Sequence[int], values: Sequence[str | float]) -> Markup:
    """One quantity after each pass, with its first and last value.

    Args:
        name: What it is.
        passes: Their numbers, two at least.
        values: One for each.
    """
    numbers = [float(value) for value in values]
    low, high = min(numbers), max(numbers)
    span = (high - low) or 1.0
    frame = Frame.of(
        CURVE_WIDTH,
        CURVE_HEIGHT,
        (float(passes[0]), float(passes[-1])),
        (low - 0.02 * span, low + 1.02 * span),
        left=6,
        right=6,
        top=22,
        bottom=22,
    )
    points = frame.at([float(p) for p in passes], numbers)
    (x1, y1), (x2, y2) = points[0], points[-1]
    first, last = figure(numbers[0]), figure(numbers[-1])
    parts = [
        *frame.x_axis([(float(passes[0]), ""), (float(passes[-1]), "")]),
        line(points, "blue"),
        dot(x1, y1, 3, "blue"),
        dot(x2, y2, 3, "blue"),
        text(x1 + 9, y1 - 3, first, kind="ink"),
        text(x2, y2 - 9, last, anchor="end", kind="ink strong"),
        text(x1, CURVE_HEIGHT - 6, f"pass {passes[0]}", kind="tick"),
        text(x2, CURVE_HEIGHT - 6, f"{passes[-1]}", anchor="end", kind="tick"),
    ]
    words = (
        f"{name}: {first} after pass {passes[0]}, {last} after pass {passes[-1]}, "
        f"at least {figure(low)} and at most {figure(high)}."
    )
    return drawing(CURVE_WIDTH, CURVE_HEIGHT, parts, words)


def figure(value: float) -> str:
    """A number with three digits that count."""
    words = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return words.replace("-", "\u2212")


def _shares(values: Sequence[float]) -> list[tuple[float, str]]:
    return [(value, f"{100 * value:g} %".replace(" ", "\u00a0")) for value in values]
