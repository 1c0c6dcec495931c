"""Studies and comparisons as tables on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nescio.cli.console import print_result, print_table

if TYPE_CHECKING:
    from nescio.evaluation import (
        Compared,
        Comparison,
        CorruptionCurve,
        Grade,
        Interval,
        StudiedRule,
        Study,
    )
    from nescio.refusal import PromiseRow

NOTHING = "\u2013"
"""For a figure that is not defined."""


MOST_CLASSES = 20
"""With more of them a table by class would be longer than all else; JSON has it."""


def print_promises(rows: Sequence[PromiseRow]) -> None:
    """Which error rates could be promised, and what each costs."""
    rule = rows[0].rule
    print_table(
        f"what --max-risk could promise, with {100 * rule.confidence:g} % confidence each",
        ("errors at most", f"refused of {rule.calibrated_on.counted}", "wrong of those tested"),
        [_promise(row) for row in rows],
    )
    print_result("Each row is a promise by itself: name an error rate before you look at them.")


def _promise(row: PromiseRow) -> tuple[str, str, str]:
    risk = f"{100 * row.max_risk:g} %"
    if not row.kept:
        return risk, "no valid threshold", NOTHING
    (accepted,), (errors,) = row.rule.accepted, row.rule.errors
    return risk, f"{100 * (1 - row.coverage):.1f} %", f"{errors:,} of {accepted:,}"


def print_study(study: Study) -> None:
    """All figures of a study."""
    print_table(
        f"{study.test.name}: {len(study.test)} test images, {study.samples} sampled networks",
        ("", *_titles(study.rules, "value [95 % interval]")),
        [*_forced(study), *_selective(study.rules)],
    )
    if len(study.classes) <= MOST_CLASSES:
        _print_classes(study)
    for rule in study.rules if study.shifted else ():
        of_rule = f", {rule.name}" if len(study.rules) > 1 else ""
        # Two tables: one would be cut on a terminal of 80 columns.
        print_table(
            f"out of distribution: should be refused{of_rule}",
            ("set", "images", "refused", "ambiguous", "unfamiliar"),
            _shifted(rule),
        )
        print_table(
            f"told from {study.test.name} by unfamiliarity{of_rule}",
            ("set", "AUROC", "AUPR", "FPR95"),
            _detected(rule),
        )
    if study.curves:
        _print_curves(tuple(study.curves.values()))
    for rule in study.rules:
        label = "Rule" if len(study.rules) == 1 else rule.name
        print_result(f"{label}: {rule.text}")
    print_result(
        f"In brackets 95 % intervals: exact for shares, else of {study.resamples:,} resamples."
    )


def _print_classes(study: Study) -> None:
    """Figures by class, under the rule in force."""
    from nescio.evaluation import class_figures

    of_rule = f", {study.rules[0].name}" if len(study.rules) > 1 else ""
    print_table(
        f"by class{of_rule}",
        ("class", "images", "right if forced", "answered", "right", "ambiguous", "unfamiliar"),
        [
            (
                each.name,
                str(each.n),
                *(_percent(s) for s in (each.forced_accuracy, each.coverage)),
                _percent(each.accepted_accuracy),
                *map(str, each.reasons.values()),
            )
            for each in class_figures(study)
        ],
    )


def _percent(share: Interval | None) -> str:
    return NOTHING if share is None else _two_lines(share.percent(1))


def print_comparison(result: Comparison) -> None:
    """Figures side by side, and how they differ from the first model's."""
    for name in (None, *result.sizes):
        where = (
            f"{result.data}: {result.n} test images"
            if name is None
            else f"{name}: {result.sizes[name]} images that should be refused"
        )
        print_table(
            where,
            ("", *_headings(result)),
            [_compared_row(figure) for figure in result.figures if figure.set == name],
        )
    rules = [f"{name}: {rule}" for name, rule in zip(result.names, result.rules, strict=True)]
    print_result(f"Rules: {', '.join(rules)}.")
    print_result(
        f"Differences are paired, with 95 % intervals each for itself: score intervals and "
        f"McNemar's exact p for shares of all images, else {result.resamples:,} paired resamples."
    )


def _titles(rules: Sequence[StudiedRule], alone: str) -> tuple[str, ...]:
    return (alone,) if len(rules) == 1 else tuple(rule.name for rule in rules)


