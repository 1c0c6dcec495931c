"""Kinds of posterior by name, with at most one option: ``mean-field``, ``low-rank:8``.

What each name stands for is in :mod:`nescio.inference.methods`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nescio.errors import UsageError


@dataclass(frozen=True)
class Kind:
    """What a kind of posterior may be told.

    Attributes:
        option: What the number after the colon is; empty where there is none.
        default: That number, unless told.
        least: The least that it may be.
        most: The most that it may be.
        whole: Whether it is a whole number; else it lies between ``least`` and ``most``.
        words: Instead of a number, one of these; the first is the default.
        all_weights: Whether every weight takes part, so that ``--random`` says nothing.
    """

    option: str = ""
    default: float | None = None
    least: float = 0.0
    most: float = 0.0
    whole: bool = True
    words: tuple[str, ...] = ()
    all_weights: bool = False


KINDS: dict[str, Kind] = {
    "mean-field": Kind(),
    "low-rank": Kind("the rank", 8, 1, 256),
    "ensemble": Kind("the number of members", 5, 2, 1000, all_weights=True),
    "mean-field-ensemble": Kind("the number of members", 5, 2, 1000),
    "dropout": Kind("the share of inputs that is dropped", 0.2, 0, 1, whole=False),
    "laplace": Kind("the covariance", words=("full", "kron")),
    "swag": Kind("the number of snapshots", 20, 2, 256),
    "ivon": Kind(),
    "hmc": Kind("the number of networks kept", 200, 20, 100_000),
}
"""The kinds known by name."""


@dataclass(frozen=True)
class Choice:
    """A kind of posterior and its option.

    Attributes:
        name: The kind's.
        number: Its option, where that is a number; else 0.
        word: Its option, where that is a word; else empty.
    """

    name: str
    number: float = 0.0
    word: str = ""

    @property
    def kind(self) -> Kind:
        """What it may be told."""
        return KINDS[self.name]


def parse_posterior(text: str) -> Choice:
    """Read a kind of posterior from its name, such as ``low-rank:8``.

    Raises:
        UsageError: There is no such kind, or its option is not one.
    """
    name, colon, option = text.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(f"unknown posterior {name!r}: expected one of {', '.join(KINDS)}")
    if kind.words:
        word = option if colon else kind.words[0]
        if word not in kind.words:
            raise UsageError(
                f"posterior {text!r}: {kind.option} must be one of {', '.join(kind.words)}"
            )
        return Choice(name, word=word)
    if not kind.option:
        if colon:
            raise UsageError(f"posterior {text!r}: {name} takes no option; write {name} alone")
        return Choice(name)
    return Choice(name, _number(text, kind, option) if colon else float(kind.default or 0))


def _number(text: str, kind: Kind, option: str) -> float:
    try:
        number = float(option)
    except ValueError:
        number = math.nan
    if kind.whole:
        valid = kind.least <= number <= kind.most and number == int(number)
        wanted = f"a whole number from {kind.least:g} to {kind.most:,g}"
    else:
        valid = kind.least < number < kind.most
        wanted = f"above {kind.least:g} and below {kind.most:g}"
    if not valid:
        raise UsageError(f"posterior {text!r}: {kind.option} must be {wanted}, got {option!r}")
    return number
