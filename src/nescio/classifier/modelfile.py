"""The model file: one safetensors file, no pickle, nothing that runs code.

Tensors: ``loc/NAME`` and ``raw_scale/NAME`` of every random parameter,
``fixed/NAME`` of every other parameter and buffer, ``familiarity/STAGE/NAME``,
``reference``, the unfamiliarity of the calibration images, and ``seen``, the content
hashes of the images that the model has seen. All else is one JSON object in the
header's metadata, under ``nescio``, with a SHA-256 over all tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nescio.classifier.classifier import Classifier
from nescio.classifier.fingerprint import (
    digest,
    fixed_tensors,
    posterior_digest,
    posterior_tensors,
)
from nescio.classifier.record import TrainingRecord
from nescio.data import Preprocessing
from nescio.devices import choose_device, choose_precision
from nescio.errors import ModelFileError, NescioError, RuleError, UsageError
from nescio.familiarity import Familiarity
from nescio.files import atomic_path
from nescio.inference import SCALE_MAPS, Epoch, MeanField, Recipe
from nescio.network import OWN, NetworkSpec, build, lay_out
from nescio.refusal import CalibratedRule, rule_from_json

FORMAT_VERSION = 5
"""Raised when an older nescio could misread what a newer one wrote."""

OLDEST_FORMAT = 5
"""Models of earlier formats hold no familiarity model, or one or a rule of another kind."""


def save_model(classifier: Classifier, path: Path) -> None:
    """Write ``classifier`` to ``path``, whole or not at all.

    Raises:
        OSError: The file cannot be made; an older file there is as it was.
        ModelFileError: The disk is full, or failed; an older file there is as it was.
    """
    stored = {**posterior_tensors(classifier), "seen": classifier.record.seen}
    if classifier.reference is not None:
        stored["reference"] = classifier.reference
    header = {**_describe(classifier), "digest": digest(stored)}
    metadata = {"nescio": json.dumps(header, allow_nan=False)}
    with atomic_path(path) as temporary:
        try:
            save_file(stored, temporary, metadata=metadata)
        except SafetensorError as error:
            raise ModelFileError(f"{path}: cannot be written ({error})") from error


def load_model(
    path: str | Path,
    network: nn.Module | str | None = None,
    *,
    device: torch.device | str = "auto",
    precision: str = "auto",
) -> Classifier:
    """Read a classifier that :meth:`Classifier.save` wrote.

    Args:
        path: The file.
        network: Needed for a network that is not nescio's own: the module, or its
            ``module:factory``. A file alone never makes code run.
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` or a device.
        precision: ``auto``, ``float32`` or ``bfloat16``, see
            :func:`nescio.devices.choose_precision`.

    Raises:
        ModelFileError: The file is missing, damaged, foreign or newer, or does not
            match the network.
    """
    path = Path(path)
    header = read_header(path)
    tensors = _read_tensors(path)
    if digest(tensors) != header.get("digest"):
        raise ModelFileError(f"{path}: the file is damaged (its digest does not match)")
    try:
        classifier = _rebuild(path, header, tensors, network)
    except RuleError as error:
        raise ModelFileError(f"{path}: the file's rule is damaged ({error})") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, NescioError):
            raise
        raise ModelFileError(f"{path}: the file's description is not valid ({error!r})") from error
    place = choose_device(device)
    choose_precision(precision, place)  # an unknown one should fail here
    return replace(classifier.to(place), precision=precision)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON object of a model file, without its tensors.

    Raises:
        ModelFileError: The file is missing, damaged, foreign or newer.
    """
    with open_safetensors(path) as file:
        text = (file.metadata() or {}).get("nescio")
    if text is None:
        raise ModelFileError(f"{path}: a safetensors file, but not one that nescio wrote")
    try:
        header = json.loads(text)
        format_version = int(header["format"])
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: the file's description is not valid") from error
    if format_version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: written by a newer nescio (format {format_version}, this one reads up to "
            f"{FORMAT_VERSION}); update with pip install -U nescio"
        )
    if format_version < OLDEST_FORMAT:
        raise ModelFileError(
            f"{path}: written by an earlier nescio (format {format_version}), which kept "
            "nothing, or other things, of its training images; train it again with nescio train"
        )
    return header  # type: ignore[no-any-return]


def _describe(classifier: Classifier) -> dict[str, Any]:
    record = classifier.record
    calibrated = classifier.calibrated
    return {
        "format": FORMAT_VERSION,
        "network": asdict(classifier.spec),
        "preprocessing": asdict(classifier.preprocessing),
        "classes": list(classifier.classes),
        "recipe": asdict(classifier.recipe),
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
            "extra_images": record.extra_images,
            "extra_fingerprint": record.extra_fingerprint,
        },
    }


def _rebuild(
    path: Path,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    network: nn.Module | str | None,
) -> Classifier:
    shape = tuple(int(side) for side in header["network"]["shape"])
    if len(shape) != 3:
        raise ValueError(f"network shape {shape}")
    spec = NetworkSpec(str(header["network"]["name"]), shape, int(header["network"]["classes"]))
    try:
        recipe = Recipe(**header["recipe"])
    except UsageError as error:
        raise ModelFileError(f"{path}: the file's recipe is damaged ({error})") from error
    scale_map = SCALE_MAPS[recipe.scale]
    guide = MeanField(_group(tensors, "loc"), _group(tensors, "raw_scale"), scale_map)
    module = _matching_network(path, spec, network, guide, _group(tensors, "fixed"))
    # Networks are drawn parameter by parameter, so their order is a part of the answer;
    # the file keeps them by name.
    order = [name for name, _ in module.named_parameters() if name in guide.loc]
    guide = MeanField(
        {n: guide.loc[n] for n in order}, {n: guide.raw_scale[n] for n in order}, scale_map
    )
    calibrated = header["calibrated"]
    training = header["training"]
    rule = None if calibrated is None else rule_from_json(calibrated)
    stages = [str(name) for name in header["stages"]]
    known = Familiarity.unpack(_group(tensors, "familiarity"), stages) if stages else None
    if known is not None and known.classes != spec.classes:
        raise ValueError("the familiarity model has other classes")
    classifier = Classifier(
        network=module,
        guide=guide,
        spec=spec,
        preprocessing=Preprocessing(**header["preprocessing"]),
        classes=tuple(str(name) for name in header["classes"]),
        recipe=recipe,
        rule=rule_from_json(header["rule"]),
        calibrated=rule if isinstance(rule, CalibratedRule) else None,
        record=TrainingRecord(
            **{
                **training,
                "history": tuple(Epoch(**epoch) for epoch in training["history"]),
                "seen": tensors["seen"],
            }
        ),
        familiarity=known,
        reference=tensors.get("reference"),
    )
    _check_binding(path, classifier)
    return classifier


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
    spec: NetworkSpec,
    network: nn.Module | str | None,
    guide: MeanField,
    fixed: Mapping[str, Tensor],
) -> nn.Module:
    """The network of ``spec``, once the file's tensors are known to fit it."""
    if isinstance(network, nn.Module):
        module = network
    elif spec.needs_code:
        module = _user_network(path, spec, network)
    else:
        # Shapes are compared on no memory first: a hostile file cannot ask for much.
        with torch.device("meta"):
            _check_shapes(path, build(spec), guide, fixed)
        module = build(spec)
    _check_shapes(path, module, guide, fixed)
    module = lay_out(module.eval())
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in guide.loc:
                parameter.copy_(guide.loc[name])
        for name, value in fixed_tensors(module, guide.loc).items():
            value.copy_(fixed[name])
    return module


def _user_network(path: Path, spec: NetworkSpec, network: str | None) -> nn.Module:
    if spec.name == OWN and network is None:
        raise ModelFileError(
            f"{path}: its network was a Python object; load it in Python with "
            "load_model(path, network=...), or name its module:factory with --network"
        )
    if network is None:
        raise ModelFileError(
            f"{path}: its network comes from {spec.name!r}; a file alone runs no code, "
            f"so allow it with --network {spec.name}"
        )
    return build(NetworkSpec(network, spec.shape, spec.classes))


def _check_shapes(
    path: Path, module: nn.Module, guide: MeanField, fixed: Mapping[str, Tensor]
) -> None:
    wanted = {n: tuple(p.shape) for n, p in module.named_parameters() if n in guide.loc}
    _compare(path, wanted, guide.loc)
    _compare(path, wanted, guide.raw_scale)
    _compare(path, {n: tuple(v.shape) for n, v in fixed_tensors(module, guide.loc).items()}, fixed)


def _compare(
    path: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]
) -> None:
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    if shapes != wanted:
        differing = sorted(set(wanted.items()) ^ set(shapes.items()))
        raise ModelFileError(
            f"{path}: its tensors do not fit the network; they differ in {differing[0][0]!r}"
        )


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = f"{group}/"
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with open_safetensors(path) as file:
        # Clones are aligned as freshly computed tensors are, so that products on them
        # take the same code path and predictions are equal to the bit.
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file, with every failure told in one line."""
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file; make one with nescio train")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: not a model file, or a damaged one ({error})") from error
