"""What decoding takes from the set that a model was trained on: the same for every image."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from nescio.errors import UsageError

MAX_PIXELS = 89_478_485
"""Of one image: a quarter of a GiB in RGB, and what Pillow takes for the most that is honest."""

MOST_PIXELS = 2**31 - 1
"""That may be asked for: Pillow counts no further."""

COLOURS = {"white": "#ffffff", "black": "#000000"}
"""Backgrounds that have a name."""

ValueRange: TypeAlias = tuple[float, float]
"""The values that become 0 and 255."""


@dataclass(frozen=True)
class Decoding:
    """How files become pixels of 8 bits; found once, in training, and recorded in the model.

    Attributes:
        value_range: What becomes 0 and 255 in images of more than 8 bits (and in those of signed
            numbers and floats), alike for all; values outside are cut. ``None`` where nothing is
            known: then unsigned numbers of up to 16 bits count from 0 to the largest of their type,
            floats from 0 to 1, and others are refused. Images of 8 bits stay what they are.
        background: What transparent parts are laid on, ``#rrggbb``.
        reduce_to: ``(H, W)``: images that are at least twice, four times or eight times so large on
            both sides are reduced by that factor while they are decoded; ``None`` for never.
        max_pixels: An image of more is refused.

    Raises:
        ValueError: A value is none of these.
    """

    value_range: ValueRange | None = None
    background: str = COLOURS["white"]
    reduce_to: tuple[int, int] | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.value_range is not None:
            low, high = self.value_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"no value range goes from {low} to {high}")
        if not re.fullmatch("#[0-9a-f]{6}", self.background):
            raise ValueError(f"a background is #rrggbb, got {self.background!r}")
        if self.reduce_to is not None and min(self.reduce_to) < 1:
            raise ValueError(f"images cannot be reduced to {self.reduce_to}")
        if not 1 <= self.max_pixels <= MOST_PIXELS:
            raise ValueError(f"max_pixels must be from 1 to {MOST_PIXELS}, got {self.max_pixels}")

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """Red, green and blue of the background."""
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Decoding:
        """What :meth:`to_json` gave, read from JSON.

        Raises:
            ValueError: It is not that; likewise ``TypeError`` and ``KeyError``.
        """
        values, least = record["value_range"], record["reduce_to"]
        return cls(
            None if values is None else (float(values[0]), float(values[1])),
            str(record["background"]),
            None if least is None else (int(least[0]), int(least[1])),
            int(record["max_pixels"]),
        )

    def describe(self) -> dict[str, str]:
        """For a person: what is done to which images."""
        told = {
            "transparent parts": f"laid on {name_of(self.background)}",
            "largest image": f"{self.max_pixels:,} pixels",
        }
        if self.value_range is not None:
            low, high = self.value_range
            told = {
                "deep images": f"of more than 8 bits: {low:g} becomes black, {high:g} white"
            } | told
        return told


DEFAULT = Decoding()
"""Where nothing is known of a set."""

OLDER = Decoding(background=COLOURS["black"])
"""Of models whose file does not tell."""


def name_of(background: str) -> str:
    """Its name, if it has one, else ``#rrggbb``."""
    return {value: name for name, value in COLOURS.items()}.get(background, background)


def parse_value_range(text: str | None) -> ValueRange | None:
    """``LOW:HIGH``, such as ``0:4095``, as numbers.

    Raises:
        UsageError: It is not that.
    """
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        values = float(low), float(high)
    except ValueError:
        values = math.nan, math.nan
    if not colon or not all(map(math.isfinite, values)) or values[0] >= values[1]:
        raise UsageError(
            "--value-range must be LOW:HIGH, the values that become black and white, such as "
            f"0:4095, got {text!r}"
        )
    return values


def parse_background(text: str) -> str | None:
    """``#rrggbb`` of a background; ``None`` for ``auto``.

    Raises:
        UsageError: It is none.
    """
    lower = text.lower()
    if lower == "auto":
        return None
    if re.fullmatch("#[0-9a-f]{6}", COLOURS.get(lower, lower)):
        return COLOURS.get(lower, lower)
    raise UsageError(f"--background must be auto, black, white or #RRGGBB, got {text!r}")
