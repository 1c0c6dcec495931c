"""What is in a model file, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nescio.classifier.modelfile import open_safetensors, read_header
from nescio.data import Preprocessing
from nescio.errors import ModelFileError, NescioError
from nescio.inference import Recipe
from nescio.network import Normalisation
from nescio.refusal import rule_from_json
from nescio.refusal.wording import ASSUMPTION


def describe_model(path: Path) -> dict[str, str]:
    """What is in a model file, in plain words, in the order in which to tell it.

    Raises:
        ModelFileError: The file is missing, damaged, foreign or newer.
    """
    header = read_header(path)
    try:
        return _plain_words(path, header)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, NescioError):
            raise
        raise ModelFileError(f"{path}: the file's description is not valid ({error!r})") from error


def _plain_words(path: Path, header: Mapping[str, Any]) -> dict[str, str]:
    recipe, training = Recipe(**header["recipe"]), header["training"]
    classes = [str(name) for name in header["classes"]]
    random, words = _posterior(path, header)
    weight = recipe.effective_kl_weight(int(training["train_images"]))
    passes = len(training["history"])
    preprocessing = Preprocessing.from_json(header["preprocessing"])
    rule, calibrated = header["rule"], header["calibrated"]
    return {
        "network": f"{header['network']['name']}, {random:,} random parameters",
        "posterior": f"{recipe.posterior}: {words}",
        **_diagnostics(training),
        **_network(header),
        "images": preprocessing.describe(),
        **preprocessing.decoding.describe(),
        "classes": f"{len(classes)}: {', '.join(classes[:20])}{', ...' * (len(classes) > 20)}",
        "recipe": f"{recipe.name}, {passes} passes"
        + (f" (stopped early: {training['stopped']})" if training["stopped"] else ""),
        "prior": recipe.prior,
        "KL weight": "1 (the ELBO)" if weight == 1 else f"{weight:.4g} times the ELBO's",
        "familiarity": ", ".join(header["stages"]) or "not known",
        "rule": rule_from_json(rule).describe(),
        **(
            {}
            if calibrated in (None, rule)
            else {"--rule calibrated": rule_from_json(calibrated).describe()}
        ),
        "promise": "none; this model was not calibrated"
        if calibrated is None
        else str(calibrated.get("assumption", ASSUMPTION)),
        "data": f"{training['data']}, {training['train_images']:,} training and "
        f"{training['calibration_images']:,} calibration images",
        "data fingerprint": str(training["fingerprint"]),
        **_parts(training),
        **_fixed_split(training),
        **_groups(training),
        **_extra(training),
        "seed": str(training["seed"]),
        "versions": ", ".join(f"{name} {v}" for name, v in training["versions"].items()),
        "format": str(header["format"]),
    }


def _posterior(path: Path, header: Mapping[str, Any]) -> tuple[int, str]:
    """How many parameters are random, and what the posterior is; files of format 5 do not tell."""
    told = header.get("posterior")
    if told is not None:
        return int(told["random_parameters"]), str(told["description"])
    with open_safetensors(path) as file:
        sizes = [file.get_slice(n).get_shape() for n in file.keys() if n.startswith("loc/")]  # noqa: SIM118
    count = sum(map(math.prod, sizes))
    return count, f"an independent Normal for each of {count:,} weights"


def _diagnostics(training: Mapping[str, Any]) -> dict[str, str]:
    """Whether a chain converged, where there was one."""
    figures = training.get("diagnostics", {})
    told = ", ".join(f"{name} {float(value):.4g}" for name, value in figures.items())
    return {"convergence": told} if told else {}


def _network(header: Mapping[str, Any]) -> dict[str, str]:
    """What the network began with, and what is done to pixels before it; where there is any."""
    training, recipe = header["training"], header["recipe"]
    normalise = header["network"].get("normalise")
    weights = str(training.get("weights", ""))
    frozen = f", features of {recipe['views']} views of each image" * (recipe.get("views", 1) > 1)
    return {
        **({} if normalise is None else {"normalised by": str(Normalisation.from_json(normalise))}),
        **(
            {"weights": weights, "weights fingerprint": str(training["weights_fingerprint"])}
            if weights
            else {}
        ),
        **({"trunk": f"frozen{frozen}"} if recipe.get("freeze") else {}),
    }


def _parts(training: Mapping[str, Any]) -> dict[str, str]:
    """What the data set itself calls its parts, and which of its classes were left out."""
    names = training.get("part_names", {})
    told = ", ".join(f"{part} from {name}" for part, name in names.items())
    dropped = ", ".join(str(name) for name in training.get("dropped", ()))
    return {
        **({"parts": told} if told else {}),
        **({"left out as rare": dropped} if dropped else {}),
    }


def _fixed_split(training: Mapping[str, Any]) -> dict[str, str]:
    found = training.get("split_fingerprint")
    return {"split": f"fixed by a file, SHA-256 {found}"} if found else {}


def _groups(training: Mapping[str, Any]) -> dict[str, str]:
    """Which images belong together, where that was told."""
    found = training.get("grouped")
    if found is None:
        return {}
    how = "given with the images" if found["pattern"] is None else f"--group-by {found['pattern']}"
    if found["file"]:
        how = f"{found['file']}, SHA-256 {found['fingerprint']}"
    return {
        "groups": f"{found['count']:,}, {found['calibration']:,} of them for calibration, each in "
        f"one part of the split ({how})"
    }


def _extra(training: Mapping[str, Any]) -> dict[str, str]:
    """What was trained on beside the data set, which promises do not cover."""
    count = int(training.get("extra_images", 0))
    if not count:
        return {}
    return {
        "extra images": f"{count:,} of the training images, not from {training['data']}; promises "
        f"hold for images like those of {training['data']}",
        "extra fingerprint": str(training["extra_fingerprint"]),
    }