def _forced(study: Study) -> list[tuple[str, ...]]:
    figures, rest = study.forced, ("",) * (len(study.rules) - 1)
    return [
        ("right when an answer is forced", figures.accuracy.percent(2), *rest),
        ("negative log-likelihood, nats", figures.nll.number(), *rest),
        ("Brier score", figures.brier.number(), *rest),
        ("expected calibration error", figures.ece.number(), *rest),
        ("  with bins of equal mass", figures.ece_equal_mass.number(), *rest),
        ("  classwise", figures.classwise_ece.number(), *rest),
    ]


def _selective(rules: Sequence[StudiedRule]) -> list[tuple[str, ...]]:
    figures = [rule.figures for rule in rules]
    return [
        ("answered", *(f.coverage.percent(2) for f in figures)),
        (
            "right when answered",
            *(
                "no image was answered"
                if f.accepted_accuracy is None
                else f.accepted_accuracy.percent(2)
                for f in figures
            ),
        ),
        ("refused as ambiguous", *(str(f.reasons["ambiguous"]) for f in figures)),
        ("refused as unfamiliar", *(str(f.reasons["unfamiliar"]) for f in figures)),
        ("AURC", *(f.aurc.number(5) for f in figures)),
        ("  above the best ranking", *(f.excess_aurc.number(5) for f in figures)),
        ("AUGRC", *(f.augrc.number(5) for f in figures)),
        *(
            (
                f"wrong among the surest {100 * level:g} %",
                *(f.risk_at_coverage[level].percent(2) for f in figures),
            )
            for level in figures[0].risk_at_coverage
        ),
        *(
            (
                f"could be answered with {100 * level:g} % wrong",
                *(f.coverage_at_risk[level].percent(2) for f in figures),
            )
            for level in figures[0].coverage_at_risk
        ),
    ]


def _shifted(rule: StudiedRule) -> list[tuple[str, ...]]:
    return [
        (
            name,
            str(other.n),
            other.refusal_rate.percent(2),
            str(other.reasons["ambiguous"]),
            str(other.reasons["unfamiliar"]),
        )
        for name, other in rule.shifted.items()
    ]


def _detected(rule: StudiedRule) -> list[tuple[str, ...]]:
    return [
        (name, *(_two_lines(each.number()) for each in (other.auroc, other.aupr, other.fpr95)))
        for name, other in rule.shifted.items()
    ]


def _two_lines(text: str) -> str:
    """A figure above its interval, for a narrow column."""
    return text.replace(" [", "\n[", 1)


def _print_curves(curves: Sequence[CorruptionCurve]) -> None:
    severities = [grade.severity for grade in curves[0].grades]
    print_table(
        f"corrupted by severity: answered, and below right when answered, %; "
        f"{curves[0].images:,} test images each",
        ("", *map(str, severities)),
        [(curve.name, *(_grade(grade) for grade in curve.grades)) for curve in curves],
    )


def _grade(grade: Grade) -> str:
    right = grade.accepted_accuracy
    return (
        f"{100 * grade.answered.value:.1f}\n"
        f"{NOTHING if right is None else f'{100 * right.value:.1f}'}"
    )


SHARES = ("forced_accuracy", "coverage", "accepted_accuracy", "refusal_rate")
"""Figures that are told in per cent."""

IN_WORDS = {
    "forced_accuracy": "right when an answer is forced",
    "coverage": "answered",
    "accepted_accuracy": "right when answered",
    "aurc": "AURC",
    "augrc": "AUGRC",
    "excess_aurc": "AURC above the best ranking",
    "nll": "negative log-likelihood, nats",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "ece_equal_mass": "  with bins of equal mass",
    "classwise_ece": "  classwise",
    "refusal_rate": "refused",
    "auroc": "AUROC",
    "aupr": "AUPR",
    "fpr95": "FPR95",
}


def _headings(result: Comparison) -> list[str]:
    first, *others = result.names
    return [first, *(heading for name in others for heading in (name, "difference", "p"))]


def _compared_row(figure: Compared) -> list[str]:
    small = figure.name.endswith(("aurc", "augrc"))
    cells = [IN_WORDS[figure.name], _cell(figure.name, figure.values[0], small=small)]
    for value, difference, p in zip(
        figure.values[1:], figure.differences[1:], figure.p_values[1:], strict=True
    ):
        cells.append(_cell(figure.name, value, small=small))
        cells.append(_cell(figure.name, difference, small=small, signed=True))
        cells.append("" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001")
    return cells


def _cell(name: str, interval: Interval | None, *, small: bool, signed: bool = False) -> str:
    if interval is None:
        return NOTHING
    text = interval.percent(2) if name in SHARES else interval.number(5 if small else 4)
    if signed and not text.startswith("-"):
        text = f"+{text}"
    return _two_lines(text)
