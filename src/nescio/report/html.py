"""Render a study as one self-contained HTML file: no script, no network."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from nescio.evaluation.calibration import ReliabilityBin, reliability
from nescio.evaluation.study import Study
from nescio.files import write_text
from nescio.report import classes, prose, sections
from nescio.report.curves import (
    corruption_graph,
    reliability_graph,
    risk_graph,
    training_graph,
)
from nescio.report.galleries import doubt_threshold, galleries, unfamiliar_threshold
from nescio.report.histograms import Scores, score_graph
from nescio.report.pages import environment, source

RIDGES = 12
"""Shifted sets in the histograms of scores, at most."""


def render_report(study: Study) -> str:
    """The report as HTML; everything in it that is not markup is escaped."""
    template = _environment().get_template("report.html.jinja")
    class_bars = classes.class_bars(study)
    return template.render(
        study=study,
        rule=study.rules[0],
        title=prose.title(study),
        summary=prose.summary(study),
        headline=sections.headline(study),
        model=prose.model(study),
        figures=sections.figures(study),
        trade_offs=sections.trade_offs(study),
        intervals=prose.intervals(study),
        set_bars=sections.set_bars(study),
        class_bars=class_bars,
        class_rows=classes.class_rows(study),
        unfolded=len(study.classes) <= classes.OPEN_CLASSES,
        largest_share=max((b.refused.value for b in class_bars if b.refused), default=0.0),
        confusion=classes.confusion(study),
        rule_rows=sections.rule_rows(study),
        galleries=galleries(study),
        article=sections.article_rows(study),
        provenance=prose.provenance(study),
        **_graphs(study),
    )


def write_report(path: Path, study: Study) -> None:
    """Write the report to ``path``, whole or not at all."""
    write_text(path, render_report(study))


def _graphs(study: Study) -> dict[str, Any]:
    figures, test = study.rules[0].figures, study.test
    accepted = figures.accepted_accuracy
    risk = None if accepted is None else accepted.complement
    return {
        "risk": risk_graph(figures.curve, figures.coverage.value, risk),
        "reliability": reliability_graph(_bins(study)),
        "scores": _scores(study),
        "corruptions": [
            (curve, corruption_graph(curve)) for curve in study.curves.values() if curve.grades
        ],
        "training": _training(study),
        "test": test,
    }


def _bins(study: Study) -> tuple[ReliabilityBin, ...]:
    test = study.test
    assert test.labels is not None  # noqa: S101 - a test set has labels
    return reliability(test.confidence, test.predicted == test.labels)


def _scores(study: Study) -> list[tuple[str, Markup]]:
    """Histograms of each score, with what they show."""
    sets = {study.test.name: study.test, **dict(list(study.shifted.items())[:RIDGES])}
    answers = {name: own.answers[0] for name, own in sets.items()}
    familiar = study.test.name
    doubts = [Scores(name, own.doubt, name == familiar) for name, own in answers.items()]
    graphs = [
        (
            "How doubtful its answers are",
            score_graph(doubts, doubt_threshold(study), _doubt(study), logarithmic=True),
        )
    ]
    if study.model.stages and (answers[familiar].nearest >= 0).all():
        strange = [
            Scores(name, own.unfamiliarity, name == familiar) for name, own in answers.items()
        ]
        graph = score_graph(strange, unfamiliar_threshold(study), "unfamiliarity, in nats")
        graphs.insert(0, ("How unlike its training images they are", graph))
    return graphs


def _doubt(study: Study) -> str:
    """What the rule calls doubt."""
    record = study.rules[0].record
    if record.get("kind") == "quantile":
        return "doubt, 1 less the highest quantile of a class"
    score = str(record.get("doubt", "error_probability"))
    return f"doubt, as {score.replace('_', ' ')}"


def _training(study: Study) -> list[tuple[str, Markup]]:
    """Training curves, none for fewer than two passes."""
    history = study.model.history
    if len(history) < 2:
        return []
    passes = [one.epoch for one in history]
    series = {
        "ELBO": [one.elbo for one in history],
        "expected log-likelihood": [one.log_likelihood for one in history],
        "KL": [one.kl for one in history],
    }
    graphs = [(name, training_graph(name, passes, own)) for name, own in series.items()]
    watched = [one.accuracy for one in history if one.accuracy is not None]
    if len(watched) == len(history):
        name = "calibration accuracy"
        graphs.append((name, training_graph(name, passes, watched)))
    return graphs


@cache
def _environment() -> Environment:
    known = environment()
    known.filters["number"] = sections.number
    known.filters["bracket"] = _bracket
    known.globals["css"] = Markup(source("report.css"))  # noqa: S704 - our own file
    return known


def _bracket(words: str) -> Markup:
    """A figure with its interval a little apart, so that a phone can put it below."""
    value, bracket, rest = words.partition("[")
    if not bracket:
        return escape(words)
    return Markup('{}<span class="interval">[{}</span>').format(value, rest)
