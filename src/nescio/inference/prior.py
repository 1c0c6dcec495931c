"""Priors: what is believed of every weight and bias before any image is seen.

A prior is a function from a parameter's name and value (for its shape) to a
Pyro distribution over that whole parameter. By name on the command line:

``normal:1``
    Normal(0, 1) for everything, the article's prior.
``scaled:1.4``
    Normal(0, 1.4 / sqrt(fan in)) for weights, Normal(0, 1.4) for biases, so that
    activations keep their size whatever the width (Neal 1996, *Bayesian Learning
    for Neural Networks*, section 2.1).
``laplace:0.5``
    Laplace(0, 0.5) for everything.
``normal:1,3.*=scaled:1``
    The first for all, the second for parameters whose name fits the pattern.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import pyro.distributions as dist
import torch
from torch import Tensor

from nescio.errors import UsageError


class Prior(Protocol):
    """A distribution for each parameter of a network."""

    def __call__(self, name: str, parameter: Tensor) -> dist.Distribution:
        """The prior of one parameter: its event shape is the parameter's shape."""
        ...


@dataclass(frozen=True)
class NormalPrior:
    """Normal(0, ``scale``) for every weight and bias."""

    scale: float = 1.0

    def __call__(self, name: str, parameter: Tensor) -> dist.Distribution:  # noqa: ARG002
        """The prior of one parameter."""
        return _normal(parameter, self.scale)

    def __str__(self) -> str:
        return f"normal:{self.scale:g}"


@dataclass(frozen=True)
class ScaledNormalPrior:
    """Normal(0, ``gain`` / sqrt(fan in)) for weights, Normal(0, ``gain``) for biases."""

    gain: float = 1.0

    def __call__(self, name: str, parameter: Tensor) -> dist.Distribution:  # noqa: ARG002
        """The prior of one parameter; the fan in is the product of all but its first axis."""
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        return _normal(parameter, self.gain / math.sqrt(fan_in))

    def __str__(self) -> str:
        return f"scaled:{self.gain:g}"


@dataclass(frozen=True)
class LaplacePrior:
    """Laplace(0, ``scale``) for every weight and bias."""

    scale: float = 1.0

    def __call__(self, name: str, parameter: Tensor) -> dist.Distribution:  # noqa: ARG002
        """The prior of one parameter."""
        loc = torch.zeros_like(parameter)
        scales = torch.full_like(parameter, self.scale)
        return dist.Laplace(loc, scales, validate_args=False).to_event(parameter.ndim)

    def __str__(self) -> str:
        return f"laplace:{self.scale:g}"


@dataclass(frozen=True)
class LayeredPrior:
    """One prior for all parameters but those whose name fits a pattern.

    Attributes:
        default: For parameters that no pattern fits.
        layers: ``(pattern, prior)`` with shell wildcards; the first that fits counts.
    """

    default: Prior
    layers: tuple[tuple[str, Prior], ...]

    def __call__(self, name: str, parameter: Tensor) -> dist.Distribution:
        """The prior of one parameter."""
        for pattern, prior in self.layers:
            if fnmatchcase(name, pattern):
                return prior(name, parameter)
        return self.default(name, parameter)

    def __str__(self) -> str:
        layers = (f"{pattern}={prior}" for pattern, prior in self.layers)
        return ",".join([str(self.default), *layers])


_FAMILIES: dict[str, type[NormalPrior] | type[ScaledNormalPrior] | type[LaplacePrior]] = {
    "normal": NormalPrior,
    "scaled": ScaledNormalPrior,
    "laplace": LaplacePrior,
}


def parse_prior(text: str) -> Prior:
    """Read a prior from its name, such as ``normal:1`` or ``normal:1,3.*=scaled:1``.

    Raises:
        UsageError: The family is unknown or the scale is not a positive number.
    """
    first, *rest = text.split(",")
    default = _parse_one(first, text)
    if not rest:
        return default
    layers = []
    for item in rest:
        pattern, equals, prior = item.partition("=")
        if not (pattern and equals):
            raise UsageError(f"prior {text!r}: expected PATTERN=FAMILY:SCALE, got {item!r}")
        layers.append((pattern, _parse_one(prior, text)))
    return LayeredPrior(default, tuple(layers))


def _parse_one(item: str, text: str) -> Prior:
    family, _, number = item.partition(":")
    if family not in _FAMILIES:
        raise UsageError(
            f"prior {text!r}: unknown family {family!r}; expected one of {', '.join(_FAMILIES)}, "
            "such as normal:1"
        )
    try:
        scale = float(number) if number else 1.0
    except ValueError:
        scale = math.nan
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"prior {text!r}: the scale must be a positive number, got {number!r}")
    return _FAMILIES[family](scale)


def _normal(parameter: Tensor, scale: float) -> dist.Distribution:
    loc = torch.zeros_like(parameter)
    scales = torch.full_like(parameter, scale)
    return dist.Normal(loc, scales, validate_args=False).to_event(parameter.ndim)


def cross_entropy(
    prior: dist.Distribution, mean: Tensor, variance: Tensor, sample: Tensor
) -> Tensor:
    """E_q[-log p(w)] for one parameter, in nats, 0-d.

    Args:
        prior: p.
        mean: Of each weight under q.
        variance: Of each weight under q. Dependence between weights does not matter to a prior
            under which they are independent.
        sample: A draw from q: it stands in for the mean where there is no closed form.
    """
    base = getattr(prior, "base_dist", prior)
    if not isinstance(base, torch.distributions.Normal):
        log_prob: Tensor = prior.log_prob(sample)
        return -log_prob
    squares = (variance + (mean - base.loc).square()) / base.scale.square()
    return (0.5 * squares + base.scale.log() + 0.5 * math.log(2 * math.pi)).sum()
