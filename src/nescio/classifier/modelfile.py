"""The model file: one safetensors file, no pickle, nothing that runs code.

Tensors: those of the posterior, such as ``loc/NAME`` and ``raw_scale/NAME`` of every random
parameter, ``fixed/NAME`` of every other parameter and buffer, ``familiarity/STAGE/NAME``,
``reference``, the unfamiliarity of the calibration images, ``calibration/NAME``, what thresholds
are set from, ``seen``, the content hashes of the images that the model has seen, and ``parts``, a
split that was fixed by a file. All else is one JSON object in the header's metadata, under
``nescio``, with a SHA-256 over all tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
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
from nescio.inference import FAMILIES, SCALE_MAPS, Epoch, Misfit, Posterior, Recipe
from nescio.inference.posterior import count, group, require_shapes
from nescio.network import (
    OWN,
    NetworkSpec,
    Normalisation,
    build,
    lay_out,
    named_tensors,
    normalised,
)
from nescio.refusal import CalibratedRule, KeptScores, rule_from_json

FORMAT_VERSION = 6
"""Raised when an older nescio could misread what a newer one wrote."""

SUM = "nescio.sha256"
"""The key of the description's SHA-256; files of format 5 have none."""

KEPT = "calibration"
"""The group of the tensors that thresholds are set from; older files have none."""

OLDEST_FORMAT = 5
"""Models of earlier formats hold no familiarity model, or one or a rule of another kind."""


def save_model(classifier: Classifier, path: Path) -> None:
    """Write ``classifier`` to ``path``, whole or not at all.

    Raises:
        OSError: The file cannot be made; an older file there is as it was.
        ModelFileError: The disk is full, or failed; an older file there is as it was.
    """
    stored, metadata = _pack(classifier)
    with atomic_path(path) as temporary:
        try:
            save_file(stored, temporary, metadata=metadata)
        except SafetensorError as error:
            raise ModelFileError(f"{path}: cannot be written ({error})") from error


def to_bytes(classifier: Classifier) -> bytes:
    """What :func:`save_model` writes, for those who keep it elsewhere than in a file."""
    stored, metadata = _pack(classifier)
    return save(stored, metadata)


def _pack(classifier: Classifier) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of the file."""
    stored = {**posterior_tensors(classifier), "seen": classifier.record.seen}
    if classifier.reference is not None:
        stored["reference"] = classifier.reference
    if classifier.kept is not None:
        kept = classifier.kept.tensors()
        stored |= {f"{KEPT}/{name}": value.contiguous() for name, value in kept.items()}
    if classifier.record.parts is not None:
        stored["parts"] = classifier.record.parts
    header = {**_describe(classifier), "digest": digest(stored)}
    text = json.dumps(header, allow_nan=False)
    return stored, {"nescio": text, SUM: _sum(text)}


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
    header, tensors = read_header(path), _read_tensors(path)
    return _restore(path, header, tensors, network, device=device, precision=precision)


def from_bytes(
    content: bytes,
    network: nn.Module | str | None = None,
    *,
    device: torch.device | str = "auto",
    precision: str = "auto",
    name: str = "model",
) -> Classifier:
    """The classifier that :func:`to_bytes` packed; as safe as :func:`load_model`.

    Args:
        content: The bytes of a model file.
        network: See :func:`load_model`.
        device: Likewise.
        precision: Likewise.
        name: What the bytes are called in messages.

    Raises:
        ModelFileError: As for :func:`load_model`.
    """
    path = Path(name)
    try:
        tensors = {key: value.clone() for key, value in load(content).items()}
        # Its layout has been checked by now: a length of eight bytes, then so much JSON.
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__")
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path}: not a model file, or a damaged one ({error})") from error
    header = _header(path, metadata)
    return _restore(path, header, tensors, network, device=device, precision=precision)


def _restore(
    path: Path,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    network: nn.Module | str | None,
    *,
    device: torch.device | str,
    precision: str,
) -> Classifier:
    """The classifier of a header and its tensors, once both are known to be whole."""
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
        return _header(path, file.metadata())


def _header(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    text = (metadata or {}).get("nescio")
    if text is None:
        raise ModelFileError(f"{path}: a safetensors file, but not one that nescio wrote")
    if (metadata or {}).get(SUM, _sum(text)) != _sum(text):
        raise ModelFileError(
            f"{path}: the file is damaged (its description does not match its sum)"
        )
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
        },
    }


def _rebuild(
    path: Path,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    network: nn.Module | str | None,
) -> Classifier:
    spec, recipe = _spec(header), _recipe(path, header)
    module, guide = _matching_network(path, header, spec, network, tensors)
    calibrated = header["calibrated"]
    training = header["training"]
    rule = None if calibrated is None else rule_from_json(calibrated)
    stages = [str(name) for name in header["stages"]]
    known = Familiarity.unpack(group(tensors, "familiarity"), stages) if stages else None
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
                "parts": tensors.get("parts"),
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
    network: nn.Module | str | None,
    tensors: Mapping[str, Tensor],
) -> tuple[nn.Module, Posterior]:
    """The network of ``spec`` and its posterior, once the file's tensors are known to fit it."""
    if isinstance(network, nn.Module):
        module = network
    elif spec.needs_code:
        module = _user_network(path, spec, network)
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
    return build(replace(spec, name=network))


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
