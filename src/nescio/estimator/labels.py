"""Classes of any type, and the value that stands for a refusal among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from nescio.errors import DataError, UsageError
from nescio.estimator.inputs import Array

KINDS = {"i": "integers", "u": "integers", "f": "floats", "U": "strings", "b": "booleans"}
"""The types that classes have, by NumPy's letter."""


def numbered(y: Array) -> tuple[Array, Array]:
    """The classes ``(C,)`` and the number of each label ``(N,)`` among them.

    Raises:
        ValueError: They are no classes, such as numbers that are not whole.
        DataError: They have no order, or are all of one class.
    """
    try:
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise DataError(f"y mixes types that have no order: {error}") from error
    if len(classes) < 2:
        raise DataError(
            f"NescioClassifier needs images of at least 2 classes, but y has one class: "
            f"{classes.tolist()[0]!r}"
        )
    return classes, labels.astype(np.int64)


def class_names(classes: Array) -> tuple[str, ...]:
    """A name for each of ``(C,)`` classes.

    Raises:
        DataError: Two have the same.
    """
    names = tuple(str(value) for value in classes.tolist())
    if len(set(names)) < len(names):
        raise DataError(f"y has classes that look alike when written: {', '.join(names)}")
    return names


def refusal_value(classes: Array, label: Any) -> Array:
    """The refusal as an array ``()`` that joins ``(C,)`` classes without changing them.

    Raises:
        TypeError: It is not of their type.
        UsageError: It is one of them, or not equal to itself.
    """
    value = np.asarray(label)
    kind = _kind(classes)
    same = kind == _kind(value) or (kind == "floats" and _kind(value) == "integers")
    if value.ndim or kind is None or not same:
        raise TypeError(
            f"refusal_label must be of the type of the classes ({kind or classes.dtype}), "
            f"got {label!r}"
        )
    if kind == "booleans":
        raise UsageError(
            "refusal_label: there is no third boolean; give y as integers or strings, or "
            "leave refusal_label=None and ask decide(X)"
        )
    if value != value:  # noqa: PLR0124 - NaN is what is not equal to itself
        raise UsageError("refusal_label must not be NaN: no metric could count it")
    if value in classes:
        raise UsageError(f"refusal_label={label!r} is one of the classes; choose another value")
    return value


def with_refusals(labels: Array, accepted: Array, refusal: Array) -> Array:
    """Labels ``(N,)`` where accepted ``(N,)``, the refusal elsewhere."""
    together: Array = np.result_type(labels, refusal)  # type: ignore[assignment]
    return np.where(accepted, labels.astype(together), refusal.astype(together))


def _kind(values: Array) -> str | None:
    """What the values are; ``None`` for anything else, or a mixture."""
    if values.dtype.kind != "O":
        return KINDS.get(values.dtype.kind)
    types = {type(value) for value in values.flat}
    return "strings" if types == {str} else None
