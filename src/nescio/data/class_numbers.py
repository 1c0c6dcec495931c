"""Class indices and names from labels as people hold them: numbers, texts, a column, one-hot.

Classes are those that occur, and a label is what is written: ``7`` among 3, 7 and 9 is a class of
that name, the second of three, and ``07`` beside it is a fourth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from nescio.errors import DataError

MOST_CLASSES = 100_000
"""More are taken for a mistake, such as values to be measured instead of classes."""

LONGEST_NAME = 1_000
"""Letters; what is longer is no label."""

LARGEST_FLOAT = 2.0**53
"""Floats from here on no longer tell neighbouring whole numbers apart."""

WHOLE = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
"""How a whole number is written, if it is written as one: not ``01``, ``+1`` or ``1.0``."""

SIGNS = {"-1", "1"}
"""Two classes, where labels are these two alone; else -1 says that there is no label."""

Labels: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorts ``class10`` after ``class9``."""
    pieces = re.split(r"(\d+)", text.casefold())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces if p]


def label_text(value: object) -> str | None:
    """One label as the name of its class; ``None`` where it says that there is none.

    Args:
        value: A text; a whole number, also as a float; a truth value; ``None`` or NaN.

    Raises:
        ValueError: It is none of these.
    """
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        if math.isnan(number):
            return None
        if number.is_integer() and abs(number) < LARGEST_FLOAT:
            return str(int(number))
    if isinstance(value, str) and len(value) <= LONGEST_NAME:
        return str(value) or None
    raise ValueError(f"a label must be a class number or name, got {value!r:.60}")


def name_values(
    values: Iterable[object], source: str, names: Sequence[str] = ()
) -> list[str | None]:
    """The values of a column of labels as names of classes; ``None`` where there is no label.

    Args:
        values: As :func:`label_text` takes them.
        source: The column, for errors.
        names: What the numbers 0, 1, ... stand for, and -1 for no label; empty where a number is
            its own name.

    Raises:
        DataError: One is no label.
    """
    check_names(names, source)
    numbered = {"-1": None, **{str(number): name for number, name in enumerate(names)}}
    given: list[str | None] = []
    for value in values:
        try:
            text = label_text(value)
        except ValueError as error:
            raise DataError(f"{source}: {error}") from error
        if not names or text is None or (isinstance(value, str) and text in names):
            given.append(text)
        elif text in numbered:
            given.append(numbered[text])
        else:
            raise DataError(
                f"{source}: label {text} is none of the {len(names)} classes named, "
                f"0..{len(names) - 1}"
            )
    return given


