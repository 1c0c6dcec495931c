"""Classes of any type, and the refusal among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nescio.errors import DataError, UsageError
from nescio.estimator.labels import class_names, refusal_value, with_refusals

CLASSES = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=3, unique=True),
    st.lists(
        st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=3, unique=True
    ),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, unique=True),
)


@given(CLASSES, st.data())
def test_a_refusal_stands_among_labels_of_its_type_and_changes_none(
    values: list[Any], data: st.DataObject
) -> None:
    *classes, label = values
    known = np.unique(np.array(classes))
    refusal = refusal_value(known, label)
    picked = known[data.draw(st.lists(st.integers(0, len(known) - 1), min_size=1))]
    accepted = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(picked), max_size=len(picked)))
    )
    answers = with_refusals(picked, accepted, refusal)
    assert answers.dtype.kind == known.dtype.kind
    assert answers[accepted].tolist() == picked[accepted].tolist()
    assert answers[~accepted].tolist() == [label] * int((~accepted).sum())
    with pytest.raises(UsageError, match="is one of the classes"):
        refusal_value(known, known.tolist()[0])


def test_a_longer_word_than_any_class_is_not_cut() -> None:
    classes = np.array(["a", "b"])
    answers = with_refusals(classes, np.array([True, False]), refusal_value(classes, "unknown"))
    assert answers.tolist() == ["a", "unknown"]
    objects = classes.astype(object)
    answers = with_refusals(objects, np.array([True, False]), refusal_value(objects, "unknown"))
    assert answers.tolist() == ["a", "unknown"]


def test_small_integers_make_room_for_the_refusal() -> None:
    classes = np.array([0, 255], np.uint8)
    answers = with_refusals(classes, np.array([True, False]), refusal_value(classes, -1))
    assert answers.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("classes", "label", "error", "words"),
    [
        ([1, 2], "none", TypeError, r"type of the classes \(integers\), got 'none'"),
        ([1, 2], 1.5, TypeError, "integers"),
        ([1, 2], True, TypeError, "integers"),
        (["a", "b"], 0, TypeError, "strings"),
        (["a", "b"], b"c", TypeError, "strings"),
        ([1.0, 2.0], "c", TypeError, "floats"),
        ([1, 2], [3], TypeError, r"got \[3\]"),
        ([1, 2], object(), TypeError, "integers"),
        ([False, True], False, UsageError, "no third boolean"),
        ([1.0, 2.0], np.nan, UsageError, "must not be NaN"),
        ([1.0, 2.0], 1, UsageError, "is one of the classes"),
    ],
)
def test_what_cannot_stand_for_a_refusal(
    classes: list[Any], label: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        refusal_value(np.array(classes), label)


def test_names_of_classes() -> None:
    assert class_names(np.array([-1, 10])) == ("-1", "10")
    assert class_names(np.array([False, True])) == ("False", "True")
    assert class_names(np.array(["a", "b"])) == ("a", "b")
    with pytest.raises(DataError, match="look alike when written: 1, 1"):
        class_names(np.array([1, "1"], object))
