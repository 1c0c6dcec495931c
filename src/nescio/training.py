"""Train: split, fit, calibrate; the way from data to a classifier."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from nescio.classifier import (
    CONFIDENCE,
    SAMPLES,
    Classifier,
    Promises,
    TrainingRecord,
    calibrate_classifier,
)
from nescio.data import (
    Dataset,
    ImageSet,
    Reading,
    Splits,
    adapt,
    join_extra,
    load,
    read_labels,
    read_split,
    split,
    split_fingerprint,
    suitable_augmentation,
    tell_duplicates,
    write_split,
)
from nescio.devices import choose_device, choose_precision, explain_memory
from nescio.errors import (
    CalibrationError,
    CalibrationInterrupt,
    DataError,
    NescioError,
    UsageError,
)
from nescio.familiarity import StageReader, fit_familiarity
from nescio.inference import (
    RECIPES,
    Categorical,
    Fit,
    Job,
    Likelihood,
    Prior,
    Recipe,
    fit_frozen,
    fit_posterior,
    tell_imbalance,
)
from nescio.network import NetworkSource
from nescio.prediction import check_samples
from nescio.progress import SILENT, Reporter
from nescio.refusal import NeverRefuse, parse_rule

TEST_FRACTION = 0.15
"""The share left out for ``evaluate`` of a set that has no test split of its own."""


def fit(
    network: nn.Module | str,
    data: Dataset | ImageSet | str | Path,
    *,
    extra: ImageSet | str | Path | None = None,
    recipe: Recipe | str = "default",
    posterior: str | None = None,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    max_refusal: float | None = None,
    max_risk: float | None = None,
    confidence: float = CONFIDENCE,
    per_class: bool = False,
    stages: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    test: float = TEST_FRACTION,
    weights: str | Path | None = None,
    normalise: str = "auto",
    reading: Reading | None = None,
    split_file: str | Path | None = None,
    write_split_to: str | Path | None = None,
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
            ``(n, C)`` (it is copied, not changed); or ``mlp``, ``cnn``,
            ``module:factory`` or ``timm:NAME``.
        data: A labelled data set, its name or its path.
        extra: More images to train on, labelled with the classes of ``data``, or the CSV file
            that names them (:func:`nescio.data.read_labels`). None of them is used to
            calibrate, so promises hold for images like those of ``data``.
        recipe: ``default``, ``article``, or one of your own.
        posterior: The kind of posterior instead of the recipe's: ``mean-field``,
            ``low-rank:RANK``, ``ensemble:MEMBERS``, ``mean-field-ensemble:MEMBERS``,
            ``dropout:SHARE``, ``laplace``, ``laplace:kron``, ``swag:SNAPSHOTS``, ``ivon`` or
            ``hmc:NETWORKS``; see :mod:`nescio.inference.choice`.
        prior: Instead of the one that the recipe names.
        likelihood: Instead of the categorical one.
        max_refusal: The share of familiar images that the calibrated rule may refuse: by
            both gates together, or by the familiarity gate where a risk is promised; ``None``
            for 1 %, or what few calibration images can promise
            (:meth:`nescio.classifier.Promises.budget`).
        max_risk: The error rate that is promised among accepted familiar images; ``None``
            for no promise.
        confidence: With which it is promised.
        per_class: Whether both are promised for each class.
        stages: Where the network is read for familiarity: ``image``, paths of layers, and
            ``output``; ``None`` finds them.
        image_size: Bring images to this many pixels a side, or to ``(H, W)``. A network of timm
            takes colour images, by default of the size that it was made for.
        test: The share of all images to leave out for ``evaluate``, where the data have no test
            split of their own; 0 to learn from all.
        weights: A file with weights for the network to begin with, see
            :func:`nescio.network.load_weights`. Their last layer may be for other classes.
        normalise: What is taken off the pixels, and what they are divided by, as the network's
            first layer: ``none``, ``imagenet``, ``M1,M2,M3/S1,S2,S3``, or ``auto``: what a
            network of timm was trained with, and for others nothing.
        reading: What else is asked of ``data`` that is a name or a path, see
            :class:`nescio.data.Reading`.
        split_file: A CSV file that says which image is for training, calibration or test, see
            :func:`nescio.data.read_split`; ``None`` to split by ``seed``.
        write_split_to: Write the split to such a file.
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
        CalibrationError: What comes after training failed; it carries what was fitted.
        KeyboardInterrupt: Ctrl-C within the first pass. Later it ends training with the
            last complete pass, and ``record.stopped`` says ``interrupted``.
        CalibrationInterrupt: Ctrl-C after training; it carries what was fitted.
    """
    recipe = find_recipe(recipe)
    if posterior is not None:
        recipe = replace(recipe, posterior=posterior)
    # A bad promise must fail before the training that it would waste.
    promises = Promises(max_refusal, max_risk, confidence, per_class)
    check_samples(samples)
    if not 0.0 <= test < 1.0:
        raise UsageError(f"the share left out for test must be at least 0 and below 1, got {test}")
    if recipe.rule != "calibrated":
        parse_rule(recipe.rule)
    place = choose_device(device)
    reading = reading or Reading()
    if image_size is not None:
        reading = replace(reading, image_size=image_size)
    source = NetworkSource(network, weights, normalise, reading.image_size)
    source.check(freeze=recipe.freeze)
    dataset = _as_dataset(data, source, reading, seed, reporter)
    dataset.require_unshifted()
    test_fraction = test if dataset.test is None and split_file is None else 0.0
    splits, parts = _split(dataset, recipe, test_fraction, split_file, seed)
    if write_split_to is not None:
        write_split(Path(write_split_to), dataset, splits)
    tell_duplicates(dataset.name, splits, reporter)
    tell_imbalance(splits.train, recipe.balance, reporter)
    fixed = "" if parts is None else split_fingerprint(dataset, splits)
    splits, joined = _with_extra(splits, extra, reporter)
    spec = source.spec(splits.train.preprocessing.shape, len(dataset.classes))
    recipe = _with_augmentation(recipe, dataset.name, splits.train)
    calibrates = _calibrates(dataset, splits, recipe, promises)
    module, loaded = source.module(spec, seed, reporter)
    if stages is not None:
        StageReader(module, {}, stages)  # a wrong name must fail before training, too
    job = Job(
        module,
        splits.train,
        recipe,
        prior=prior,
        likelihood=likelihood or Categorical(),
        seed=seed,
        device=place,
        precision=choose_precision(precision, place),
        compiled=compiled,
        watch=splits.calibration if calibrates else None,
        again=source.again(spec),
        reporter=reporter,
    )
    fitted = fit_frozen(job) if recipe.freeze else fit_posterior(job)
    if prior is not None:
        recipe = replace(recipe, prior=str(prior))
    record = _record(dataset, splits, fitted, extra=joined, test_fraction=test_fraction, seed=seed)
    record = replace(record, parts=parts, split_fingerprint=fixed)
    if loaded is not None:
        record = replace(record, weights=loaded.file, weights_fingerprint=loaded.fingerprint)
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
    if calibrates:
        classifier = _calibrate(
            classifier, splits, promises, stages=stages, samples=samples, reporter=reporter
        )
    return replace(classifier, rule=parse_rule(recipe.rule, classifier.calibrated))


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
    data: Dataset | ImageSet | str | Path,
    source: NetworkSource,
    reading: Reading,
    seed: int,
    reporter: Reporter,
) -> Dataset:
    """The data set, its images brought to what the network needs, if it needs anything."""
    needed = source.preprocessing()
    if needed is not None:
        needed = replace(needed, fit=reading.fit)
    if isinstance(data, str | Path):
        reading = replace(reading, preprocessing=needed or reading.preprocessing)
        return load(data, reading=reading, seed=seed, reporter=reporter)
    dataset = Dataset(data.name, data) if isinstance(data, ImageSet) else data
    if needed is None:
        return dataset
    train, test = dataset.train, dataset.test
    return replace(
        dataset,
        train=replace(train, images=adapt(train.images, needed)),
        test=None if test is None else replace(test, images=adapt(test.images, needed)),
    )


