"""Refusal rules: from sampled probabilities ``(S, N, C)`` to verdicts.

On the command line:

``median:0.2``
    The article's: a class is proposed when the median of its sampled probabilities
    exceeds 0.2; refused when none is. Any ``QUANTILE:THRESHOLD`` will do.
``calibrated``
    Two gates; the threshold of the first was set from calibration images.
``none``
    Never refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nescio.errors import RuleError
from nescio.refusal.decisions import Verdicts
from nescio.refusal.scores import mean_probability, mutual_information, quantile_probability
from nescio.refusal.sequential import mean_is_settled, share_is_settled

TINY = torch.finfo(torch.float32).tiny
"""Keeps a class without any probability from dividing by 0."""

UNSEEN_DIVERGENCE = 1.0
"""In nats: how far an unseen network that disagrees may be from the mean of all. Chosen by
simulation: with the threshold itself more decisions went wrong than stated, with 1 nat
fewer. It was then checked on other seeds, spreads and numbers of classes: at most 14 wrong
of 20,000 where 20 were stated. One whole disagreement is log(n + 1) and stops later."""


class Rule(Protocol):
    """Who decides whether there is an answer."""

    def __call__(self, probabilities: Tensor) -> Verdicts:
        """The verdicts for ``(S, N, C)`` sampled probabilities."""
        ...

    def settled(self, probabilities: Tensor, total: int, error: float) -> Tensor:
        """Whether the decision after ``total`` networks can be told from the first ``n``.

        Args:
            probabilities: ``(n, N, C)`` from the first ``n`` networks.
            total: How many networks there would be, more than ``n``.
            error: The chance that is allowed of telling a wrong one.

        Returns:
            ``(N,)`` bool on the CPU.
        """
        ...

    def describe(self) -> str:
        """The rule in one plain sentence."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON, for model files and results."""
        ...


@dataclass(frozen=True)
class QuantileRule:
    """Propose each class whose quantile of sampled probabilities exceeds a threshold.

    Attributes:
        quantile: In (0, 1); 0.5 is the median.
        threshold: In (0, 1).
    """

    quantile: float
    threshold: float

    def __post_init__(self) -> None:
        _check_unit_interval("quantile", self.quantile)
        _check_unit_interval("threshold", self.threshold)

    def __call__(self, probabilities: Tensor) -> Verdicts:
        """Refuse where no class is proposed; the answer is the one with the highest quantile."""
        heights = quantile_probability(probabilities, self.quantile)
        highest, top = heights.max(-1)
        proposed = heights > self.threshold
        refused = ~proposed.any(-1)
        doubt = 1.0 - highest
        return Verdicts(top, proposed, refused, torch.zeros_like(refused), doubt, doubt)

    def settled(self, probabilities: Tensor, total: int, error: float) -> Tensor:
        """Where for each class it is settled on which side of the threshold its quantile is.

        The quantile lies between two order statistics, so it is settled by how many
        networks are not above the threshold. Where several classes are proposed the
        answer is the highest of them, which no count tells: never settled.
        """
        place = (total - 1) * self.quantile
        below = probabilities <= self.threshold
        share = error / probabilities.shape[-1]
        proposed, _ = share_is_settled(below, total, math.floor(place), share)
        _, not_proposed = share_is_settled(below, total, math.ceil(place), share)
        return (proposed | not_proposed).all(-1) & (proposed.sum(-1) <= 1)

    def describe(self) -> str:
        """The rule in one plain sentence."""
        middle = "median" if self.quantile == 0.5 else f"{self.quantile:g} quantile"
        return (
            f"A class is proposed when the {middle} of its sampled probabilities exceeds "
            f"{self.threshold:g}; an image is refused when none is."
        )

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON."""
        return {"kind": "quantile", "quantile": self.quantile, "threshold": self.threshold}


@dataclass(frozen=True)
class NeverRefuse:
    """Always answer with the most probable class."""

    def __call__(self, probabilities: Tensor) -> Verdicts:
        """Accept everything."""
        top_probability, top = mean_probability(probabilities).max(-1)
        accepted = torch.zeros_like(top, dtype=torch.bool)
        proposed = torch.nn.functional.one_hot(top, probabilities.shape[-1]).bool()
        doubt = 1.0 - top_probability
        return Verdicts(top, proposed, accepted, accepted, doubt, doubt)

    def settled(self, probabilities: Tensor, total: int, error: float) -> Tensor:
        """Where the most probable class will stay ahead of every other."""
        top = mean_probability(probabilities).argmax(-1)
        of_top = probabilities.gather(-1, top.expand(len(probabilities), -1)[..., None])
        lead = of_top - probabilities
        _, ahead = mean_is_settled(lead, total, 0.0, error / probabilities.shape[-1], -1.0)
        own = torch.nn.functional.one_hot(top, probabilities.shape[-1]).bool()
        return (ahead | own).all(-1).cpu()

    def describe(self) -> str:
        """The rule in one plain sentence."""
        return "Every image is answered."

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON."""
        return {"kind": "none"}


