"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*", group="Common")
@dataclass(frozen=True)
class Common:
    """Options of every command that computes."""

    seed: int | None = None
    """The same seed gives the same answer. [train: 0; else the model's]"""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    precision: str = "auto"
    """float32, bfloat16, or auto: the latter where the processor has matrix units for it."""

    samples: int = 100
    """How many networks are drawn from the posterior."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """No progress and no warnings."""


@Parameter(name="*", group="Promises")
@dataclass(frozen=True)
class PromiseOptions:
    """What the calibrated rule is to promise; options of every command that sets thresholds."""

    max_refusal: float = 0.01
    """The share of familiar images that may be refused: half of it as unfamiliar and half as
    ambiguous, or all of it as unfamiliar where a risk is promised."""

    max_risk: float | None = None
    """Promise at most this share of errors among the familiar images that are answered."""

    confidence: float = 0.95
    """With which the risk is promised."""

    per_class: Annotated[bool, Parameter(negative="")] = False
    """Make both promises for each class."""
