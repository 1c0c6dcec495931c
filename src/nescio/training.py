"""Train: split, fit, calibrate; the way from data to a classifier."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from nescio.classifier import SAMPLES, Classifier, TrainingRecord
from nescio.data import Dataset, ImageSet, Splits, load, split
from nescio.devices import choose_device, choose_precision
from nescio.errors import DataError, UsageError
from nescio.inference import RECIPES, Fit, Likelihood, Prior, Recipe, fit_guide
from nescio.network import OWN, NetworkSpec, build
from nescio.prediction import check_samples
from nescio.progress import SILENT, Reporter
from nescio.refusal import (
    CalibratedRule,
    NeverRefuse,
    conformal_threshold,
    images_needed,
    parse_rule,
)

MAX_REFUSAL = 0.01
"""The share of familiar images that the familiarity gate may refuse, unless told otherwise."""

TEST_FRACTION = 0.15
"""The share left out for ``evaluate`` of a set that has no test split of its own."""


def fit(
    network: nn.Module | str,
    data: Dataset | ImageSet | str | Path,
    *,
    recipe: Recipe | str = "default",
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    max_refusal: float = MAX_REFUSAL,
    image_size: int | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    device: torch.device | str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    reporter: Reporter = SILENT,
) -> Classifier:
    """Turn a network into a Bayesian classifier fitted to ``data``.

    Args:
        network: Any ``torch.nn.Module`` from ``(n, K, H, W)`` in [0, 1] to logits
            ``(n, C)`` (it is copied, not changed); or ``mlp``, ``cnn`` or
            ``module:factory``.
        data: A labelled data set, its name or its path.
        recipe: ``default``, ``article``, or one of your own.
        prior: Instead of the one that the recipe names.
        likelihood: Instead of the categorical one.
        max_refusal: The share of familiar images that the familiarity gate of the
            calibrated rule may refuse.
        image_size: Bring images to this many pixels a side.
        samples: How many networks are drawn for calibration.
        seed: Of the splits, the fit and the predictions.
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` or a device.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the latter where the device
            has matrix units for it; of training and of predictions.
        compiled: Whether to compile the network for training by :func:`torch.compile`.
        reporter: Told of progress.

    Returns:
        The classifier, with the recipe's rule in force.

    Raises:
        NescioError: See :mod:`nescio.errors`; the message names the thing and the mend.
        KeyboardInterrupt: Ctrl-C within the first pass. Later it ends training with the
            last complete pass, and ``record.stopped`` says ``interrupted``.
    """
    recipe = find_recipe(recipe)
    # A bad promise must fail before the training that it would waste.
    conformal_threshold(torch.zeros(0), max_refusal)
    check_samples(samples)
    parse_rule(recipe.rule, CalibratedRule(0.0, max_refusal, 0, samples))
    place = choose_device(device)
    dataset = _as_dataset(data, image_size, seed, reporter)
    test_fraction = TEST_FRACTION if dataset.test is None else 0.0
    splits = split(dataset, seed=seed, calibration=recipe.calibration, test=test_fraction)
    spec = NetworkSpec(
        network if isinstance(network, str) else OWN,
        splits.train.preprocessing.shape,
        len(dataset.classes),
    )
    module = build(spec, seed) if isinstance(network, str) else network
    fitted = fit_guide(
        module,
        splits.train,
        recipe,
        prior=prior,
        likelihood=likelihood,
        seed=seed,
        device=place,
        precision=choose_precision(precision, place),
        compiled=compiled,
        reporter=reporter,
    )
    if prior is not None:
        recipe = replace(recipe, prior=str(prior))
    record = _record(dataset, splits, test_fraction, fitted, seed)
    classifier = Classifier(
        network=fitted.network,
        guide=fitted.guide,
        spec=spec,
        preprocessing=splits.train.preprocessing,
        classes=dataset.classes,
        recipe=recipe,
        rule=NeverRefuse(),
        calibrated=None,
        record=record,
        precision=precision,
    )
    return _calibrate(classifier, splits.calibration, max_refusal, samples, reporter)


def find_recipe(recipe: Recipe | str) -> Recipe:
    """The recipe of that name, or the recipe itself.

    Raises:
        UsageError: There is none of that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise UsageError(f"unknown recipe {recipe!r}: expected {' or '.join(RECIPES)}")
    return RECIPES[recipe]


def _as_dataset(
    data: Dataset | ImageSet | str | Path, image_size: int | None, seed: int, reporter: Reporter
) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if isinstance(data, ImageSet):
        return Dataset(data.name, data)
    return load(data, image_size=image_size, seed=seed, reporter=reporter)


def _record(
    dataset: Dataset, splits: Splits, test_fraction: float, fitted: Fit, seed: int
) -> TrainingRecord:
    return TrainingRecord(
        data=dataset.name,
        fingerprint=dataset.train.fingerprint(),
        train_images=len(splits.train),
        calibration_images=len(splits.calibration),
        test_fraction=test_fraction,
        seed=seed,
        history=fitted.history,
        stopped=fitted.stopped,
        versions=library_versions(),
        seen=torch.cat([splits.train.hashes(), splits.calibration.hashes()]),
    )


def library_versions() -> dict[str, str]:
    """Of what computes: nescio, PyTorch, Pyro, NumPy and Python."""
    names = {"nescio": "nescio", "torch": "torch", "pyro": "pyro-ppl", "numpy": "numpy"}
    found = {name: version(package) for name, package in names.items()}
    return {**found, "python": platform.python_version()}


def _calibrate(
    classifier: Classifier,
    calibration: ImageSet,
    max_refusal: float,
    samples: int,
    reporter: Reporter,
) -> Classifier:
    """Set the familiarity gate from images held out of training; put the rule in force."""
    calibrated = None
    if len(calibration):
        decisions = classifier.decide(
            calibration, samples=samples, reporter=reporter, description="calibrating"
        )
        threshold = conformal_threshold(decisions.scores["mutual_information"], max_refusal)
        calibrated = CalibratedRule(threshold, max_refusal, len(calibration), samples)
        if not calibrated.familiarity_gate:
            reporter.note(
                f"{len(calibration)} calibration images are too few to promise that at most "
                f"{100 * max_refusal:g} % of familiar images are refused "
                f"({images_needed(max_refusal)} are needed): nothing will be refused as "
                "unfamiliar; give more images, or a larger --max-refusal"
            )
    elif classifier.recipe.rule == "calibrated":
        raise DataError(
            f"{classifier.record.data}: the calibrated rule needs calibration images; "
            "keep a share for calibration, or choose another rule"
        )
    return replace(
        classifier,
        calibrated=calibrated,
        rule=parse_rule(classifier.recipe.rule, calibrated),
    )