def number_texts(
    texts: Sequence[str | None], source: str, *, key: Callable[[str], Any] = natural_key
) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as indices into the names that occur.

    Where all are whole numbers, ``-1`` alone stands for no label, as ``datasets`` has it; ``-1``
    and ``1`` are two classes.

    Args:
        texts: Of each image, as :func:`label_text` gives them; ``None`` where there is no label.
        source: What they come from, for errors.
        key: By which classes are sorted, and then by their names.

    Returns:
        ``(N,)`` int64 with -1 where there is no label, and the ``C`` names.

    Raises:
        DataError: There are too many classes, or some labels are -1, so that nobody can tell
            whether it is a class.
    """
    found = {text for text in texts if text is not None}
    if found - SIGNS and "-1" in found and all(WHOLE.fullmatch(text) for text in found):
        raise DataError(
            f"{source}: some labels are -1, which may be a class or mean that there is none; leave "
            "those images out, or give the class a name"
        )
    found -= {"-1"} if found == {"-1"} else set()
    names = sorted(found, key=lambda name: (key(name), name))
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{source}: {len(names):,} different labels are no classes (the first are "
            f"{', '.join(names[:3])}); at most {MOST_CLASSES:,} are taken"
        )
    place = {name: number for number, name in enumerate(names)}
    numbers = [-1 if text is None else place.get(text, -1) for text in texts]
    return torch.tensor(numbers, dtype=torch.int64), tuple(names)


def number_array(
    labels: Labels, source: str, names: Sequence[str] = ()
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The labels of an array as indices into the classes that occur.

    Args:
        labels: ``(N,)`` or ``(N, 1)`` whole numbers (floats too), truth values or texts; or
            ``(N, C)`` with a single 1 in each row.
        source: What they are, for errors.
        names: What the numbers 0, 1, ... stand for; empty where a number is its own name.

    Returns:
        ``(N,)`` int64, ``None`` where all labels are -1 or empty; and the names of the ``C``
        classes that occur: in the order of ``names``, of the numbers, or of texts as NumPy sorts
        them.

    Raises:
        DataError: They are no such labels, a name comes twice, or some labels are missing.
    """
    check_names(names, source)
    flat = _flattened(labels, source)
    if flat.dtype.kind == "O":
        flat = np.array([_text(value, source) for value in flat.tolist()])
    values, places = np.unique(flat, return_inverse=True)
    texts = [_text(value, source) or None for value in values.tolist()]
    if names and values.dtype.kind not in "US":
        texts = _named(texts, names, source)
    elif names and (others := [text for text in texts if text and text not in names]):
        raise DataError(f"{source}: {others[0]!r} is none of the {len(names)} class names given")
    order: dict[str | None, int] = {name: number for number, name in enumerate(names or texts)}
    numbers, classes = number_texts(texts, source, key=lambda name: order[name])
    own = numbers[torch.from_numpy(places.reshape(-1).astype(np.int64))]
    if not classes:
        return None, ()
    if bool((own < 0).any()):
        first = int((own < 0).nonzero()[0])
        raise DataError(
            f"{source}: {int((own < 0).sum())} of {len(own)} images have no label (the first is "
            f"number {first}); give them one, or leave them out"
        )
    return own, classes


def keep_occurring(labels: Tensor, names: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels anew, as indices into those of the names that occur.

    Args:
        labels: ``(N,)`` int64, indices into ``names``; -1 where there is none.
        names: All names.
    """
    present = labels[labels >= 0].unique()
    place = torch.full((len(names) + 1,), -1, dtype=torch.int64)  # -1 finds the last
    place[present] = torch.arange(len(present))
    return place[labels], tuple(names[number] for number in present.tolist())


def check_names(names: Iterable[str], source: str) -> None:
    """See that no class name comes twice.

    Raises:
        DataError: One does.
    """
    met: set[str] = set()
    for name in names:
        if name in met:
            raise DataError(
                f"{source}: the class name {name!r} comes twice; give each class a name of its own"
            )
        met.add(name)


def _flattened(labels: Labels, source: str) -> Labels:
    """``(N,)``, whether they stood in a column or one-hot."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        single = np.all((labels == 0) | (labels == 1)) and np.all(labels.sum(1) == 1)
        if labels.shape[1] > 1 and single:
            return np.asarray(np.argmax(labels, 1))
        raise DataError(
            f"{source}: labels of shape {labels.shape} must have a single 1 in each row; an image "
            "with several labels, or with shares of them, is not taken: give each one class"
        )
    if labels.ndim != 1 or not len(labels):
        raise DataError(
            f"{source}: labels must have shape (N,), (N, 1) or (N, C) one-hot, with N at least 1, "
            f"got {labels.shape}"
        )
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        first = int(np.flatnonzero(np.isnan(labels))[0])
        raise DataError(f"{source}: label number {first} is NaN; leave that image out")
    if labels.dtype.kind not in "biufUSO":
        raise DataError(f"{source}: labels must be class numbers or names, got {labels.dtype}")
    return labels


def _text(value: object, source: str) -> str:
    """A label as a text, empty where there is none."""
    try:
        return label_text(value.decode() if isinstance(value, bytes) else value) or ""
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{source}: {error}") from error


def _named(texts: Sequence[str | None], names: Sequence[str], source: str) -> list[str | None]:
    """What numbers stand for: -1 for no label."""
    numbers = [int(text) if text and WHOLE.fullmatch(text) else -1 for text in texts]
    outside = [number for number in numbers if not -1 <= number < len(names)]
    if outside:
        raise DataError(
            f"{source}: label {outside[0]} is outside the {len(names)} classes named, "
            f"0..{len(names) - 1}"
        )
    return [names[number] if number >= 0 else None for number in numbers]
