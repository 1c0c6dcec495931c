"""What a model file holds: a classifier as JSON and tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nescio.classifier.classifier import Classifier
from nescio.classifier.fingerprint import fixed_tensors, posterior_digest, posterior_tensors
from nescio.classifier.record import GroupRecord, TrainingRecord
from nescio.data import Preprocessing
from nescio.errors import ModelFileError, UsageError
from nescio.familiarity import Familiarity
from nescio.inference import FAMILIES, SCALE_MAPS, Epoch, Misfit, Posterior, Recipe
from nescio.inference.posterior import count, group, require_shapes
from nescio.network import (
    OWN,
    NetworkLike,
    NetworkSpec,
    Normalisation,
    build,
    lay_out,
    make_network,
    named_tensors,
    normalised,
)
from nescio.refusal import CalibratedRule, KeptScores, rule_from_json

FAMILIARITY_FORMAT = 7
"""Files of earlier formats hold another familiarity model, if any."""

KEPT = "calibration"
"""The group of the tensors that thresholds are set from; older files have none."""


def tensors_of(classifier: Classifier) -> dict[str, Tensor]:
    """Its tensors, by name."""
    stored = {**posterior_tensors(classifier), "seen": classifier.record.seen}
    if classifier.reference is not None:
        stored["reference"] = classifier.reference
    if classifier.kept is not None:
        kept = classifier.kept.tensors()
        stored |= {f"{KEPT}/{name}": value.contiguous() for name, value in kept.items()}
    if classifier.record.parts is not None:
        stored["parts"] = classifier.record.parts
    if classifier.record.groups is not None:
        stored["groups"] = classifier.record.groups
    return stored


def describe(classifier: Classifier) -> dict[str, Any]:
    """All of it but the tensors, as JSON."""
    record = classifier.record
    calibrated = classifier.calibrated
    return {
        "network": asdict(classifier.spec),
        "preprocessing": asdict(classifier.preprocessing),
        "classes": list(classifier.classes),
        "recipe": asdict(classifier.recipe),
        "posterior": {
            "family": classifier.guide.family,
            "random_parameters": count(classifier.guide.center()),
            "description": classifier.guide.describe(),
        },
        "stages": [] if classifier.familiarity is None else list(classifier.familiarity.names),
        "rule": classifier.rule.to_json(),
        "calibrated": None if calibrated is None else calibrated.to_json(),
        "training": {
            "data": record.data,
            "fingerprint": record.fingerprint,
            "train_images": record.train_images,
            "calibration_images": record.calibration_images,
            "test_fraction": record.test_fraction,
            "seed": record.seed,
            "history": [asdict(epoch) for epoch in record.history],
            "stopped": record.stopped,
            "versions": dict(record.versions),
            "diagnostics": dict(record.diagnostics),
            "extra_images": record.extra_images,
            "extra_fingerprint": record.extra_fingerprint,
            "weights": record.weights,
            "weights_fingerprint": record.weights_fingerprint,
            "split_fingerprint": record.split_fingerprint,
            **({"part_names": dict(record.part_names)} if record.part_names else {}),
            **({"dropped": list(record.dropped)} if record.dropped else {}),
            **({} if record.grouped is None else {"grouped": asdict(record.grouped)}),
        },
    }


def rebuild(
    path: Path,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    network: NetworkLike | None,
) -> Classifier:
    """The classifier of a header and its tensors, on the CPU.

    Args:
        path: Of the file, for messages.
        header: What :func:`describe` gave.
        tensors: What :func:`tensors_of` gave.
        network: See :func:`nescio.classifier.load_model`.

    Raises:
        ModelFileError: They do not fit each other, or the network.
        RuleError: The rule is none.
        KeyError: Something is missing. ``TypeError``, ``ValueError`` and ``AttributeError`` say
            likewise that the header is not valid.
    """
    spec, recipe = _spec(header), _recipe(path, header)
    module, guide = _matching_network(path, header, spec, network, tensors)
    calibrated = header["calibrated"]
    training = header["training"]
    grouped = training.get("grouped")
    rule = None if calibrated is None else rule_from_json(calibrated)
    stages = [str(name) for name in header["stages"]]
    if stages and int(header["format"]) < FAMILIARITY_FORMAT:
        raise ModelFileError(
            f"{path}: written by an earlier nescio, which described its training images in another "
            "way; train it again with nescio train"
        )
    known = Familiarity.unpack(group(tensors, "familiarity"), stages) if stages else None
    if known is not None and known.classes != spec.classes:
        raise ValueError("the familiarity model has other classes")
    classifier = Classifier(
        network=module,
        guide=guide,
        spec=spec,
        preprocessing=Preprocessing.from_json(header["preprocessing"]),
        classes=tuple(str(name) for name in header["classes"]),
        recipe=recipe,
        rule=rule_from_json(header["rule"]),
        calibrated=rule if isinstance(rule, CalibratedRule) else None,
        record=TrainingRecord(
            **{
                **training,
                "history": tuple(Epoch(**epoch) for epoch in training["history"]),
                "seen": tensors["seen"],
                "parts": tensors.get("parts"),
                "dropped": tuple(training.get("dropped", ())),
                "groups": tensors.get("groups"),
                "grouped": None if grouped is None else GroupRecord(**grouped),
            }
        ),
        familiarity=known,
        reference=tensors.get("reference"),
        kept=kept_scores(calibrated, group(tensors, KEPT)),
    )
    _check_binding(path, classifier)
    return classifier


def kept_scores(
    calibrated: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]
) -> KeptScores | None:
    """What the file keeps of its calibration, by the tensors of that group; files may have none.

    Raises:
        KeyError: One of them is missing.
        ValueError: They are not such numbers, or not of the images that thresholds were set from.
    """
    if not tensors:
        return None
    kept = KeptScores.unpack(tensors)
    if calibrated is None or calibrated["calibrated_on"]["images"] != len(kept):
        raise ValueError("the scores of calibration are of other images than the thresholds")
    return kept


def _spec(header: Mapping[str, Any]) -> NetworkSpec:
    described = header["network"]
    shape = tuple(int(side) for side in described["shape"])
    if len(shape) != 3:
        raise ValueError(f"network shape {shape}")
    normalise = described.get("normalise")
    try:
        constants = None if normalise is None else Normalisation.from_json(normalise)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return NetworkSpec(str(described["name"]), shape, int(described["classes"]), constants)


def _recipe(path: Path, header: Mapping[str, Any]) -> Recipe:
    try:
        return Recipe(**header["recipe"])
    except UsageError as error:
        raise ModelFileError(f"{path}: the file's recipe is damaged ({error})") from error


def _check_binding(path: Path, classifier: Classifier) -> None:
    """Thresholds set on one posterior promise nothing on another."""
    own = None
    for rule in (classifier.rule, classifier.calibrated):
        if isinstance(rule, CalibratedRule):
            own = own or posterior_digest(classifier)
            if rule.calibrated_on.posterior != own:
                raise ModelFileError(
                    f"{path}: its thresholds were set on another posterior, so they promise "
                    "nothing here; set them again with nescio calibrate"
                )


def _matching_network(
    path: Path,
    header: Mapping[str, Any],
    spec: NetworkSpec,
    network: NetworkLike | None,
    tensors: Mapping[str, Tensor],
) -> tuple[nn.Module, Posterior]:
    """The network of ``spec`` and its posterior, once the file's tensors are known to fit it."""
    if network is not None and (spec.needs_code or not isinstance(network, str)):
        module = make_network(network, spec)
    elif spec.needs_code:
        raise _needed(path, spec)
    else:
        # Shapes are compared on no memory first: a hostile file cannot ask for much.
        with torch.device("meta"):
            _fitting_posterior(path, header, normalised(build(spec), spec.normalise), tensors)
        module = build(spec)
    module = normalised(module, spec.normalise)
    guide = _fitting_posterior(path, header, module, tensors)
    module = lay_out(module.eval().float())
    center, fixed = guide.center(), group(tensors, "fixed")
    with torch.no_grad():
        for name, value in named_tensors(module).items():
            if name in center:
                value.copy_(center[name])
        for name, value in fixed_tensors(module, guide.names).items():
            value.copy_(fixed[name])
    return module, guide


