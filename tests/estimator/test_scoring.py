"""Figures of refusal as scorers: by hand, through pipelines, searches and cross-validation."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tests_support import QUICK, stripes

import nescio
from nescio import NescioClassifier
from nescio.errors import UsageError
from nescio.estimator import accepted_accuracy, coverage, decide, neg_aurc, selective_scores


class Fixed:
    """Decides as it was told to."""

    classes_ = np.array(["a", "b"])

    def __init__(self, top: list[int], accepted: list[bool], doubt: list[float]) -> None:
        verdicts = SimpleNamespace(top=torch.tensor(top), ambiguity=torch.tensor(doubt))
        self.decisions = SimpleNamespace(verdicts=verdicts, accepted=torch.tensor(accepted))

    def decide(self, X: Any) -> Any:
        assert len(X) == len(self.decisions.accepted)
        return self.decisions


def test_by_hand() -> None:
    model = Fixed([0, 0, 1, 1], [True, True, True, False], [0.1, 0.2, 0.3, 0.4])
    X, y = np.zeros(4), np.array(["a", "b", "b", "new"])
    # Errors at the second and the fourth: (0/1 + 1/2 + 1/3 + 2/4) / 4.
    expected = {
        "coverage": 0.75,
        "accepted_accuracy": 2 / 3,
        "neg_aurc": -(1 / 2 + 1 / 3 + 1 / 2) / 4,
    }
    assert selective_scores(model, X, y) == pytest.approx(expected)
    assert coverage(model, X) == 0.75
    assert accepted_accuracy(model, X, y) == pytest.approx(2 / 3)
    assert neg_aurc(model, X, y) == pytest.approx(expected["neg_aurc"])
    silent = Fixed([0, 0], [False, False], [0.1, 0.2])
    assert np.isnan(accepted_accuracy(silent, np.zeros(2), np.array(["a", "a"])))


def test_through_pipelines_and_searches() -> None:
    images = stripes(150, 0)
    assert images.labels is not None
    X, y = images.images[:, 0].numpy() / 255, images.labels.numpy()
    small = partial(nescio.mlp, hidden=8)
    model = NescioClassifier(small, recipe=QUICK, epochs=3, samples=5, random_state=0)
    mirrored = FunctionTransformer(np.flip, kw_args={"axis": 2})
    pipeline = make_pipeline(mirrored, model)
    result = cross_validate(pipeline, X, y, cv=2, scoring=selective_scores, error_score="raise")
    for name in ("coverage", "accepted_accuracy", "neg_aurc"):
        assert np.isfinite(result[f"test_{name}"]).all()
    grid = {"nescioclassifier__max_refusal": [0.1, 0.3]}
    search = GridSearchCV(pipeline, grid, scoring=neg_aurc, cv=2, error_score="raise").fit(X, y)
    inside = search.best_estimator_
    expected = inside[-1].decide(np.flip(X, axis=2)).accepted
    assert torch.equal(decide(search, X).accepted, expected)
    assert torch.equal(decide(inside, X).accepted, expected)


def test_what_does_not_decide() -> None:
    model = make_pipeline(DummyClassifier()).fit(np.zeros((2, 1)), [0, 1])
    with pytest.raises(UsageError, match="DummyClassifier does not decide"):
        coverage(model, np.zeros((2, 1)))
