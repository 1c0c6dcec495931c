"""Answers as they are written: columns first, never one image at a time.

Decisions come as tensors; bringing each to Python as an object, and each object to text, would cost
more than some networks do. What is written is what :meth:`nescio.refusal.Decision.to_json` says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from nescio.refusal import Decisions, Reason

SCORES = (
    "predictive_entropy",
    "expected_entropy",
    "mutual_information",
    "error_probability",
    "unfamiliarity",
    "familiarity",
)
"""The scores that a table has columns for, whatever the rule."""


def table_columns(classes: Sequence[str]) -> list[str]:
    """The columns of ``predict --csv`` for a model of these classes."""
    return [
        *("image", "label", "accepted", "reason", "proposed", "samples", "error"),
        *(*SCORES, "nearest", "stage"),
        *(f"probability {name}" for name in classes),
        *(f"median {name}" for name in classes),
    ]


@dataclass(frozen=True)
class Answers:
    """What is said of the images of a batch.

    Attributes:
        names: Of all images, in input order.
        errors: Why an image could not be read, by its place in ``names``.
        decisions: For the others, in order; ``None`` where there are none.
    """

    names: Sequence[str]
    errors: Mapping[int, str]
    decisions: Decisions | None

    @property
    def readable(self) -> list[int]:
        """The place in ``names`` of each decision."""
        return [place for place in range(len(self.names)) if place not in self.errors]

    def weave(self, decided: Iterator[Any], failed: Callable[[str, str], Any]) -> Iterator[Any]:
        """One thing for each image: of those decided, or made of name and error."""
        for place, name in enumerate(self.names):
            yield failed(name, self.errors[place]) if place in self.errors else next(decided)


def json_lines(answers: Answers) -> Iterator[str]:
    """The lines of ``predict --json``, without what ends them."""
    names = (_text(answers.names[place]) for place in answers.readable)
    texts = iter(()) if answers.decisions is None else _json_texts(answers.decisions)
    decided = (f'{{"image": {name}, {text}' for name, text in zip(names, texts, strict=True))
    return answers.weave(
        decided, lambda name, error: f'{{"image": {_text(name)}, "error": {_text(error)}}}'
    )


def _json_texts(decisions: Decisions) -> Iterator[str]:
    """All but the name of the image."""
    classes = [_text(name) for name in decisions.classes]
    stages = [_text(name) for name in decisions.stages]
    proposed: dict[tuple[bool, ...], str] = {}

    def propose(mask: tuple[bool, ...]) -> str:
        if mask not in proposed:
            proposed[mask] = ", ".join(compress(classes, mask))
        return proposed[mask]

    verdicts, places = decisions.verdicts, range(len(decisions))
    columns: list[Sequence[Any]] = [
        _chosen(verdicts.top, decisions.accepted, classes, "null"),
        ["true" if accepted else "false" for accepted in decisions.accepted.tolist()],
        ["null" if reason is None else _text(reason) for reason in reasons(decisions)],
        [propose(tuple(mask)) for mask in verdicts.proposed.tolist()],
        [classes[i] for i in verdicts.nearest.tolist()] if stages else ["null"] * len(places),
        [stages[i] for i in verdicts.stage.tolist()] if stages else ["null"] * len(places),
        *decisions.probability.T.tolist(),
        *decisions.median.T.tolist(),
        *(_numbers(score, "null") for score in decisions.scores.values()),
        decisions.samples.tolist(),
    ]
    by_class = ", ".join(f"{_plain(name)}: %s" for name in classes)
    by_score = ", ".join(f"{_plain(_text(name))}: %s" for name in decisions.scores)
    form = (
        '"label": %s, "accepted": %s, "reason": %s, "proposed": [%s], "nearest": %s, "stage": %s, '
        f'"probability": {{{by_class}}}, "median": {{{by_class}}}, "scores": {{{by_score}}}, '
        '"samples": %s}'
    )
    return (form % row for row in zip(*columns, strict=True))


def table_rows(answers: Answers) -> Iterator[tuple[Any, ...]]:
    """The rows of ``predict --csv``, a value a column; an empty text where there is none."""
    classes = () if answers.decisions is None else answers.decisions.classes
    names = [answers.names[place] for place in answers.readable]
    columns = [] if answers.decisions is None else _table(names, answers.decisions, classes)
    decided = zip(*columns, strict=True)
    place = table_columns(()).index("error")
    return answers.weave(decided, lambda name, error: (name, *[""] * (place - 1), error))


def _table(
    names: Sequence[str], decisions: Decisions, classes: Sequence[str]
) -> list[Sequence[Any]]:
    verdicts, none = decisions.verdicts, [""] * len(decisions)
    stages = decisions.stages
    scores = decisions.scores
    return [
        names,
        _chosen(verdicts.top, decisions.accepted, classes, ""),
        decisions.accepted.tolist(),
        [reason or "" for reason in reasons(decisions)],
        ["|".join(compress(classes, mask)) for mask in verdicts.proposed.tolist()],
        decisions.samples.tolist(),
        none,
        *(_numbers(scores[name], "") if name in scores else none for name in SCORES),
        [classes[i] for i in verdicts.nearest.tolist()] if stages else none,
        [stages[i] for i in verdicts.stage.tolist()] if stages else none,
        *decisions.probability.T.tolist(),
        *decisions.median.T.tolist(),
    ]


def reasons(decisions: Decisions) -> list[str | None]:
    """Why each image was refused; ``None`` where it was not."""
    strange = decisions.verdicts.unfamiliar.tolist()
    words = {True: Reason.UNFAMILIAR.value, False: Reason.AMBIGUOUS.value}
    accepted = decisions.accepted.tolist()
    return [None if own else words[odd] for own, odd in zip(accepted, strange, strict=True)]


def _chosen(top: Tensor, accepted: Tensor, classes: Sequence[str], none: str) -> list[str]:
    pairs = zip(top.tolist(), accepted.tolist(), strict=True)
    return [classes[own] if answered else none for own, answered in pairs]


def _numbers(score: Tensor, none: str) -> list[Any]:
    """The numbers, ``none`` for each that is not finite."""
    finite = torch.isfinite(score)
    if bool(finite.all()):
        return score.tolist()
    pairs = zip(score.tolist(), finite.tolist(), strict=True)
    return [value if known else none for value, known in pairs]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _plain(text: str) -> str:
    """The text as part of a form for ``%``."""
    return text.replace("%", "%%")
