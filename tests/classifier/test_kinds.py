"""Every kind of posterior goes through the same gates, calibration, file and commands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests_support import QUICK, small_network, without_familiarity

import nescio
from nescio.classifier import Promises, calibrate_classifier, describe_model, read_header
from nescio.classifier.fingerprint import digest
from nescio.classifier.modelfile import FORMAT_VERSION
from nescio.data import Dataset
from nescio.errors import ModelFileError

RECIPE = replace(QUICK, epochs=6, estimator="auto")

KINDS = {
    "low-rank:2": "a Normal of rank 2 plus diagonal over 323 weights",
    "ensemble:2": "2 networks of 323 weights",
    "mean-field-ensemble:2": "2 mean fields over 323 of 323 weights",
    "dropout:0.2": "323 weights in 2 layers, 20 % of whose inputs are dropped",
    "swag:4": "a Normal of rank 4 plus diagonal over 323 weights",
    "ivon": "an independent Normal for each of 323 weights",
    "laplace": "a Normal with full covariance over 323 weights",
    "laplace:kron": "a Normal with Kronecker-factored covariance for each of 4 parameters, 323",
    "hmc:20": "20 networks of 27 weights",
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(k, marks=[pytest.mark.slow] * k.startswith("hmc")) for k in KINDS],
)
def made(
    request: pytest.FixtureRequest, data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, nescio.Classifier, Path]:
    kind = request.param
    if kind.startswith("laplace"):
        pytest.importorskip("laplace", reason="laplace-torch is not installed (nescio[laplace])")
    few = replace(data, train=data.train.subset(torch.arange(100 if "hmc" in kind else 300)))
    # Of 323 weights NUTS would take minutes; the head's it takes in seconds.
    recipe = replace(RECIPE, random="head") if "hmc" in kind else RECIPE
    classifier = nescio.fit(
        small_network(), few, recipe=recipe, posterior=kind, max_refusal=0.2, samples=10
    )
    path = tmp_path_factory.mktemp("kind") / "m.nescio"
    classifier.save(path)
    return kind, classifier, path


def test_answers_and_refusals(made: tuple[str, nescio.Classifier, Path], data: Dataset) -> None:
    kind, classifier, _ = made
    assert data.test is not None
    assert classifier.recipe.posterior == kind
    images = data.test.images[:60, 0]
    probabilities = classifier.predict_samples(images, samples=7)
    assert probabilities.shape == (7, 60, 3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(7, 60))
    pieces = classifier.predict_samples(images, samples=7, batch_size=7)
    torch.testing.assert_close(probabilities, pieces, rtol=1e-4, atol=1e-6)
    evaluation = classifier.evaluate(data.test, ood=["noise:60"], samples=10)
    assert evaluation.forced_accuracy.value > 0.9
    assert evaluation.coverage.value > 0.6
    assert evaluation.ood["noise"].refusal_rate.value > 0.9
    whole = classifier.decide(images, samples=20)
    fewer = classifier.decide(images, samples=20, adaptive=True)
    assert float((whole.accepted == fewer.accepted).float().mean()) > 0.95


def test_the_file_holds_it_to_the_bit(
    made: tuple[str, nescio.Classifier, Path], data: Dataset
) -> None:
    kind, classifier, path = made
    loaded = nescio.load_model(path, small_network())
    assert data.test is not None
    images = data.test.images[:20, 0]
    for samples in (3, 9):
        first = classifier.predict_samples(images, samples=samples)
        assert torch.equal(first, loaded.predict_samples(images, samples=samples))
    assert dict(loaded.record.diagnostics) == dict(classifier.record.diagnostics)
    told = describe_model(path)
    assert told["posterior"].startswith(f"{kind}: {KINDS[kind]}")
    assert told["network"] == f"own, {27 if 'hmc' in kind else 323} random parameters"
    assert ("convergence" in told) == kind.startswith("hmc")


def test_thresholds_can_be_set_anew(
    made: tuple[str, nescio.Classifier, Path], data: Dataset
) -> None:
    _, classifier, path = made
    loaded = nescio.load_model(path, small_network())
    assert data.test is not None
    again = calibrate_classifier(loaded, data.test, Promises(max_refusal=0.3), samples=5)
    assert again.calibrated is not None
    assert again.calibrated != classifier.calibrated


def test_a_file_whose_tensors_do_not_fit(
    made: tuple[str, nescio.Classifier, Path], tmp_path: Path
) -> None:
    """One tensor of the posterior cut short, with a digest that fits."""
    _, classifier, path = made
    tensors = load_file(path)
    for name in classifier.guide.tensors():
        value = tensors[name]
        if value.ndim == 0:
            continue
        changed = {**tensors, name: value[..., :-1].clone() if value.shape[-1] > 1 else value[None]}
        header = {**read_header(path), "digest": digest(changed)}
        target = tmp_path / "changed"
        save_file(changed, target, metadata={"nescio": json.dumps(header)})
        with pytest.raises(ModelFileError, match="do not fit the network"):
            nescio.load_model(target, small_network())


def rewritten(path: Path, target: Path, posterior: object, **changes: object) -> Path:
    header = {**read_header(path), **changes}
    header.pop("posterior")
    if posterior is not None:
        header["posterior"] = posterior
    save_file(load_file(path), target, metadata={"nescio": json.dumps(header)})
    return target


def test_a_file_of_format_5_is_a_mean_field(
    model_file: Path, tmp_path: Path, classifier: nescio.Classifier
) -> None:
    assert FORMAT_VERSION == 7
    recipe = {k: v for k, v in read_header(model_file)["recipe"].items() if k != "posterior"}
    training = {k: v for k, v in read_header(model_file)["training"].items() if k != "diagnostics"}
    plain = tmp_path / "plain"
    without_familiarity(classifier).save(plain)
    old = rewritten(plain, tmp_path / "old", None, format=5, recipe=recipe, training=training)
    loaded = nescio.load_model(old)
    images = torch.zeros(2, 6, 6, dtype=torch.uint8)
    first = classifier.predict_samples(images, samples=3)
    assert torch.equal(first, loaded.predict_samples(images, samples=3))
    assert describe_model(old)["posterior"].startswith("mean-field: an independent Normal")


@pytest.mark.parametrize("posterior", [{"family": "other"}, {"family": "low-rank"}, [], "x", 3])
def test_a_hostile_posterior(model_file: Path, tmp_path: Path, posterior: object) -> None:
    with pytest.raises(ModelFileError):
        nescio.load_model(rewritten(model_file, tmp_path / "hostile", posterior))