@dataclass(frozen=True)
class CalibratedRule:
    """Two gates, for two reasons to refuse.

    *Unfamiliar*: the sampled networks disagree (mutual information) more than on all
    but a share ``max_refusal`` of the calibration images. *Ambiguous*: no class has a
    predictive probability above one half, so that any answer is more likely wrong
    than right (Chow 1970 with the cost of a refusal at one half).

    Attributes:
        threshold: On the mutual information, in nats; infinite when there were too
            few calibration images to promise ``max_refusal``: the gate is then off.
        max_refusal: The share of familiar images that the first gate may refuse.
        calibration_images: How many images the threshold was set from.
        samples: How many networks were sampled for it.
    """

    threshold: float
    max_refusal: float
    calibration_images: int
    samples: int

    def __call__(self, probabilities: Tensor) -> Verdicts:
        """Refuse what is unfamiliar, then what is ambiguous."""
        mean = mean_probability(probabilities)
        top_probability, top = mean.max(-1)
        disagreement = mutual_information(probabilities)
        unfamiliar = disagreement > self.threshold
        # A class at least half as probable as the best is a real alternative to it.
        proposed = (mean >= 0.5 * top_probability[:, None]) & ~unfamiliar[:, None]
        return Verdicts(
            top=top,
            proposed=proposed,
            ambiguous=(top_probability <= 0.5) & ~unfamiliar,
            unfamiliar=unfamiliar,
            ambiguity=1.0 - top_probability,
            unfamiliarity=disagreement,
        )

    def settled(self, probabilities: Tensor, total: int, error: float) -> Tensor:
        """Where both gates are settled, or the first is and refuses.

        The mutual information of all networks is predicted as the mean of each network's
        divergence from their mean, plus what the plug-in estimate lacks for so few
        networks (a half of sum Var(p) / E p over n, to first order).
        """
        n = len(probabilities)
        mean = mean_probability(probabilities)
        divergence = (
            torch.xlogy(probabilities, probabilities) - torch.xlogy(probabilities, mean)
        ).sum(-1)
        lacking = (probabilities.var(0) / mean.clamp_min(TINY)).sum(-1) / 2 * (1 / n - 1 / total)
        half = error / 2
        familiar, unfamiliar = mean_is_settled(
            divergence, total, self.threshold - lacking, half, UNSEEN_DIVERGENCE
        )
        _, likely = mean_is_settled(probabilities, total, 0.5, half, 0.0)
        unlikely, _ = mean_is_settled(probabilities, total, 0.5, half, 1.0)
        return (unfamiliar | (familiar & (likely.any(-1) | unlikely.all(-1)))).cpu()

    @property
    def familiarity_gate(self) -> bool:
        """Whether there were enough calibration images for the first gate."""
        return self.threshold != float("inf")

    def describe(self) -> str:
        """The rule in one plain sentence."""
        ambiguous = "An image is refused as ambiguous when no class is more likely than not"
        if not self.familiarity_gate:
            return (
                f"{ambiguous}; nothing is refused as unfamiliar, because "
                f"{self.calibration_images} calibration images are too few to promise at most "
                f"{_percent(self.max_refusal)} of familiar images."
            )
        return (
            f"{ambiguous}, and as unfamiliar when the sampled networks disagree more than "
            f"{self.threshold:.4g} nats; that gate refuses at most "
            f"{_percent(self.max_refusal)} of images like its {self.calibration_images} "
            "calibration images, on average over calibrations."
        )

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON; a gate that is off has the threshold null."""
        return {
            "kind": "calibrated",
            "score": "mutual_information",
            "threshold": self.threshold if self.familiarity_gate else None,
            "max_refusal": self.max_refusal,
            "calibration_images": self.calibration_images,
            "samples": self.samples,
        }


def parse_rule(text: str, calibrated: CalibratedRule | None = None) -> Rule:
    """Read a rule from its name: ``median:0.2``, ``0.1:0.5``, ``calibrated`` or ``none``.

    Args:
        text: The name.
        calibrated: What ``calibrated`` stands for; ``None`` when the model has none.

    Raises:
        RuleError: The name cannot be read, a number is outside (0, 1), or the model
            has no calibrated thresholds.
    """
    if text == "none":
        return NeverRefuse()
    if text == "calibrated":
        if calibrated is None:
            raise RuleError(
                "this model has no calibrated rule (its recipe kept no calibration images); "
                "use --rule median:0.2, or train it with --recipe default"
            )
        return calibrated
    quantile, colon, threshold = text.partition(":")
    if not colon:
        raise RuleError(
            f"unknown rule {text!r}: expected calibrated, none, or QUANTILE:THRESHOLD such as "
            "median:0.2 or 0.1:0.5"
        )
    return QuantileRule(
        0.5 if quantile == "median" else _number("quantile", quantile),
        _number("threshold", threshold),
    )


def rule_from_json(record: Mapping[str, Any]) -> Rule:
    """The rule that :meth:`Rule.to_json` wrote.

    Raises:
        RuleError: The record is of no kind known here, or lacks a part.
    """
    try:
        match record["kind"]:
            case "none":
                return NeverRefuse()
            case "quantile":
                return QuantileRule(float(record["quantile"]), float(record["threshold"]))
            case "calibrated":
                threshold = record["threshold"]
                return CalibratedRule(
                    float("inf") if threshold is None else float(threshold),
                    float(record["max_refusal"]),
                    int(record["calibration_images"]),
                    int(record["samples"]),
                )
    except (KeyError, TypeError, ValueError) as error:
        raise RuleError(f"a rule record is not complete: {error}") from error
    raise RuleError(f"unknown kind of rule {record['kind']!r}")


def _number(what: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RuleError(f"the {what} must be a number between 0 and 1, got {text!r}") from None


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _check_unit_interval(what: str, value: float) -> None:
    # Written so that NaN fails too.
    if not 0.0 < value < 1.0:
        raise RuleError(f"the {what} must be between 0 and 1 (both excluded), got {value:g}")
