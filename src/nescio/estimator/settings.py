"""From the estimator's parameters to a recipe that its data allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nescio.errors import UsageError
from nescio.estimator.inputs import Array
from nescio.estimator.notes import Notes
from nescio.inference import Recipe
from nescio.training import find_recipe

FEATURE_STEPS = 200
"""At least so many steps for features, in place of the recipe's 800: five-fold cross-validation
on scikit-learn's iris, wine and breast cancer sets saw no gain from more, whose samples have far
fewer numbers than images."""


def recipe_with(recipe: Recipe | str, settings: Mapping[str, Any], *, features: bool) -> Recipe:
    """The recipe with other settings, of which ``None`` leaves it as it is.

    Args:
        recipe: Or its name.
        settings: Its fields, by name.
        features: Whether it is for features in the place of images.

    Raises:
        UsageError: There is no such recipe, a setting cannot be, or features were to be augmented.
    """
    recipe = replace(find_recipe(recipe), **{k: v for k, v in settings.items() if v is not None})
    if not features:
        return recipe
    if recipe.augment not in ("auto", "none"):
        raise UsageError(
            f"recipe: features cannot be moved or turned as images are ({recipe.augment}); "
            "say image_shape, or augment='none'"
        )
    steps = min(recipe.minimum_steps, FEATURE_STEPS)
    return replace(recipe, augment="none", minimum_steps=steps)


def within_means(
    recipe: Recipe, classes: Array, labels: Array, notes: Notes, *, insists: bool
) -> Recipe:
    """Without calibration where the smallest class could spare no image for it.

    Args:
        recipe: What was asked for.
        classes: ``(C,)``.
        labels: ``(N,)`` int64.
        notes: Told where nothing will be refused because of it.
        insists: Whether the rule was asked for by name: then fitting may fail by it.
    """
    counts = np.bincount(labels)
    if recipe.calibration * counts.min() >= 1 - 1e-9:
        return recipe
    if recipe.rule != "calibrated":
        return replace(recipe, calibration=0.0)
    if insists:
        return recipe
    notes.note(
        f"class {classes[counts.argmin()]} has {counts.min()} images, too few to keep "
        f"{100 * recipe.calibration:g} % of them out to calibrate: all are trained on, and "
        "nothing will be refused; give more images, a larger calibration, or "
        "rule='calibrated'"
    )
    return replace(recipe, calibration=0.0, rule="none")