def _split(
    dataset: Dataset, recipe: Recipe, test: float, file: str | Path | None, seed: int
) -> tuple[Splits, Tensor | None]:
    """The splits, and for each image the part that a file fixed it to, if one did."""
    if file is not None:
        return read_split(Path(file), dataset)
    return split(dataset, seed=seed, calibration=recipe.calibration, test=test), None


def _calibrates(dataset: Dataset, splits: Splits, recipe: Recipe, promises: Promises) -> bool:
    """Whether there are calibration images; they must be enough for what is promised."""
    if len(splits.calibration) > 0:
        promises.check_images(len(splits.calibration), len(dataset.classes))
        return True
    if recipe.rule == "calibrated" or promises.max_risk is not None:
        raise DataError(
            f"{dataset.name}: the calibrated rule needs calibration images; "
            "keep a share for calibration, or choose another rule"
        )
    return False


def _with_augmentation(recipe: Recipe, data: str, train: ImageSet) -> Recipe:
    """What ``auto`` stands for; none where features are computed once, of images as they are."""
    if recipe.augment != "auto":
        return recipe
    if recipe.freeze and recipe.views == 1:
        return replace(recipe, augment="none")
    side = max(train.images.shape[-2:])
    return replace(recipe, augment=suitable_augmentation(data, side))


