"""Refusal rules: from sampled probabilities ``(S, N, C)`` to verdicts.

On the command line:

``median:0.2``
    The article's: a class is proposed when the median of its sampled probabilities
    exceeds 0.2; refused when none is. Any ``QUANTILE:THRESHOLD`` will do.
``calibrated``
    Two gates, set from calibration images; see :mod:`nescio.refusal.calibrated`.
``none``
    Never refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from nescio.errors import RuleError
from nescio.refusal.calibrated import CalibratedRule
from nescio.refusal.decisions import Verdicts
from nescio.refusal.scores import mean_probability, quantile_probability
from nescio.refusal.sequential import mean_is_settled, share_is_settled


class Rule(Protocol):
    """Who decides whether there is an answer."""

    @property
    def needs_evidence(self) -> bool:
        """Whether it judges how familiar the images are."""
        ...

    def __call__(self, probabilities: Tensor, evidence: Tensor | None = None) -> Verdicts:
        """The verdicts for ``(S, N, C)`` sampled probabilities.

        Args:
            probabilities: ``(S, N, C)``.
            evidence: ``(N, L, C)``, see :mod:`nescio.familiarity`; for rules that need it.
        """
        ...

    def settled(
        self, probabilities: Tensor, evidence: Tensor | None, total: int, error: float
    ) -> Tensor:
        """Whether the decision after ``total`` networks can be told from the first ``n``.

        Args:
            probabilities: ``(n, N, C)`` from the first ``n`` networks.
            evidence: ``(N, L, C)``, for rules that need it.
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

    needs_evidence: ClassVar[bool] = False

    def __call__(
        self,
        probabilities: Tensor,
        evidence: Tensor | None = None,  # noqa: ARG002 - this rule needs none
    ) -> Verdicts:
        """Refuse where no class is proposed; the answer is the one with the highest quantile."""
        heights = quantile_probability(probabilities, self.quantile)
        highest, top = heights.max(-1)
        proposed = heights > self.threshold
        refused = ~proposed.any(-1)
        doubt = 1.0 - highest
        return _verdicts(top, proposed, refused, doubt)

    def settled(
        self,
        probabilities: Tensor,
        evidence: Tensor | None,  # noqa: ARG002 - this rule needs none
        total: int,
        error: float,
    ) -> Tensor:
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

    needs_evidence: ClassVar[bool] = False

    def __call__(
        self,
        probabilities: Tensor,
        evidence: Tensor | None = None,  # noqa: ARG002 - this rule needs none
    ) -> Verdicts:
        """Accept everything."""
        top_probability, top = mean_probability(probabilities).max(-1)
        accepted = torch.zeros_like(top, dtype=torch.bool)
        proposed = torch.nn.functional.one_hot(top, probabilities.shape[-1]).bool()
        doubt = 1.0 - top_probability
        return _verdicts(top, proposed, accepted, doubt)

    def settled(
        self,
        probabilities: Tensor,
        evidence: Tensor | None,  # noqa: ARG002 - this rule needs none
        total: int,
        error: float,
    ) -> Tensor:
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
                "this model has no calibrated rule (its recipe kept no calibration images, or "
                "calibration failed); use the rule median:0.2, or train anew with "
                "train --recipe default"
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
                return CalibratedRule.from_json(record)
    except (KeyError, TypeError, ValueError) as error:
        raise RuleError(f"a rule record is not complete: {error}") from error
    raise RuleError(f"unknown kind of rule {record['kind']!r}")


def _verdicts(top: Tensor, proposed: Tensor, ambiguous: Tensor, doubt: Tensor) -> Verdicts:
    """Of a rule with one score, which does not judge familiarity."""
    nothing = torch.full_like(top, -1)
    return Verdicts(
        top=top,
        proposed=proposed,
        ambiguous=ambiguous,
        unfamiliar=torch.zeros_like(ambiguous),
        ambiguity=doubt,
        unfamiliarity=doubt,
        nearest=nothing,
        stage=nothing,
    )


def _number(what: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RuleError(f"the {what} must be a number between 0 and 1, got {text!r}") from None


def _check_unit_interval(what: str, value: float) -> None:
    # Written so that NaN fails too.
    if not 0.0 < value < 1.0:
        raise RuleError(f"the {what} must be between 0 and 1 (both excluded), got {value:g}")
