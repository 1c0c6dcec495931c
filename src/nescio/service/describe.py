"""What is told of a model and of an answer."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from nescio.classifier import Classifier
from nescio.refusal import CalibratedRule, Rule
from nescio.service.batching import Answer
from nescio.service.limits import Limits
from nescio.service.models import Served

SAMPLES = 100
"""Networks drawn where neither the request nor a calibration names a number."""

QUANTILES = 512
"""Of the unfamiliarity of calibration images; as many values where these are fewer."""


def default_samples(classifier: Classifier, limits: Limits) -> int:
    """As many networks as the rule was calibrated with: for these its promises hold."""
    rule = classifier.rule
    own = rule.calibrated_on.samples if isinstance(rule, CalibratedRule) else SAMPLES
    return min(own, limits.samples)


def describe_served(served: Served, limits: Limits, formats: Sequence[str]) -> dict[str, Any]:
    """A model, as ``GET /v1/model`` gives it."""
    classifier = served.classifier
    record = classifier.record
    preprocessing = classifier.preprocessing
    return {
        "name": served.name,
        "classes": list(classifier.classes),
        "preprocessing": {**asdict(preprocessing), "description": preprocessing.describe()},
        "network": classifier.spec.name,
        "posterior": f"{classifier.recipe.posterior}: {classifier.guide.describe()}",
        "rule": {**classifier.rule.to_json(), "description": classifier.rule.describe()},
        "samples": default_samples(classifier, limits),
        "limits": {
            "body_bytes": limits.body_bytes,
            "pixels": limits.pixels,
            "images": limits.images,
            "samples": limits.samples,
            "seconds": limits.seconds,
            "formats": list(formats),
        },
        "trained_on": record.data,
        "training_images": record.train_images,
        "reference": None if classifier.reference is None else quantiles(classifier.reference),
        "promises": served.promises,
    }


def promise_notes(rule: Rule, samples: int, seed: int | None) -> list[str]:
    """Why the promises of a rule do not cover an answer, in sentences; none where they do."""
    if not isinstance(rule, CalibratedRule):
        return []
    own = rule.calibrated_on
    asked = {"samples": (samples, own.samples), "seed": (seed, own.seed)}
    return [
        f"the rule was calibrated with {name} {bound}, not {value}: its promises do not cover this"
        for name, (value, bound) in asked.items()
        if value not in (None, bound)
    ]


def quantiles(values: Tensor) -> list[float]:
    """At most :data:`QUANTILES` rising numbers, evenly spaced in rank; none that is infinite."""
    known = values[values.isfinite()].double().sort().values
    if len(known) <= QUANTILES:
        return [float(value) for value in known]
    shares = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    return [float(value) for value in known.quantile(shares)]


def prediction(name: str, answer: Answer, image: Tensor) -> dict[str, Any]:
    """One answer, as the contract has it.

    Args:
        name: What the image is called.
        answer: The answer.
        image: ``(K, H, W)`` uint8, what the network saw.
    """
    record = {"image": name, **answer.decision.to_json()}
    if answer.detail is None:
        return record
    channels, height, width = image.shape
    detail = answer.detail
    record["detail"] = {
        "sampled": [[round(p, 4) for p in row] for row in detail.sampled.tolist()],
        "settled_after": detail.settled_after,
        "input": {
            "width": width,
            "height": height,
            "channels": channels,
            "pixels": base64.b64encode(image.contiguous().numpy().tobytes()).decode(),
        },
        "doubt": _finite(detail.doubt),
        "unfamiliarity": _finite(detail.unfamiliarity),
        "top": detail.top,
    }
    return record


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
