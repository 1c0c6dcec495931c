"""Render a report as one self-contained HTML file: no script, no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nescio.files import write_text
from nescio.inference import Epoch
from nescio.report.content import Report, percent

CONFUSION_CLASSES = 30
"""With more classes the confusion matrix is a list of its largest errors instead."""

CURVE = (300.0, 120.0)
"""Width and height of a training curve, in user units."""


def render_report(report: Report) -> str:
    """The report as HTML; everything in it that is not markup is escaped."""
    template = _environment().get_template("report.html.jinja")
    return template.render(
        report=report,
        evaluation=report.evaluation,
        confusion=report.confusion.tolist(),
        small=len(report.classes) <= CONFUSION_CLASSES,
        largest_errors=largest_errors(report),
        curves=curves(report.history),
    )


def write_report(path: Path, report: Report) -> None:
    """Write the report to ``path``, whole or not at all."""
    write_text(path, render_report(report))


def largest_errors(report: Report, most: int = 20) -> list[tuple[int, str, str]]:
    """The commonest confusions: how often, true class, answer."""
    classes = report.classes
    cells = [
        (count, classes[row], classes[column])
        for row, counts in enumerate(report.confusion[:, :-1].tolist())
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(cells, key=lambda cell: -cell[0])[:most]


def curves(history: Sequence[Epoch]) -> list[dict[str, str]]:
    """Training curves as SVG paths, none for fewer than two passes."""
    if len(history) < 2:
        return []
    parts = {
        "ELBO": [epoch.elbo for epoch in history],
        "expected log-likelihood": [epoch.log_likelihood for epoch in history],
        "KL": [epoch.kl for epoch in history],
    }
    return [_curve(name, values) for name, values in parts.items()]


def _curve(name: str, values: Sequence[float]) -> dict[str, str]:
    width, height = CURVE
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = [
        f"{i / (len(values) - 1) * width:.1f},{(high - value) / span * height:.1f}"
        for i, value in enumerate(values)
    ]
    return {
        "name": name,
        "points": " ".join(points),
        "first": f"{values[0]:,.4g}",
        "last": f"{values[-1]:,.4g}",
        "last_x": points[-1].split(",")[0],
        "last_y": points[-1].split(",")[1],
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nescio.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = _data_uri
    environment.filters["percent"] = percent
    return environment


def _data_uri(content: bytes) -> Markup:
    return Markup("data:image/png;base64,") + Markup(b64encode(content).decode())  # noqa: S704 - base64 holds no markup
