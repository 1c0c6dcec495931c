"""Figures by class, counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from made_studies import make_up

from nescio.evaluation import ANSWERED, UNFAMILIAR, class_figures, exact_share, results_json


def test_by_hand() -> None:
    study = make_up(12)
    test, answers = study.test, study.test.answers[0]
    fate = np.full(12, ANSWERED, np.int8)
    fate[[0, 1]] = UNFAMILIAR
    labels = np.array([0] * 4 + [1] * 8, np.int32)
    top = labels.copy()
    top[[4, 5]] = 0
    changed = replace(
        test, labels=labels, forced=top, answers=(replace(answers, fate=fate, top=top),)
    )
    first, second, third = class_figures(replace(study, test=changed))
    assert (first.n, first.reasons) == (4, {"ambiguous": 0, "unfamiliar": 2})
    assert first.coverage == exact_share(2, 4)
    assert first.accepted_accuracy == exact_share(2, 2)
    assert second.forced_accuracy == second.accepted_accuracy == exact_share(6, 8)
    assert second.coverage == exact_share(8, 8)
    assert (third.n, third.forced_accuracy, third.coverage) == (0, None, None)
    assert third.to_json()["accepted_accuracy"] is None


def test_classes_add_up_to_the_whole() -> None:
    study = make_up(60)
    record = results_json(study)
    for rule, place in (("median:0.6", 0), ("none", 1)):
        classes = record["rules"][rule]["classes"]
        assert list(classes) == list(study.classes)
        assert sum(each["n"] for each in classes.values()) == record["n"]
        answered = sum(each["n"] * each["coverage"]["value"] for each in classes.values())
        assert answered == pytest.approx(int(study.test.answers[place].accepted.sum()))
    assert record["classes"] == record["rules"]["median:0.6"]["classes"]