def _needed(path: Path, spec: NetworkSpec) -> ModelFileError:
    """What to tell where a file's network takes code that nobody has allowed."""
    if spec.name == OWN:
        return ModelFileError(
            f"{path}: its network was a Python object; load it in Python with "
            "load_model(path, network=...), or name its module:factory with --network"
        )
    return ModelFileError(
        f"{path}: its network comes from {spec.name!r}; a file alone runs no code, "
        f"so allow it with --network {spec.name}"
    )


def _fitting_posterior(
    path: Path, header: Mapping[str, Any], module: nn.Module, tensors: Mapping[str, Tensor]
) -> Posterior:
    """The posterior, once its tensors and the fixed ones are known to fit the network."""
    family = str(header.get("posterior", {}).get("family", "mean-field"))
    if family not in FAMILIES:
        raise ModelFileError(f"{path}: its posterior is of an unknown family, {family!r}")
    scale_map = SCALE_MAPS[str(header["recipe"].get("scale", "softplus"))]
    shapes = {name: tuple(value.shape) for name, value in named_tensors(module).items()}
    try:
        guide = FAMILIES[family].from_tensors(tensors, shapes, scale_map)
        require_shapes(group(tensors, "fixed"), fixed_tensors(module, guide.names))
    except Misfit as error:
        raise ModelFileError(
            f"{path}: its tensors do not fit the network; they differ in {error.name!r}"
        ) from error
    return guide
