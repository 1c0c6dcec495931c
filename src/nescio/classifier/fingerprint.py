"""What a threshold is bound to: the very numbers of a posterior."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from nescio.classifier.classifier import Classifier


def posterior_tensors(classifier: Classifier) -> dict[str, Tensor]:
    """Everything that answers depend on, by the names of the model file; on the CPU."""
    guide, familiarity = classifier.guide, classifier.familiarity
    fixed = fixed_tensors(classifier.network, guide.loc)
    known = {} if familiarity is None else familiarity.tensors()
    tensors = {
        **{f"loc/{name}": value for name, value in guide.loc.items()},
        **{f"raw_scale/{name}": value for name, value in guide.raw_scale.items()},
        **{f"fixed/{name}": value for name, value in fixed.items()},
        **{f"familiarity/{name}": value for name, value in known.items()},
    }
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def posterior_digest(classifier: Classifier) -> str:
    """SHA-256 of :func:`posterior_tensors`."""
    return digest(posterior_tensors(classifier))


def fixed_tensors(network: nn.Module, random: Collection[str]) -> dict[str, Tensor]:
    """Parameters and buffers that are not random, by their name in the state dict."""
    drawn = {id(parameter) for name, parameter in network.named_parameters() if name in random}
    shared = {n for n, p in network.named_parameters(remove_duplicate=False) if id(p) in drawn}
    return {name: value for name, value in network.state_dict().items() if name not in shared}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
