"""Labels as people hold them, as class indices and names."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nescio.data import ImageSet, number_array
from nescio.data.class_numbers import (
    MOST_CLASSES,
    keep_occurring,
    label_text,
    natural_key,
    number_texts,
)
from nescio.errors import DataError


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        ([3, 9, 3], [0, 1, 0], ("3", "9")),
        (np.array([26, 1], np.uint8), [1, 0], ("1", "26")),
        ([1999, 2024, 10**9], [0, 1, 2], ("1999", "2024", "1000000000")),
        ([2.0, 10.0, 2.0], [0, 1, 0], ("2", "10")),
        ([True, False], [1, 0], ("False", "True")),
        ([[4], [7], [4]], [0, 1, 0], ("4", "7")),
        ([["b"], ["a"]], [1, 0], ("a", "b")),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        (["10", "9", "01", "1"], [2, 3, 0, 1], ("01", "1", "10", "9")),
        ([b"caf\xc3\xa9", b"a"], [1, 0], ("a", "caf\u00e9")),
        (np.array([3, "a", 2.0], object), [1, 2, 0], ("2", "3", "a")),
        ([[0, 0, 1], [1, 0, 0]], [1, 0], ("0", "2")),
        (np.eye(3)[[1, 0]], [1, 0], ("0", "1")),
        (np.eye(2, dtype=bool), [0, 1], ("0", "1")),
        (np.array([2**63, 0], np.uint64), [1, 0], ("0", str(2**63))),
    ],
)
def test_classes_are_those_that_occur(
    labels: Any, numbers: list[int], classes: tuple[str, ...]
) -> None:
    found, names = number_array(np.asarray(labels), "set")
    assert found is not None
    assert (found.tolist(), names) == (numbers, classes)
    assert found.dtype == torch.int64


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1.0], "must be a class number or name, got 0.5"),
        ([0.0, np.nan], "label number 1 is NaN"),
        ([np.inf, 1.0], "class number or name, got inf"),
        ([1e300, 1.0], "class number or name"),
        ([1j, 0], "class numbers or names, got complex128"),
        (np.array([0], "datetime64[s]"), "class numbers or names, got datetime64"),
        ([0, 1, -1], "some labels are -1"),
        (["a", "", "b"], r"1 of 3 images have no label \(the first is number 1\)"),
        ([[0, 1, 1], [1, 0, 0]], "a single 1 in each row"),
        ([[0.5, 0.5], [0.5, 0.5]], "a single 1 in each row"),
        ([[["a"]]], r"got \(1, 1, 1\)"),
        ([["a", "b"]], r"got \(1, 2\)"),
        ([], r"with N at least 1, got \(0,\)"),
        (np.array([object()]), "class number or name"),
        ([b"\xff"], "utf-8"),
        (np.arange(MOST_CLASSES + 1), "100,001 different labels"),
    ],
)
def test_what_is_no_label_is_told(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^set: .*{message}"):
        number_array(np.asarray(labels), "set")


def test_numbers_stand_for_names_that_are_given() -> None:
    numbers, classes = number_array(np.array([2, 0, 2]), "set", ("z", "y", "x"))
    assert numbers is not None
    assert (numbers.tolist(), classes) == ([1, 0, 1], ("z", "x"))
    numbers, classes = number_array(np.array(["x", "z"]), "set", ("z", "y", "x"))
    assert numbers is not None
    assert (numbers.tolist(), classes) == ([1, 0], ("z", "x"))
    for labels, names, message in (
        ([0, 3], "abc", r"label 3 is outside the 3 classes named, 0\.\.2"),
        ([0, -2], "abc", "label -2 is outside"),
        ([0, -1], "abc", "1 of 2 images have no label"),
        (["a", "d"], "abc", "'d' is none of the 3 class names"),
        ([0, 1], "aba", "the class name 'a' comes twice"),
    ):
        with pytest.raises(DataError, match=message):
            number_array(np.array(labels), "set", tuple(names))


def test_labels_that_are_all_missing_are_none() -> None:
    assert number_array(np.array([-1, -1]), "set") == (None, ())
    assert number_array(np.array([-1, -1]), "set", ("a", "b")) == (None, ())
    assert number_array(np.array(["", ""]), "set") == (None, ())


def test_a_class_name_that_comes_twice_enters_no_set() -> None:
    with pytest.raises(DataError, match="set: the class name 'a' comes twice"):
        ImageSet("set", torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]), ("a", "a"))


def test_texts_are_names_as_they_are_written() -> None:
    numbers, classes = number_texts(["0", "1", "01", "2", None, "10"], "set")
    assert classes == ("0", "01", "1", "2", "10")
    assert numbers.tolist() == [0, 2, 1, 3, -1, 4]
    # Of names that differ in case alone the order must not hang on the hash of a text.
    assert number_texts(["b", "B", "a", "A"], "set")[1] == ("A", "a", "B", "b")
    assert number_texts(["-1", "x"], "set")[1] == ("-1", "x")


@given(st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers()), min_size=1))
def test_every_label_keeps_its_name(values: list[object]) -> None:
    texts = [label_text(value) for value in values]
    try:
        numbers, classes = number_texts(texts, "set")
    except DataError:
        assert "-1" in texts
        return
    assert len(set(classes)) == len(classes)
    if set(texts) - {None, "-1"}:
        assert [classes[i] if i >= 0 else None for i in numbers.tolist()] == texts


def test_a_text_that_is_no_label() -> None:
    for value in ("x" * 1001, 1.5, float("inf"), [1], b"x"):
        with pytest.raises(ValueError, match="must be a class number or name"):
            label_text(value)
    assert [label_text(value) for value in (None, float("nan"), "")] == [None] * 3
    assert natural_key("a10") > natural_key("a9")


def test_only_the_names_that_occur_are_kept() -> None:
    labels, names = keep_occurring(torch.tensor([3, -1, 1, 3]), ("a", "b", "c", "d"))
    assert (labels.tolist(), names) == ([1, -1, 0, 1], ("b", "d"))
