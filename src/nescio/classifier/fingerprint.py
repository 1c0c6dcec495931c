"""What a threshold is bound to: the very numbers of a posterior."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nescio.network import named_tensors

if TYPE_CHECKING:
    from nescio.classifier.classifier import Classifier


def posterior_tensors(classifier: Classifier) -> dict[str, Tensor]:
    """Everything that answers depend on, by the names of the model file; on the CPU."""
    guide, familiarity = classifier.guide, classifier.familiarity
    fixed = fixed_tensors(classifier.network, guide.names)
    known = {} if familiarity is None else familiarity.tensors()
    tensors = {
        **guide.tensors(),
        **{f"fixed/{name}": value for name, value in fixed.items()},
        **{f"familiarity/{name}": value for name, value in known.items()},
    }
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def posterior_digest(classifier: Classifier) -> str:
    """SHA-256 of :func:`posterior_tensors`."""
    return digest(posterior_tensors(classifier))


def fixed_tensors(network: nn.Module, random: Collection[str]) -> dict[str, Tensor]:
    """Parameters and buffers that no draw replaces, by their name in the state dict."""
    drawn = {id(value) for name, value in named_tensors(network).items() if name in random}
    every = (*network.named_parameters(remove_duplicate=False), *network.named_buffers())
    shared = {name for name, value in every if id(value) in drawn}
    return {name: value for name, value in network.state_dict().items() if name not in shared}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
