"""What a report shows besides sentences and graphs: tables and bars, as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nescio.evaluation import Interval
from nescio.evaluation.published import ARTICLE, Published
from nescio.evaluation.study import StudiedRule, Study

MANY = 2000
"""Images, from which on a percentage has two decimals."""


@dataclass(frozen=True)
class Figure:
    """One line of the table of figures.

    Attributes:
        name: What it is.
        meaning: In plain words.
        value: With its interval.
    """

    name: str
    meaning: str
    value: str


def share(interval: Interval, n: int) -> str:
    """A share of ``n`` images with its interval."""
    return interval.percent(decimals(n))


def decimals(n: int) -> int:
    """Of a percentage of ``n`` images."""
    return 2 if n >= MANY else 1


def number(interval: Interval) -> str:
    """A figure with its interval, to two digits of the interval's width."""
    width = max(interval.high - interval.low, abs(interval.value) * 1e-3)
    digits = 3 if width <= 0 else min(max(1 - math.floor(math.log10(width)), 0), 6)
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def headline(study: Study) -> list[Figure]:
    """The few figures that matter most; the value ends where its interval begins."""
    n, rule = len(study.test), study.rules[0]
    accepted = rule.figures.accepted_accuracy
    figures = [
        Figure("answered", f"of {n:,} images", share(rule.figures.coverage, n)),
        Figure(
            "right when answered",
            f"of {n - rule.figures.refused:,} answers",
            "nothing was answered" if accepted is None else share(accepted, n),
        ),
        Figure("right when forced", "if it always had to answer", share(study.forced.accuracy, n)),
    ]
    if rule.shifted:
        figures.append(_least_refused(rule))
    return figures


def _least_refused(rule: StudiedRule) -> Figure:
    """Of the shifted sets the one of which least was refused, or least is known."""
    name, least = min(
        rule.shifted.items(),
        key=lambda item: (item[1].refusal_rate.value, item[1].refusal_rate.low),
    )
    where = ", as of every set" if least.refused == least.n else ", where it is least"
    return Figure(
        "strange images refused",
        f"of {name}{where if len(rule.shifted) > 1 else ''}",
        share(least.refusal_rate, least.n),
    )


def figures(study: Study) -> list[Figure]:
    """What the probabilities and their order are worth."""
    forced, selective = study.forced, study.rules[0].figures
    return [
        Figure(
            "Negative log-likelihood",
            "how surprised it is by the truth, in nats",
            number(forced.nll),
        ),
        Figure(
            "Brier score",
            "squared distance of its probabilities from the truth, 0 to 2",
            number(forced.brier),
        ),
        Figure(
            "Expected calibration error",
            "gap between confidence and accuracy, 15 bins of equal width",
            number(forced.ece),
        ),
        Figure(
            "\u2026 with bins of equally many images",
            "the same where most answers are sure",
            number(forced.ece_equal_mass),
        ),
        Figure("\u2026 classwise", "the mean over the classes", number(forced.classwise_ece)),
        Figure(
            "Area under risk and coverage (AURC)",
            "mean error rate as the most doubtful are refused one by one",
            number(selective.aurc),
        ),
        Figure(
            "\u2026 generalised (AUGRC)", "of all images, not of answers", number(selective.augrc)
        ),
        Figure(
            "\u2026 in excess",
            "above that of the best order there could be",
            number(selective.excess_aurc),
        ),
    ]  # fmt: skip


def trade_offs(study: Study) -> list[tuple[str, str]]:
    """What another threshold of doubt would have given on these images."""
    own, n = study.rules[0].figures, len(study.test)
    return [
        *(
            (f"at most {_plain(risk)} wrong", f"answers {share(coverage, n)}")
            for risk, coverage in own.coverage_at_risk.items()
        ),
        *(
            (f"{_plain(coverage)} answered", f"errs in {share(risk, n)}")
            for coverage, risk in own.risk_at_coverage.items()
        ),
    ]


def _plain(rate: float) -> str:
    return f"{100 * rate:g}\u00a0%"


@dataclass(frozen=True)
class Bar:
    """How many images of a set or a class were refused, and why.

    Attributes:
        name: Of the set or class.
        n: Its images.
        ambiguous: Those refused as ambiguous.
        unfamiliar: Those refused as unfamiliar.
        refused: Their share; ``None`` where there are no images.
        familiar: Whether it is of the kind that the model was taught.
    """

    name: str
    n: int
    ambiguous: int
    unfamiliar: int
    refused: Interval | None
    familiar: bool = True

    @property
    def value(self) -> str:
        """The share in words."""
        return "no image" if self.refused is None else share(self.refused, self.n)


def set_bars(study: Study) -> list[Bar]:
    """The test set, then the shifted ones."""
    rule, n = study.rules[0], len(study.test)
    own = rule.figures
    first = Bar(
        study.test.name,
        n,
        own.reasons["ambiguous"],
        own.reasons["unfamiliar"],
        own.coverage.complement,
    )
    return [
        first,
        *(
            Bar(
                name,
                other.n,
                other.reasons["ambiguous"],
                other.reasons["unfamiliar"],
                other.refusal_rate,
                familiar=False,
            )
            for name, other in rule.shifted.items()
        ),
    ]


@dataclass(frozen=True)
class ArticleRow:
    """A figure of the article beside this model's.

    Attributes:
        published: The article's.
        here: Measured here; ``None`` where the set was not tried, or the share is undefined.
    """

    published: Published
    here: str | None


def article_rows(study: Study) -> list[ArticleRow]:
    """The article's table, where the test images are MNIST's; else nothing."""
    if study.test.name != "mnist":
        return []
    rule, n = study.rules[0], len(study.test)
    accepted = rule.figures.accepted_accuracy
    values = {
        "forced": share(study.forced.accuracy, n),
        "refused": set_bars(study)[0].value,
        "accepted": None if accepted is None else share(accepted, n),
        **{name: share(own.refusal_rate, own.n) for name, own in rule.shifted.items()},
    }
    return [ArticleRow(published, values.get(key)) for key, published in ARTICLE.items()]


def rule_rows(study: Study) -> list[Sequence[str]]:
    """Several rules side by side: name, answered, right when answered, refused of each set."""
    n = len(study.test)
    return [
        (
            rule.name,
            share(rule.figures.coverage, n),
            "nothing was answered"
            if rule.figures.accepted_accuracy is None
            else share(rule.figures.accepted_accuracy, n),
            *(share(own.refusal_rate, own.n) for own in rule.shifted.values()),
        )
        for rule in study.rules
    ]
