"""Weights from a file: brought into a network where they fit, and told where they do not."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nescio.errors import ArchitectureError, UsageError

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")
"""Under which checkpoints keep the weights beside other things."""

PREFIXES = ("module.", "model.", "network.", "net.", "backbone.", "_orig_mod.")
"""That wrappers put before the names: DataParallel, Lightning, ``torch.compile`` and others."""

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
    """

    file: str
    fingerprint: str
    left: tuple[str, ...]


@torch.no_grad()
def load_weights(
    network: nn.Module, path: Path, classifiers: Collection[str] = ()
) -> LoadedWeights:
    """Bring the weights of a file into ``network``, in place: all that fit, or none.

    The last layer may be missing in the file, or be for other classes; it is then left as it
    is. All else must be there, by name and shape, and nothing more.

    Args:
        network: It is changed.
        classifiers: Paths of the layers that may be for other classes, where it is known; the
            last one with a matrix of weights where it is not.
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
    found = _without_prefixes(_read(path), wanted)
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
    left = [n for n in wanted if _below(n, free)] if any(told.values()) else []
    taken = {n: found[n] for n in wanted if n in found and n not in left}
    broken = [n for n, value in taken.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ArchitectureError(f"--weights {path}: {_names(broken)} are not all finite numbers")
    for name, value in taken.items():
        wanted[name].copy_(value)
    return LoadedWeights(path.name, _fingerprint(path), tuple(left))


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UsageError(f"--weights {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"--weights {path}: not a file of weights, or it holds more than tensors, which "
            "could run code and is not read; save the state_dict() alone, best as safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(f"--weights {path}: not a readable file of weights ({why})") from error
    return _tensors(path, content)


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
