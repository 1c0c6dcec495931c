"""Several studies of the same images side by side, with paired differences from the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nescio.errors import StudyError
from nescio.evaluation.bootstrap import RESAMPLES, Array, Statistics, percentiles, resampled
from nescio.evaluation.calibration import Forced
from nescio.evaluation.detection import Detection
from nescio.evaluation.figures import check_resamples
from nescio.evaluation.intervals import Interval
from nescio.evaluation.paired import paired_shares
from nescio.evaluation.selective import Selective
from nescio.evaluation.study import JudgedSet, Study

FIGURES = (
    "accepted_accuracy",
    "aurc",
    "augrc",
    "excess_aurc",
    "nll",
    "brier",
    "ece",
    "ece_equal_mass",
    "classwise_ece",
)
"""Of the test set, whose differences are bootstrapped."""

SHIFTED_FIGURES = ("auroc", "aupr", "fpr95")
"""Likewise of a shifted set."""


@dataclass(frozen=True)
class Compared:
    """One figure of all models.

    Attributes:
        name: Of the figure, as in ``evaluate --json``.
        set: The shifted set that it is of; ``None`` for the test set.
        values: Of each model, from its study; ``None`` where it is not defined.
        differences: Of each model, less the first's, with the interval of the difference;
            ``None`` for the first, and where one of both is not defined.
        p_values: McNemar's exact ones, of shares of the same images; ``None`` for others.
    """

    name: str
    set: str | None
    values: tuple[Interval | None, ...]
    differences: tuple[Interval | None, ...]
    p_values: tuple[float | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Models that were judged on the same images, each by its first rule.

    Attributes:
        names: Of the models; each once.
        rules: Their rules, as called on the command line.
        data: The name of the test set.
        n: Its images.
        sizes: Images of each shifted set that all studies have, by name.
        left_out: Shifted sets that only some have.
        resamples: Of the paired bootstrap.
        figures: The figures, those of the test set first.
    """

    names: tuple[str, ...]
    rules: tuple[str, ...]
    data: str
    n: int
    sizes: Mapping[str, int]
    left_out: tuple[str, ...]
    resamples: int
    figures: tuple[Compared, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that ``compare --json`` prints."""

        def of(set_name: str | None) -> dict[str, Any]:
            return {f.name: self._entries(f) for f in self.figures if f.set == set_name}

        return {
            "models": [
                {"name": name, "rule": rule}
                for name, rule in zip(self.names, self.rules, strict=True)
            ],
            "data": self.data,
            "n": self.n,
            "resamples": self.resamples,
            "figures": of(None),
            "ood": {name: {"n": size, **of(name)} for name, size in self.sizes.items()},
            "left_out": list(self.left_out),
        }

    def _entries(self, figure: Compared) -> list[dict[str, Any] | None]:
        return [
            None
            if value is None
            else {
                **value.to_json(),
                "difference": None if difference is None else difference.to_json(),
                "p": p,
            }
            for value, difference, p in zip(
                figure.values, figure.differences, figure.p_values, strict=True
            )
        ]


def compare(studies: Sequence[Study], *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Hold studies of the same images against the first of them.

    Figures come from the studies. Differences are paired: all models meet the same resamples of
    the images, and shares are compared image by image (:func:`paired_shares`). Intervals are for
    each difference alone, not for all at once.

    Args:
        studies: Two or more.
        resamples: Of the paired bootstrap.
        seed: Of the resamples.

    Raises:
        StudyError: Their class lists, test sets or shifted sets differ, or there is but one.
    """
    check_resamples(resamples)
    names = _distinct([study.model.name for study in studies])
    common = _check_alike(studies, names)
    every = {name for study in studies for name in study.shifted}
    draw = _Draw(resamples, seed)
    tests = [study.test for study in studies]
    size = len(tests[0])
    figures = _shares(None, studies, {"forced_accuracy": _forced_right, "coverage": _answered})
    figures += draw.compared(None, studies, [_selected(test) for test in tests], (size,))
    for name in common:
        sizes = size, len(studies[0].shifted[name])
        figures += _shares(name, studies, {"refusal_rate": _refused})
        figures += draw.compared(name, studies, [_detected(each, name) for each in studies], sizes)
    return Comparison(
        names=names,
        rules=tuple(study.rules[0].name for study in studies),
        data=studies[0].test.name,
        n=size,
        sizes={name: len(studies[0].shifted[name]) for name in common},
        left_out=tuple(sorted(every - set(common))),
        resamples=resamples,
        figures=tuple(figures),
    )


def judged_by(study: Study, name: str) -> Study:
    """The same study with another of its rules in force; without images and corruptions.

    Args:
        study: The study.
        name: The rule's, as on the command line.

    Raises:
        StudyError: The study has no such rule.
    """
    names = [rule.name for rule in study.rules]
    if name not in names:
        raise StudyError(
            f"the study of {study.model.name} has no rule {name!r} (it has {', '.join(names)}); "
            f"make it again with evaluate --rule {name}"
        )
    place = names.index(name)

    def alone(judged: JudgedSet) -> JudgedSet:
        return replace(judged, answers=(judged.answers[place],))

    return replace(
        study,
        test=alone(study.test),
        shifted={key: alone(judged) for key, judged in study.shifted.items()},
        rules=(study.rules[place],),
        curves={},
        specimens=(),
    )


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, those that come again numbered."""
    seen: list[str] = []
    for name in names:
        other, count = name, 2
        while other in seen:
            other, count = f"{name}-{count}", count + 1
        seen.append(other)
    return tuple(seen)


def _check_alike(studies: Sequence[Study], names: Sequence[str]) -> tuple[str, ...]:
    """The shifted sets that all studies have, in the order of the first."""
    if len(studies) < 2:
        raise StudyError("a comparison needs at least two models or studies")
    first = studies[0]
    common = tuple(
        name for name in first.shifted if all(name in study.shifted for study in studies)
    )
    for name, study in zip(names[1:], studies[1:], strict=True):
        if study.classes != first.classes:
            raise StudyError(
                f"{names[0]} knows the classes {_few(first.classes)}; {name} "
                f"{_few(study.classes)}: "
                "only models of the same classes, in the same order, can be compared"
            )
        for mine, other in [
            (first.test, study.test),
            *((first.shifted[key], study.shifted[key]) for key in common),
        ]:
            if not _same_images(first, mine, study, other):
                raise StudyError(
                    f"{names[0]} and {name} were not judged on the same images of {mine.name} "
                    f"({len(mine)} and {len(other)}); compare the models themselves, which are "
                    "judged on the same: nescio compare A B DATA"
                )
    return common


def _same_images(a: Study, mine: JudgedSet, b: Study, other: JudgedSet) -> bool:
    if a.model.images == b.model.images:
        return mine.fingerprint == other.fingerprint
    # Models that see images in another shape see other pixels of the same files.
    if mine.labels is not None and other.labels is not None:
        return mine.names == other.names and np.array_equal(mine.labels, other.labels)
    return mine.names == other.names


def _few(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (f", ... ({len(classes)})" if len(classes) > 5 else "")


def _forced_right(study: Study, _: str | None) -> tuple[Array, Interval]:
    return study.test.forced == study.test.labels, study.forced.accuracy


def _answered(study: Study, _: str | None) -> tuple[Array, Interval]:
    return study.test.answers[0].accepted, study.rules[0].figures.coverage


def _refused(study: Study, name: str | None) -> tuple[Array, Interval]:
    assert name is not None  # noqa: S101 - of a shifted set
    return ~study.shifted[name].answers[0].accepted, study.rules[0].shifted[name].refusal_rate


def _shares(
    set_name: str | None,
    studies: Sequence[Study],
    kinds: Mapping[str, Callable[[Study, str | None], tuple[Array, Interval]]],
) -> list[Compared]:
    """Shares of the same images, compared image by image."""
    found = []
    for name, kind in kinds.items():
        columns, values = zip(*(kind(study, set_name) for study in studies), strict=True)
        tests = [paired_shares(columns[0], column) for column in columns[1:]]
        found.append(
            Compared(
                name,
                set_name,
                values,
                (None, *(difference for difference, _ in tests)),
                (None, *(p for _, p in tests)),
            )
        )
    return found


def _selected(test: JudgedSet) -> Statistics:
    """All figures of a test set, of weights ``(b, N)``."""
    answers = test.answers[0]
    accepted, right = answers.accepted, answers.top == test.labels
    forced, selective = Forced.of(test), Selective.of(right, answers.doubt, (), ())

    def statistics(weights: Array) -> Mapping[str, Array]:
        answered, both = weights @ accepted, weights @ (right & accepted)
        undefined = np.full(len(weights), np.nan)
        return {
            # Where nothing was drawn that is answered, there is no accuracy.
            "accepted_accuracy": np.divide(both, answered, out=undefined, where=answered > 0),
            **selective(weights),
            **forced(weights),
        }

    return statistics


def _detected(study: Study, name: str) -> Statistics:
    """How a shifted set is told from the test set, of weights of both."""
    sets = study.test, study.shifted[name]
    return Detection.of(*(judged.answers[0].unfamiliarity for judged in sets))


@dataclass(frozen=True)
class _Draw:
    """The resamples that all models meet."""

    resamples: int
    seed: int

    def compared(
        self,
        set_name: str | None,
        studies: Sequence[Study],
        statistics: Sequence[Statistics],
        sizes: Sequence[int],
    ) -> list[Compared]:
        drawn = [
            resampled(each, *sizes, resamples=self.resamples, seed=self.seed) for each in statistics
        ]
        names = [name for name in drawn[0] if drawn[0][name].ndim == 1]
        return [
            self._one(name, set_name, studies, [each.get(name) for each in drawn]) for name in names
        ]

    def _one(
        self,
        name: str,
        set_name: str | None,
        studies: Sequence[Study],
        drawn: Sequence[Array | None],
    ) -> Compared:
        values = tuple(_value(study, set_name, name) for study in studies)
        differences = [
            _difference(values[0], value, drawn[0], other)
            for value, other in zip(values[1:], drawn[1:], strict=True)
        ]
        return Compared(name, set_name, values, (None, *differences), (None,) * len(studies))


def _value(study: Study, set_name: str | None, name: str) -> Interval | None:
    rule = study.rules[0]
    homes = [study.forced, rule.figures] if set_name is None else [rule.shifted[set_name]]
    value: Interval | None = next(getattr(h, name) for h in homes if hasattr(h, name))
    return value


def _difference(
    first: Interval | None, second: Interval | None, a: Array | None, b: Array | None
) -> Interval | None:
    if first is None or second is None or a is None or b is None:
        return None
    gaps = b - a
    return percentiles(second.value - first.value, gaps[np.isfinite(gaps)])
