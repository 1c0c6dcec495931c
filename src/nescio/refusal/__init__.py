"""Refusal: scores, rules, calibration, and the decisions that come out.

Read in this order: :mod:`decisions`, :mod:`scores`, :mod:`sequential`, :mod:`rules`,
:mod:`calibration`.
Scores and rules are pure functions of the sampled probabilities ``(S, N, C)``.
"""

from nescio.refusal.calibration import conformal_threshold, images_needed
from nescio.refusal.decisions import Decision, Decisions, Reason, Verdicts
from nescio.refusal.rules import (
    CalibratedRule,
    NeverRefuse,
    QuantileRule,
    Rule,
    parse_rule,
    rule_from_json,
)
from nescio.refusal.scores import (
    entropy,
    expected_entropy,
    mean_probability,
    mutual_information,
    predictive_entropy,
    quantile_probability,
)
from nescio.refusal.sequential import looks_before

__all__ = [
    "CalibratedRule",
    "Decision",
    "Decisions",
    "NeverRefuse",
    "QuantileRule",
    "Reason",
    "Rule",
    "Verdicts",
    "conformal_threshold",
    "entropy",
    "expected_entropy",
    "images_needed",
    "looks_before",
    "mean_probability",
    "mutual_information",
    "parse_rule",
    "predictive_entropy",
    "quantile_probability",
    "rule_from_json",
]