def _with_extra(
    splits: Splits, extra: ImageSet | str | Path | None, reporter: Reporter
) -> tuple[Splits, ImageSet | None]:
    """The splits with the extra images in the training part, and those images."""
    if extra is None:
        return splits, None
    if not isinstance(extra, ImageSet):
        train = splits.train
        extra = read_labels(Path(extra), train.classes, train.preprocessing, reporter)
    return join_extra(splits, extra, reporter)


def _calibrate(
    classifier: Classifier,
    splits: Splits,
    promises: Promises,
    *,
    stages: Sequence[str] | None,
    samples: int,
    reporter: Reporter,
) -> Classifier:
    """What comes after training; where it fails, the error carries what was fitted."""
    try:
        with explain_memory(
            "getting to know the training images", "lower --image-size, or name fewer --stages"
        ):
            familiarity = fit_familiarity(
                classifier.network,
                classifier.guide.center(),
                splits.train,
                classes=len(classifier.classes),
                stages=stages,
                reporter=reporter,
            )
        classifier = replace(classifier, familiarity=familiarity)
        with explain_memory("calibrating", "lower --samples or --image-size"):
            return calibrate_classifier(
                classifier, splits.calibration, promises, samples=samples, reporter=reporter
            )
    # Features that are numbers can still be too wild for linear algebra.
    except (NescioError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        cause = " ".join(str(error).split())
        raise CalibrationError(f"calibration failed after training: {cause}", classifier) from error
    except KeyboardInterrupt as interrupt:
        raise CalibrationInterrupt("calibration was stopped", classifier) from interrupt


def _record(
    dataset: Dataset,
    splits: Splits,
    fitted: Fit,
    *,
    extra: ImageSet | None,
    test_fraction: float,
    seed: int,
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
        diagnostics=dict(fitted.diagnostics),
        seen=torch.cat([splits.train.hashes(), splits.calibration.hashes()]),
        extra_images=0 if extra is None else len(extra),
        extra_fingerprint="" if extra is None else extra.fingerprint(),
    )


def library_versions() -> dict[str, str]:
    """Of what computes: nescio, PyTorch, Pyro, NumPy and Python."""
    names = {"nescio": "nescio", "torch": "torch", "pyro": "pyro-ppl", "numpy": "numpy"}
    found = {name: version(package) for name, package in names.items()}
    return {**found, "python": platform.python_version()}
