"""What is asked of a training, checked and brought to one form, before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from nescio.classifier import CONFIDENCE, Promises
from nescio.data import DataLike, Grouping, ImagesLike, Reading
from nescio.errors import UsageError
from nescio.inference import RECIPES, Recipe
from nescio.network import NetworkLike

TEST_FRACTION = 0.15
"""The share left out for ``evaluate`` of a set that has no test split of its own."""

ExtraLike: TypeAlias = ImagesLike | tuple[Any, Any]
"""More images to train on: labelled images, or the path of the CSV file that names them."""


@dataclass(frozen=True)
class Asked:
    """What a training is asked for, but how it is computed; see :func:`nescio.fit`."""

    network: NetworkLike
    data: DataLike
    extra: ExtraLike | None
    recipe: Recipe
    promises: Promises
    stages: Sequence[str] | None
    reading: Reading
    test: float
    weights: str | Path | None
    normalise: str
    split_file: str | Path | None
    write_split_to: Path | None
    grouping: Grouping | None
    seed: int


def ask(
    network: NetworkLike,
    data: DataLike,
    *,
    extra: ExtraLike | None = None,
    recipe: Recipe | str = "default",
    posterior: str | None = None,
    max_refusal: float | None = None,
    max_risk: float | None = None,
    confidence: float = CONFIDENCE,
    per_class: bool = False,
    stages: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    test: float = TEST_FRACTION,
    weights: str | Path | None = None,
    normalise: str = "auto",
    reading: Reading | None = None,
    split_file: str | Path | None = None,
    write_split_to: str | Path | None = None,
    group_by: str | None = None,
    groups: str | Path | None = None,
    seed: int = 0,
) -> Asked:
    """What :func:`nescio.fit` is asked for by arguments of these names; they are told of there.

    Raises:
        UsageError: One cannot be used, or two do not fit together.
        DataError: The file of groups cannot be used.
    """
    recipe = find_recipe(recipe)
    reading = reading or Reading()
    return Asked(
        network=network,
        data=data,
        extra=extra,
        recipe=recipe if posterior is None else replace(recipe, posterior=posterior),
        # A bad promise must fail before the training that it would waste.
        promises=Promises(max_refusal, max_risk, confidence, per_class),
        stages=stages,
        reading=reading if image_size is None else replace(reading, image_size=image_size),
        test=test,
        weights=weights,
        normalise=normalise,
        split_file=split_file,
        write_split_to=None if write_split_to is None else Path(write_split_to),
        grouping=Grouping.of(group_by, groups),
        seed=seed,
    )


def find_recipe(recipe: Recipe | str) -> Recipe:
    """The recipe of that name, or the recipe itself.

    Raises:
        UsageError: There is none of that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise UsageError(f"unknown recipe {recipe!r}: expected {' or '.join(RECIPES)}")
    return RECIPES[recipe]
