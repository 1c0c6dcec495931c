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
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from nescio.classifier.classifier import Classifier
from nescio.classifier.contents import describe, rebuild, tensors_of
from nescio.classifier.fingerprint import (
    digest,
)
from nescio.devices import choose_device, choose_precision
from nescio.errors import ModelFileError, NescioError, RuleError
from nescio.files import atomic_path
from nescio.network import NetworkLike

FORMAT_VERSION = 7
"""Raised when an older nescio could misread what a newer one wrote."""

SUM = "nescio.sha256"
"""The key of the description's SHA-256."""

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
    stored = tensors_of(classifier)
    header = {"format": FORMAT_VERSION, **describe(classifier), "digest": digest(stored)}
    text = json.dumps(header, allow_nan=False)
    return stored, {"nescio": text, SUM: _sum(text)}


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def load_model(
    path: str | Path,
    network: NetworkLike | None = None,
    *,
    device: torch.device | str = "auto",
    precision: str = "auto",
) -> Classifier:
    """Read a classifier that :meth:`Classifier.save` wrote.

    Args:
        path: The file.
        network: Needed for a network that is not nescio's own: the module, what makes it (see
            :func:`nescio.fit`), or its ``module:factory``. A file alone never makes code run.
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
    network: NetworkLike | None = None,
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
    network: NetworkLike | None,
    *,
    device: torch.device | str,
    precision: str,
) -> Classifier:
    """The classifier of a header and its tensors, once both are known to be whole."""
    if digest(tensors) != header.get("digest"):
        raise ModelFileError(f"{path}: the file is damaged (its digest does not match)")
    try:
        classifier = rebuild(path, header, tensors, network)
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
