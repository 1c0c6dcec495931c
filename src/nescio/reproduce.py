"""Reproduce the article: its recipe exactly, its figures, and nescio's default beside.

Published figures: P. Chopra 2018, *Making Your Neural Network Say "I Don't Know"*;
K. Ouhmaid 2020 builds the same system.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nescio.classifier import SAMPLES, Classifier
from nescio.data import Dataset, Reading, load
from nescio.devices import peak_memory
from nescio.errors import DownloadError
from nescio.evaluation import Evaluation, Interval, exact_share
from nescio.evaluation.published import ARTICLE, ARTICLE_LOSS, Published
from nescio.progress import SILENT, Reporter
from nescio.training import find_recipe, fit

NOISE_IMAGES = 10_000
"""How many noise images are tried; the article took 100."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        published: The article's figure.
        article: Measured with the article's recipe; ``None`` when not measured.
        default: Measured with the default recipe; ``None`` when not measured.
    """

    published: Published
    article: Interval | None
    default: Interval | None

    def to_json(self) -> dict[str, Any]:
        """As in ``reproduce --json``."""
        return {
            "name": self.published.name,
            "published": self.published.share,
            "article": None if self.article is None else self.article.to_json(),
            "default": None if self.default is None else self.default.to_json(),
        }


@dataclass(frozen=True)
class Reproduction:
    """Everything that ``nescio reproduce`` measured.

    Attributes:
        rows: The table.
        losses: Loss per image after each pass of the article's recipe.
        evaluations: The whole evaluation of each recipe, by its name.
        seed: Of everything.
        seconds: How long it took.
        peak_bytes: The most memory that the process held.
        missing: Why a set could not be tried, by its name.
    """

    rows: tuple[Row, ...]
    losses: tuple[float, ...]
    evaluations: dict[str, Evaluation]
    seed: int
    seconds: float
    peak_bytes: int
    missing: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As in ``reproduce --json``."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "loss_per_image": {"published": list(ARTICLE_LOSS), "article": list(self.losses)},
            "evaluations": {name: e.to_json() for name, e in self.evaluations.items()},
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "peak_bytes": self.peak_bytes,
            "missing": self.missing,
        }


def reproduce(
    data: str = "mnist",
    *,
    seed: int = 0,
    samples: int = SAMPLES,
    device: str = "auto",
    precision: str = "auto",
    reading: Reading | None = None,
    reporter: Reporter = SILENT,
) -> Reproduction:
    """Train both recipes on ``data`` and hold them against the published figures.

    Args:
        data: The article's is ``mnist``; with any other the published figures are
            of another data set.
        seed: Of splits, fits and sampled networks.
        samples: How many networks are drawn.
        device: Where to compute.
        precision: Of products, see :func:`nescio.devices.choose_precision`.
        reading: What is asked of files.
        reporter: Told of progress.
    """
    start = time.perf_counter()
    dataset = load(data, seed=seed, reading=reading, reporter=reporter)
    ood, missing = _shifted_sets(dataset, seed, reporter)
    evaluations: dict[str, Evaluation] = {}
    losses: tuple[float, ...] = ()
    for name in ("article", "default"):
        reporter.note(f"the {name} recipe")
        classifier = fit(
            find_recipe(name).network,
            dataset,
            recipe=name,
            samples=samples,
            seed=seed,
            device=device,
            precision=precision,
            reporter=reporter,
        )
        evaluations[name] = classifier.evaluate(
            dataset, ood=ood, samples=samples, reporter=reporter
        )
        if name == "article":
            losses = _losses(classifier)
    return Reproduction(
        rows=_rows(evaluations["article"], evaluations["default"]),
        losses=losses,
        evaluations=evaluations,
        seed=seed,
        seconds=time.perf_counter() - start,
        peak_bytes=peak_memory(),
        missing=missing,
    )


def _losses(classifier: Classifier) -> tuple[float, ...]:
    return tuple(epoch.loss for epoch in classifier.record.history)


def _shifted_sets(
    dataset: Dataset, seed: int, reporter: Reporter
) -> tuple[Sequence[Dataset], dict[str, str]]:
    shape = dataset.train.preprocessing
    sets, missing = [], {}
    for name in (f"noise:{NOISE_IMAGES}", "notmnist"):
        try:
            sets.append(
                load(name, labelled=False, preprocessing=shape, seed=seed, reporter=reporter)
            )
        except DownloadError as error:
            missing[name] = str(error)
            reporter.note(str(error))
    return sets, missing


def _rows(article: Evaluation, default: Evaluation) -> tuple[Row, ...]:
    picks: dict[str, Callable[[Evaluation], Interval | None]] = {
        "forced": _forced,
        "refused": _refused,
        "accepted": _accepted,
        "noise": lambda e: _refused_of(e, "noise"),
        "notmnist": lambda e: _refused_of(e, "notmnist"),
    }
    return tuple(
        Row(published, picks[key](article), picks[key](default))
        for key, published in ARTICLE.items()
    )


def _forced(evaluation: Evaluation) -> Interval:
    return evaluation.forced_accuracy


def _refused(evaluation: Evaluation) -> Interval | None:
    return exact_share(evaluation.refused, evaluation.n)


def _accepted(evaluation: Evaluation) -> Interval | None:
    return evaluation.accepted_accuracy


def _refused_of(evaluation: Evaluation, name: str) -> Interval | None:
    other = evaluation.ood.get(name)
    return None if other is None else other.refusal_rate
