"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
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

    max_refusal: float | None = None
    """The share of familiar images that may be refused for both reasons together, or as
    unfamiliar alone where a risk is promised. [0.01; with fewer than 99 calibration images the
    smallest share that they can promise, at most 0.1]"""

    max_risk: float | None = None
    """Promise at most this share of errors among the familiar images that are answered."""

    confidence: float = 0.95
    """With which the risk is promised."""

    per_class: Annotated[bool, Parameter(negative="")] = False
    """Make both promises for each class."""


@Parameter(name="*", group="Study")
@dataclass(frozen=True)
class StudyOptions:
    """What an evaluation finds out beside its tables."""

    study: Path | None = None
    """Write all figures, and the answer for each image, to this JSON file; nescio compare and
    later reports read it."""

    force: Annotated[bool, Parameter(negative="")] = False
    """Overwrite the study and the report if they exist."""

    corruptions: str | None = None
    """Judge test images in five severities of corruption, too: all, or names with commas, such as
    blur,jpeg."""

    corruption_images: int = 1000
    """How many test images each severity is judged on."""

    resamples: int = 1000
    """Of the bootstrap behind each interval that is not exact."""
