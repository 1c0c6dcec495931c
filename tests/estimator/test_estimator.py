"""The estimator on images: what it answers, what it keeps, what it refuses to take."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests_support import CLASSES, QUICK, SIDE, small_network, stripes

import nescio
from nescio import NescioClassifier
from nescio.data import ImageSet
from nescio.errors import (
    ArchitectureError,
    DataError,
    ModelFileError,
    NescioError,
    RuleError,
    UsageError,
)
from nescio.names import printable
from nescio.refusal import CalibratedRule, NeverRefuse

QUICKLY: dict[str, Any] = {
    "network": partial(nescio.mlp, hidden=16),
    "recipe": QUICK,
    "epochs": 10,
    "samples": 10,
    "random_state": 0,
}
NAMES = np.array(CLASSES)


def arrays_of(images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    assert images.labels is not None
    return images.images[:, 0].numpy(), images.labels.numpy()


X, NUMBERS = arrays_of(stripes(300, 0))
Y = NAMES[NUMBERS]
X_NEW, NUMBERS_NEW = arrays_of(stripes(60, 1))
Y_NEW = NAMES[NUMBERS_NEW]
STRANGE = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE), dtype=np.uint8)


def pickled(model: NescioClassifier) -> NescioClassifier:
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - our own


@pytest.fixture(scope="module")
def fitted() -> NescioClassifier:
    return NescioClassifier(**QUICKLY, max_refusal=0.05).fit(X, Y)


def test_it_answers_as_the_classifier_within_it_does(fitted: NescioClassifier) -> None:
    assert fitted.classes_.tolist() == sorted(CLASSES)
    assert fitted.n_features_in_ == SIDE * SIDE
    assert isinstance(fitted.rule_, CalibratedRule)
    assert fitted.notes_ == ()
    assert fitted.classifier_.record.calibration_images == 30
    assert fitted.classifier_.record.train_images == 270
    decisions = fitted.decide(X_NEW)
    whole = fitted.classifier_.decide(X_NEW, samples=10)
    assert torch.equal(decisions.forced, whole.forced)
    assert torch.equal(decisions.accepted, whole.accepted)
    probability = fitted.predict_proba(X_NEW)
    assert probability.shape == (60, 3)
    assert probability.dtype == np.float32
    assert np.allclose(probability.sum(1), 1)
    forced = fitted.classes_[whole.forced.numpy()]
    assert (fitted.predict(X_NEW) == forced).all()
    assert (fitted.classes_[probability.argmax(1)] == forced).all()
    samples = fitted.predict_samples(X_NEW)
    assert samples.shape == (10, 60, 3)
    assert np.allclose(samples.mean(0), whole.probability.numpy(), atol=1e-6)
    assert fitted.score(X_NEW, Y_NEW) == np.mean(forced == Y_NEW) > 0.9
    weights = np.arange(60)
    expected = accuracy_score(Y_NEW, forced, sample_weight=weights)
    assert fitted.score(X_NEW, Y_NEW, sample_weight=weights) == pytest.approx(expected)


def test_the_probability_is_the_one_that_the_rule_answers_by(fitted: NescioClassifier) -> None:
    """Its complement is the doubt, where the doubt is the probability of an error."""
    verdicts = fitted.decide(STRANGE).verdicts
    doubt = 1 - fitted.predict_proba(STRANGE).max(1)
    assert np.allclose(doubt, verdicts.ambiguity.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "recipe", ["article", replace(QUICK, rule="median:0.2"), replace(QUICK, forced_samples=3)]
)
def test_every_recipe_answers_with_its_largest_probability(recipe: Any) -> None:
    model = NescioClassifier(**{**QUICKLY, "recipe": recipe, "epochs": 2}, rule="median:0.2")
    model.fit(X, Y)
    both = np.concatenate([X_NEW, STRANGE])
    forced = model.classes_[model.decide(both).forced.numpy()]
    assert (model.predict(both) == forced).all()


def test_refusals_are_told_by_the_value_that_was_declared(fitted: NescioClassifier) -> None:
    model = clone(fitted).set_params(refusal_label="don't know").fit(X, Y)
    decisions = model.decide(STRANGE)
    refused = ~decisions.accepted.numpy()
    assert refused.sum() > 20
    answers = model.predict(STRANGE)
    assert (answers[refused] == "don't know").all()
    assert set(answers[~refused]) <= set(CLASSES)
    # Forced figures do not change with it.
    assert model.score(X_NEW, Y_NEW) == fitted.score(X_NEW, Y_NEW)
    assert (model.predict_proba(X_NEW) == fitted.predict_proba(X_NEW)).all()
    model.set_params(refusal_label="left")
    with pytest.raises(UsageError, match="is one of the classes"):
        model.predict(X_NEW)


@pytest.mark.parametrize(
    ("y", "refusal"),
    [(NUMBERS, -1), (NUMBERS.astype(np.uint8), -1), (NUMBERS * 1.0, 9), (Y.astype(object), "?")],
)
def test_classes_of_any_type(y: np.ndarray, refusal: Any) -> None:
    model = NescioClassifier(**QUICKLY, refusal_label=refusal, max_refusal=0.05).fit(X, y)
    answers = model.predict(np.concatenate([X_NEW, STRANGE]))
    assert answers.dtype.kind == np.asarray(y).dtype.kind or answers.dtype.kind == "i"
    assert model.classes_.dtype == y.dtype
    assert set(answers.tolist()) <= {refusal, *np.unique(y).tolist()}
    assert refusal in answers.tolist()
    right = np.unique(y)[NUMBERS_NEW] if y.dtype.kind != "O" else Y_NEW
    assert np.mean(model.set_params(refusal_label=None).predict(X_NEW) == right) > 0.9


def test_two_classes_that_are_booleans() -> None:
    y = NUMBERS == 2
    model = NescioClassifier(**QUICKLY).fit(X, y)
    assert model.classes_.tolist() == [False, True]
    assert model.predict(X_NEW).dtype == bool
    assert model.score(X_NEW, NUMBERS_NEW == 2) > 0.9
    assert model.decide(X_NEW).classes == ("False", "True")


@pytest.mark.parametrize(
    "form", [lambda x: x / 255, lambda x: x.reshape(len(x), -1), lambda x: x[..., None], list]
)
def test_every_form_of_the_same_images_is_answered_alike(
    fitted: NescioClassifier, form: Any
) -> None:
    shape = (SIDE, SIDE)
    model = clone(fitted).set_params(image_shape=shape).fit(form(X), Y)
    assert (model.predict_proba(form(X_NEW)) == fitted.predict_proba(X_NEW)).all()
    assert (model.predict_proba(X_NEW) == fitted.predict_proba(X_NEW)).all()


def test_colour() -> None:
    tint = np.array([255, 128, 0])
    colour = (X[..., None] * (tint / 255)).astype(np.uint8)
    model = NescioClassifier(**QUICKLY).fit(colour, Y)
    assert model.classifier_.preprocessing.shape == (3, SIDE, SIDE)
    flat = NescioClassifier(**QUICKLY, image_shape=(SIDE, SIDE, 3))
    flat.fit(colour.reshape(len(X), -1), Y)
    assert (flat.predict_proba(colour[:9]) == model.predict_proba(colour[:9])).all()


def test_a_module_a_name_and_a_factory() -> None:
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for network_given in (
        network,
        "mlp",
        "tests_support:small_network",
        partial(nescio.mlp, hidden=4),
    ):
        model = NescioClassifier(**{**QUICKLY, "network": network_given, "epochs": 1}).fit(
            X[:90], Y[:90]
        )
        again = pickled(model)
        assert (again.predict_proba(X_NEW) == model.predict_proba(X_NEW)).all()
        clone(model)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_pickle_holds_a_model_file(fitted: NescioClassifier, tmp_path: Path) -> None:
    joblib.dump(fitted, tmp_path / "model.joblib")
    for again in (
        joblib.load(tmp_path / "model.joblib"),
        pickled(fitted),
        pickled(pickled(fitted)),
    ):
        assert (again.predict_proba(X_NEW) == fitted.predict_proba(X_NEW)).all()
        assert torch.equal(again.decide(STRANGE).accepted, fitted.decide(STRANGE).accepted)
        assert again.rule_ == fitted.rule_
        assert again.classes_.tolist() == fitted.classes_.tolist()
    state = fitted.__getstate__()
    assert "classifier_" not in state
    content = state["_classifier_bytes"]
    path = tmp_path / "model.nescio"
    path.write_bytes(content)
    classifier = nescio.load_model(path, network=nescio.mlp((1, SIDE, SIDE), 3, hidden=16))
    assert torch.equal(classifier.decide(X_NEW).forced, fitted.classifier_.decide(X_NEW).forced)
    damaged = {**state, "_classifier_bytes": content[:-1] + bytes([content[-1] ^ 1])}
    for wrong in (damaged, {**state, "_classifier_bytes": content[:100]}):
        with pytest.raises(ModelFileError, match=r"^the pickle: .*damaged"):
            NescioClassifier().__setstate__(wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is what is missed here")
@pytest.mark.parametrize("device", ["cuda", torch.device("cuda", 1)])
def test_a_pickle_loads_where_its_device_is_not(
    fitted: NescioClassifier, device: torch.device | str
) -> None:
    unfitted = pickled(clone(fitted).set_params(device=device))
    state = {**fitted.__getstate__(), "device": device}
    again = NescioClassifier()
    with pytest.warns(UserWarning, match="--device cuda.*: not on this machine.* is loaded on"):
        again.__setstate__(state)
    assert again.device == device
    assert again.classifier_.device.type != "cuda"
    assert (again.predict_proba(X_NEW) == fitted.predict_proba(X_NEW)).all()
    # What was never fitted has nothing to be loaded anywhere; a fit that asks for it is an error.
    with pytest.raises(UsageError, match="not on this machine"):
        unfitted.fit(X, Y)


def test_columns_of_arrays_and_channels_first(fitted: NescioClassifier) -> None:
    column = np.empty(len(X_NEW), object)
    column[:] = list(X_NEW)
    expected = fitted.predict_proba(X_NEW)
    for same in (column, X_NEW[:, None], torch.from_numpy(X_NEW)[:, None], list(X_NEW)):
        assert (fitted.predict_proba(same) == expected).all()


def test_a_device_may_be_an_object(fitted: NescioClassifier) -> None:
    model = clone(fitted).set_params(device=torch.device("cpu"), epochs=1).fit(X[:90], Y[:90])
    again = pickled(model)
    assert again.device == torch.device("cpu")
    assert (again.predict_proba(X_NEW) == model.predict_proba(X_NEW)).all()


def test_parameters_may_change_after_the_fit_and_the_pickle_still_opens(
    fitted: NescioClassifier,
) -> None:
    changed = pickled(fitted)
    changed.set_params(network="cnn", recipe="no such", image_shape=(1, 1))
    again = pickled(changed)
    assert (again.predict_proba(X_NEW) == fitted.predict_proba(X_NEW)).all()


def test_the_order_of_images_plays_no_part(fitted: NescioClassifier) -> None:
    order = np.random.default_rng(0).permutation(len(X))
    assert (fitted.predict_proba(X[order]) == fitted.predict_proba(X)[order]).all()
    assert (fitted.predict_samples(X[order]) == fitted.predict_samples(X)[:, order]).all()
    mixed, plain = fitted.decide(X[order]), fitted.decide(X)
    assert torch.equal(mixed.verdicts.ambiguity, plain.verdicts.ambiguity[order])
    assert torch.equal(mixed.accepted, plain.accepted[order])


def test_the_same_seed_fits_the_same(fitted: NescioClassifier) -> None:
    again = clone(fitted).fit(X, Y)
    assert (again.predict_proba(X_NEW) == fitted.predict_proba(X_NEW)).all()
    # A RandomState moves on, so the second fit is another one.
    state = np.random.RandomState(1)
    model = NescioClassifier(**{**QUICKLY, "random_state": state, "epochs": 1})
    first = model.fit(X, Y).classifier_.record.seed
    assert model.fit(X, Y).classifier_.record.seed != first


def test_threads_may_ask_one_model(fitted: NescioClassifier) -> None:
    with joblib.parallel_backend("threading", n_jobs=4):
        answers = joblib.Parallel()(
            joblib.delayed(call)(part)
            for part in np.split(X_NEW, 6)
            for call in (fitted.predict_proba, fitted.predict_samples)
        )
    assert np.allclose(np.concatenate(answers[::2]), fitted.predict_proba(X_NEW), atol=1e-5)
    together = np.concatenate(answers[1::2], 1)
    assert np.allclose(together, fitted.predict_samples(X_NEW), atol=1e-5)


@pytest.mark.slow
def test_pipelines_searches_and_cross_validation() -> None:
    flat = X.reshape(len(X), -1)
    model = NescioClassifier(**QUICKLY, image_shape=(SIDE, SIDE))
    pipeline = make_pipeline(FunctionTransformer(np.flip, kw_args={"axis": 1}), model)
    result = cross_validate(pipeline, flat, Y, cv=3, scoring="accuracy", return_estimator=True)
    assert min(result["test_score"]) > 0.9
    forced = cross_val_predict(model, flat[:120], Y[:120], cv=2, method="predict_proba")
    assert forced.shape == (120, 3)
    grid = {"nescioclassifier__network": [partial(nescio.mlp, hidden=h) for h in (8, 16)]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(flat, Y)
    assert search.best_score_ > 0.8
    assert (search.predict(flat) == Y).mean() > 0.9


def test_features_of_any_scale_are_answered_alike() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    features = rng.normal(size=(300, 4)) + 3 * np.eye(4)[y]
    model = NescioClassifier(epochs=40, samples=20, random_state=0, max_refusal=0.1)
    plain = model.fit(features, y).predict_proba(features)
    assert (plain.argmax(1) == y).mean() > 0.9
    assert model.classifier_.familiarity.names[0] == "features"
    # Far away, but where the sampled networks are sure.
    far = model.decide(np.eye(4)[:3] * 1e6)
    assert far.refused == 3
    assert set(far[0].scores) >= {"unfamiliarity"}
    moved = clone(model).fit(features * [1e-9, 1, 1e9, 5] + [0, 1e3, 0, -2], y)
    same = moved.predict_proba(features * [1e-9, 1, 1e9, 5] + [0, 1e3, 0, -2])
    assert np.allclose(same, plain, atol=0.02)
    again = pickled(model)
    assert (again.predict_proba(features) == plain).all()
    inner = make_pipeline(StandardScaler(), clone(model)).fit(features, y)
    assert inner.score(features, y) > 0.9


def test_classes_too_small_to_calibrate(capsys: pytest.CaptureFixture[str]) -> None:
    few, few_y = X[:27], Y[:27]
    model = NescioClassifier(**QUICKLY, verbose=True).fit(few, few_y)
    assert isinstance(model.rule_, NeverRefuse)
    assert model.rule_.describe() == "Every image is answered."
    assert model.classifier_.record.train_images == 27
    assert len(model.notes_) == 1
    assert "has 9 images, too few to keep 10 % of them out" in model.notes_[0]
    told = capsys.readouterr()
    assert model.notes_[0] in told.err
    assert re.search(r"training: 10 steps, \d+\.\d s", told.err)
    assert told.out == ""
    # Whoever expects refusals is warned; whoever asks for them gets them, or an error.
    with pytest.warns(UserWarning, match="refusal_label will never be predicted: class"):
        clone(model).set_params(refusal_label="?", verbose=False).fit(few, few_y)
    calibrated = clone(model).set_params(rule="calibrated", verbose=False).fit(few, few_y)
    assert isinstance(calibrated.rule_, CalibratedRule)
    assert any("too few to promise" in note for note in calibrated.notes_)
    with pytest.raises(RuleError, match=r"no valid threshold: 3 calibration images"):
        clone(model).set_params(max_risk=0.01).fit(few, few_y)
    with pytest.raises(DataError, match="too few for each of 2 parts"):
        clone(model).set_params(rule="calibrated").fit(few[:7], [*few_y[:6], "new"])
    alone = clone(model).set_params(verbose=False).fit(few[:7], [*few_y[:6], "new"])
    assert "new" in alone.classes_
    rule = clone(model).set_params(rule="median:0.3", verbose=False).fit(few, few_y)
    assert rule.notes_ == ()


def test_training_that_ends_early_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import nescio.estimator.estimator as module

    whole = module.fit

    def stopping(*arguments: Any, **options: Any) -> nescio.Classifier:
        classifier = whole(*arguments, **options)
        return replace(classifier, record=replace(classifier.record, stopped=why))

    monkeypatch.setattr(module, "fit", stopping)
    model = NescioClassifier(**{**QUICKLY, "epochs": 1})
    for why, kind in (("diverged", ConvergenceWarning), ("interrupted", UserWarning)):
        with pytest.warns(kind, match=f"training .*{why}"):
            model.fit(X, Y)
        assert len(model.predict(X_NEW)) == 60


WITH_NAN = X / 255
WITH_NAN[3, 2, 1] = np.nan

BAD = [
    ({}, X, ["left"] * 300, ValueError, "at least 2 classes, but y has one class: .*left"),
    ({}, X, Y[:-1], ValueError, "inconsistent numbers of samples"),
    ({}, X, NUMBERS * 0.3 + 0.1, ValueError, "Unknown label type"),
    ({}, X, np.eye(3)[NUMBERS], ValueError, "y should be a 1d array"),
    ({}, X, np.array([1, "1"] * 150, object), ValueError, "Unknown label type"),
    ({}, X, np.array(["1", 1] * 150, object), ValueError, "label type|mixes types"),
    ({}, X, [None] * 300, ValueError, "label type"),
    ({}, X, np.where(NUMBERS == 0, np.nan, 1.0), ValueError, "NaN"),
    ({}, X, None, ValueError, "requires y to be passed"),
    ({}, X[:0], Y[:0], ValueError, "0 sample"),
    ({}, X[:, :0], Y, ValueError, "0 feature"),
    ({}, WITH_NAN, Y, ValueError, "contains NaN"),
    ({}, np.where(np.isnan(WITH_NAN), np.inf, WITH_NAN), Y, ValueError, "contains infinity"),
    ({}, X.astype(int) - 300, Y, ValueError, "Negative values in data"),
    ({}, sparse.csr_array(X.reshape(300, -1)), Y, TypeError, "Sparse data"),
    ({}, X[:, 0, 0], Y, ValueError, "Expected 2D array, got 1D"),
    ({}, np.array([object()] * 300).reshape(-1, 1), Y, TypeError, "must be .*number"),
    ({}, X.astype(complex), Y, ValueError, "Complex data"),
    ({}, [["a", "b"]] * 300, Y, ValueError, "bytes/strings"),
    ({"image_shape": (5, 5)}, X, Y, DataError, r"\(N, 5, 5\).*by image_shape; got \(300, 6, 6\)"),
    ({"image_shape": (5, 5)}, X.reshape(300, -1), Y, DataError, r"\(N, 25\), by image_shape"),
    ({"pixel_range": (0, 1)}, X.reshape(300, -1), Y, UsageError, "pixel_range is for images"),
    ({"refusal_label": "left"}, X, Y, UsageError, "is one of the classes"),
    ({"refusal_label": -1}, X, Y, TypeError, "must be of the type of the classes"),
    ({"network": "resnet"}, X, Y, UsageError, "unknown network"),
    ({"network": 3}, X, Y, UsageError, "network must be a name"),
    (
        {"network": lambda shape, classes: 3},
        X, Y, ArchitectureError, "must return a torch.nn.Module, got int",
    ),
    ({"recipe": "best"}, X, Y, UsageError, "unknown recipe"),
    ({"epochs": 0}, X, Y, UsageError, "--epochs must be at least 1"),
    ({"epochs": 1.5}, X, Y, UsageError, "epochs must be a whole number, got 1.5"),
    ({"samples": 0}, X, Y, UsageError, "samples must be at least 1"),
    ({"samples": "many"}, X, Y, UsageError, "samples must be a whole number"),
    ({"calibration": 1.0}, X, Y, UsageError, "kept for calibration must be at least 0 and below 1"),
    ({"max_refusal": 0.0}, X, Y, RuleError, "max-refusal must be between"),
    ({"confidence": 1.0}, X, Y, RuleError, "confidence must be between"),
    ({"rule": "strict"}, X, Y, RuleError, "unknown rule"),
    ({"prior": "flat"}, X, Y, UsageError, "prior"),
    ({"random": "none.*"}, X, Y, NescioError, "no such weights"),
    ({"device": "abacus"}, X, Y, UsageError, "not on this machine"),
    ({"precision": "float8"}, X, Y, UsageError, "expected one of"),
    ({"random_state": -1}, X, Y, ValueError, "at least 0"),
    ({"random_state": "x"}, X, Y, ValueError, "cannot be used to seed"),
    ({"stages": ["no such"]}, X, Y, UsageError, "no stage"),
    (
        {"recipe": replace(QUICK, augment="shift:1")},
        X.reshape(300, -1), Y, UsageError, "features cannot be moved or turned",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "images", "labels", "error", "words"), BAD)
def test_what_cannot_be_fitted(
    options: dict[str, Any], images: Any, labels: Any, error: type[Exception], words: str
) -> None:
    model = NescioClassifier(**{**QUICKLY, **options})
    with pytest.raises(error, match=words):
        model.fit(images, labels)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (X[:, :5], ValueError, r"X must have shape .*\(N, 6, 6\).* by what it was fitted to"),
        (X.reshape(300, -1)[:, 1:], ValueError, "has 35 features, but .* is expecting 36 features"),
        (X[:0], ValueError, "0 sample"),
        (X[0, 0], ValueError, "Expected 2D array"),
        (WITH_NAN, ValueError, "contains NaN"),
        (sparse.csr_array(X.reshape(300, -1)), TypeError, "Sparse data"),
        (X / -255 - 1, ValueError, "Negative values in data"),
    ],
)
def test_what_cannot_be_predicted(
    fitted: NescioClassifier, images: Any, error: type[Exception], words: str
) -> None:
    for call in (fitted.predict, fitted.predict_proba, fitted.decide, fitted.predict_samples):
        with pytest.raises(error, match=words):
            call(images)


def test_evaluation(fitted: NescioClassifier) -> None:
    result = fitted.evaluate(X_NEW, Y_NEW, ood={"strange": STRANGE})
    assert result.n == 60
    assert result.forced_accuracy.value == fitted.score(X_NEW, Y_NEW)
    assert result.ood["strange"].refused == fitted.decide(STRANGE).refused
    with pytest.raises(DataError, match=r"not in the fit: .*'up'"):
        fitted.evaluate(X_NEW[:2], ["left", "up"])
    with pytest.raises(ValueError, match="inconsistent"):
        fitted.evaluate(X_NEW, Y_NEW[:2])


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8),
        min_size=3, max_size=3, unique=True,
    )
)  # fmt: skip
def test_any_names_of_classes_survive_a_pickle(names: list[str]) -> None:
    classes = np.array(names)
    model = NescioClassifier(**{**QUICKLY, "epochs": 1, "rule": "none", "calibration": 0.0})
    model.fit(X[:12], classes[NUMBERS[:12]])
    again = pickled(model)
    assert again.classes_.tolist() == np.unique(classes).tolist()
    assert again.predict(X_NEW[:3]).tolist() == model.predict(X_NEW[:3]).tolist()
    assert again.decide(X_NEW[:3]).classes == tuple(map(printable, np.unique(classes).tolist()))


@pytest.mark.parametrize("posterior", ["low-rank:2", "ensemble:2"])
def test_any_kind_of_posterior(posterior: str) -> None:
    model = NescioClassifier(**QUICKLY, posterior=posterior, max_refusal=0.05).fit(X, Y)
    assert model.score(X, Y) > 0.9
    assert model.classifier_.recipe.posterior == posterior
    assert (pickled(model).predict_proba(X[:9]) == model.predict_proba(X[:9])).all()
    with pytest.raises(UsageError, match="expected"):
        NescioClassifier(**QUICKLY, posterior="gauss").fit(X, Y)
