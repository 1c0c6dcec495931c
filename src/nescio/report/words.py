"""Figures and lists in words."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float, digits: int = 1) -> str:
    """A share for a reader: ``98.5 %``; only nothing is ``0 %`` and only all is ``100 %``.

    Args:
        share: 0 to 1.
        digits: Decimals at least; more where fewer would round to nothing or all.
    """
    for places in range(digits, 4):
        text = f"{100 * share:.{places}f}"
        if 0.0 < float(text) < 100.0:
            break
    return f"{text if 0.0 < share < 1.0 else round(100 * share)}\u00a0%"


def rate(share: float) -> str:
    """A share that is often small, such as that of errors, with two digits that count."""
    return f"{100 * share:.2g}\u00a0%" if 1e-6 < share < 0.01 else percent(share)


LETTERS = 160
"""Of a list in a sentence, about."""


def listed(names: Sequence[str], most: int = 12) -> str:
    """``a, b and c``; of many or long ones the first, and how many more there are."""
    shown, letters = 0, 0
    for name in names[:most]:
        letters += len(name) + 2
        if shown and letters > LETTERS:
            break
        shown += 1
    if shown < len(names):
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
