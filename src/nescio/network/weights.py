"""Weights from a file: brought into a network where they fit, and told where they do not."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from nescio.errors import ArchitectureError, UsageError

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")
"""Under which checkpoints keep the weights beside other things."""

PREFIXES = ("module.", "model.", "network.", "net.", "backbone.", "_orig_mod.")
"""That wrappers put before the names: DataParallel, Lightning, ``torch.compile`` and others."""

NAMED = ("classes", "class_names", "class_to_idx", "idx_to_class", "id2label", "labels")
"""Under which checkpoints keep the names of classes."""

BY_NUMBER = ("idx_to_class", "id2label")
"""Those of them that give names by numbers."""

MOST_READINGS = 32
"""Ways to read the names of a file; a hostile one could ask for any number."""

MOST_TOLD = 4
"""How many tensors of a kind a message names."""


@dataclass(frozen=True)
class LoadedWeights:
    """What was read.

    Attributes:
        file: The file's name.
        fingerprint: SHA-256 of the file, in hexadecimal.
        left: Names of the tensors that were left as initialised: of the last layer alone.
        by_name: Whether the outputs of the last layer were brought to the order of the classes by
            the names of classes that the file has. Where it has none, they are taken as they are.
    """

    file: str
    fingerprint: str
    left: tuple[str, ...]
    by_name: bool = False


@torch.no_grad()
def load_weights(
    network: nn.Module,
    path: Path,
    classifiers: Collection[str] = (),
    classes: Sequence[str] = (),
) -> LoadedWeights:
    """Bring the weights of a file into ``network``, in place: all that fit, or none.

    The last layer may be missing in the file, or be for other classes; it is then left as it
    is. All else must be there, by name and shape, and nothing more.

    Args:
        network: It is changed.
        classifiers: Paths of the layers that may be for other classes, where it is known; the
            last one with a matrix of weights where it is not.
        classes: The class names, in the order of the network's outputs. Where the file names its
            own, as ``classes`` or ``class_to_idx`` beside the weights or in the metadata, the
            last layer is brought to this order, or left as it is if they are others.
        path: A safetensors file, or what :func:`torch.save` wrote of tensors; it is read
            without running code.

    Raises:
        UsageError: The file cannot be read, or holds more than tensors.
        ArchitectureError: The weights do not fit; the tensors are named.
    """
    wanted = network.state_dict(keep_vars=True)
    for name, value in wanted.items():
        if isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise ArchitectureError(
                f"parameter {name!r} has no shape yet; run the network once on an image before "
                "weights are loaded"
            )
    tensors, names = _read(path)
    found = _without_prefixes(tensors, wanted)
    free = tuple(classifiers) or (_last_layer(network),)
    told = _misfits(wanted, found)
    outside = {kind: [n for n in names if not _below(n, free)] for kind, names in told.items()}
    if any(outside.values()):
        kinds = "; ".join(_tell(k, n, wanted, found) for k, n in outside.items() if n)
        raise ArchitectureError(
            f"--weights {path}: they do not fit the network: {kinds}; name the file of this "
            "network, or the --network of this file"
        )
    # A bias beside the weight of other classes would mean nothing.
    order = _order(names, classes)
    others = bool(names) and bool(classes) and order is None
    left = [n for n in wanted if _below(n, free)] if any(told.values()) or others else []
    taken = {n: found[n] for n in wanted if n in found and n not in left}
    if order is not None:
        heads = {
            n: v for n, v in taken.items() if _below(n, free) and v.ndim and len(v) == len(order)
        }
        taken |= {name: value[order] for name, value in heads.items()}
    broken = [n for n, value in taken.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ArchitectureError(f"--weights {path}: {_names(broken)} are not all finite numbers")
    for name, value in taken.items():
        wanted[name].copy_(value)
    by_name = order is not None and not left
    return LoadedWeights(path.name, _fingerprint(path), tuple(left), by_name)


def _read(path: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The tensors of a file, and the names of its classes, if it has them."""
    if not path.is_file():
        raise UsageError(f"--weights {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
            with safe_open(path, framework="pt") as file:
                named: Any = file.metadata() or {}
        else:
            content = named = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"--weights {path}: not a file of weights, or it holds more than tensors, which "
            "could run code and is not read; save the state_dict() alone, best as safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(f"--weights {path}: not a readable file of weights ({why})") from error
    return _tensors(path, content), class_names(named)


def class_names(content: object) -> tuple[str, ...]:
    """The names of classes beside weights, in the order of the outputs; none where there are none.

    Args:
        content: A mapping with a list, or names by number, or numbers by name, under one of
            :data:`NAMED`; in the metadata of safetensors as JSON.
    """
    if not isinstance(content, Mapping):
        return ()
    for key in NAMED:
        value = content.get(key)
        if isinstance(value, str):
            with suppress(ValueError):
                value = json.loads(value)
        if isinstance(value, Mapping):
            try:
                numbers = {
                    int(k if key in BY_NUMBER else v): (v if key in BY_NUMBER else k)
                    for k, v in value.items()
                }
            except (TypeError, ValueError):
                continue
            value = [numbers.get(place) for place in range(len(numbers))]
        if isinstance(value, list | tuple) and all(isinstance(name, str | int) for name in value):
            return tuple(str(name) for name in value)
    return ()


def _order(names: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """Which output of the file each class is, where it names the same classes."""
    if not names or len(set(names)) != len(names) or sorted(names) != sorted(classes):
        return None
    return [names.index(name) for name in classes]


def _tensors(path: Path, content: Any) -> Mapping[str, Tensor]:
    while isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
        inner = (content.get(n) for n in WRAPPERS)
        content = next((value for value in inner if isinstance(value, Mapping)), None)
    raise UsageError(
        f"--weights {path}: expected tensors by name, as state_dict() gives them, perhaps under "
        f"{', '.join(WRAPPERS[:3])}; found none"
    )


def _without_prefixes(found: Mapping[str, Tensor], wanted: Collection[str]) -> Mapping[str, Tensor]:
    """With the prefixes off that, off, bring most names together with the network's."""
    candidates = [found]
    for candidate in candidates:  # it grows, by ever shorter names
        for prefix in PREFIXES:
            if len(candidates) < MOST_READINGS and any(
                name.startswith(prefix) for name in candidate
            ):
                bare = {name.removeprefix(prefix): value for name, value in candidate.items()}
                if len(bare) == len(candidate):
                    candidates.append(bare)
    return max(candidates, key=lambda names: sum(name in wanted for name in names))


def _misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The names that are missing, unexpected, of other shapes and of other types."""
    there = {id(value) for name, value in wanted.items() if name in found}
    both = [name for name in wanted if name in found]
    return {
        "missing": [
            name
            for name, value in wanted.items()
            # One of tied tensors is enough, and a count of batches is no weight.
            if id(value) not in there and not name.endswith("num_batches_tracked")
        ],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": [n for n in both if wanted[n].shape != found[n].shape],
        "of another type": [n for n in both if _kind(wanted[n]) != _kind(found[n])],
    }


def _kind(value: Tensor) -> tuple[bool, bool]:
    return value.is_floating_point(), value.is_complex()


def _last_layer(network: nn.Module) -> str:
    """The path of the last layer with a matrix of weights."""
    names = [name for name, value in network.named_parameters() if value.ndim > 1]
    return names[-1].rpartition(".")[0] if names else ""


def _below(name: str, paths: Collection[str]) -> bool:
    return any(path and name.startswith(f"{path}.") for path in paths)


def _tell(
    kind: str, names: list[str], wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> str:
    if kind == "of another shape":
        shapes = [f"{n} {tuple(found[n].shape)} instead of {tuple(wanted[n].shape)}" for n in names]
        return f"{kind}: {_names(shapes)}"
    return f"{kind}: {_names(names)}"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - MOST_TOLD
    return ", ".join(listed[:MOST_TOLD]) + (f" and {more} more" if more > 0 else "")


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
