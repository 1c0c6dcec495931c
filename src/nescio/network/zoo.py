"""Networks of timm, by ``timm:NAME``; an extra. No weights are ever downloaded."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from nescio.errors import ArchitectureError, UsageError
from nescio.network.normalise import Normalisation

PREFIX = "timm:"
"""Of the names of these networks."""

NAME = re.compile(r"\w+(\.\w+)?")
"""An architecture, and perhaps a tag; no path and no address, from which timm would load."""


@dataclass(frozen=True)
class ZooConfig:
    """What timm says of a network.

    Attributes:
        shape: ``(K, H, W)`` of the images that it was made for.
        fixed: Whether it is built for one size, and takes no other.
        normalisation: Of the pixels that it was trained on.
        classifiers: Paths of the layers that are for its classes; some networks have two.
    """

    shape: tuple[int, int, int]
    fixed: bool
    normalisation: Normalisation
    classifiers: tuple[str, ...]


def is_zoo(name: str) -> bool:
    """Whether that names a network of timm."""
    return name.startswith(PREFIX)


def zoo_config(name: str) -> ZooConfig:
    """The configuration of ``timm:NAME``.

    Raises:
        UsageError: timm is not installed, or has no network of that name.
    """
    config = _config(_timm(name), name)
    channels, height, width = (int(side) for side in config.input_size)
    mean, std = (tuple(float(x) for x in side) for side in (config.mean, config.std))
    named = config.classifier or ()
    return ZooConfig(
        (channels, height, width),
        bool(config.fixed_input_size),
        Normalisation(mean, std),
        (named,) if isinstance(named, str) else tuple(named),
    )


def build_zoo(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build ``timm:NAME`` for images of ``shape`` ``(K, H, W)``, as initialised.

    Raises:
        UsageError: timm is not installed, or has no network of that name.
        ArchitectureError: It cannot be built for such images.
    """
    timm = _timm(name)
    fixed = bool(_config(timm, name).fixed_input_size)
    size = {"img_size": shape[1:]} if fixed else {}
    try:
        network = timm.create_model(
            name.removeprefix(PREFIX),
            pretrained=False,
            num_classes=classes,
            in_chans=shape[0],
            **size,
        )
    except Exception as error:  # of any network there
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ArchitectureError(f"{name} cannot be built for images of {shape}: {why}") from error
    return network  # type: ignore[no-any-return]


def _config(timm: Any, name: str) -> Any:
    own = name.removeprefix(PREFIX)
    try:
        config = timm.get_pretrained_cfg(own) if NAME.fullmatch(own) else None
    except RuntimeError as error:  # the architecture is known, the tag is not
        raise UsageError(f"unknown network {name!r}: {error}") from error
    if config is None:
        near = get_close_matches(own, timm.list_models(), n=1)
        hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
        raise UsageError(f"unknown network {name!r}: timm has none of that name{hint}")
    return config


def _timm(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{name} needs {error.name or 'timm'}: pip install 'nescio[timm]'"
        ) from error
    except Exception as error:  # such as a torchvision that is for another PyTorch
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{name}: timm cannot be imported ({why}); it needs the torchvision that belongs to "
            "this PyTorch"
        ) from error
