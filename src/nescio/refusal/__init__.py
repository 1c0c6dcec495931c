"""Refusal: scores, rules, calibration, and the decisions that come out.

Read in this order: :mod:`decisions`, :mod:`scores`, :mod:`sequential`, :mod:`calibration`,
:mod:`risk`, :mod:`frontier`, :mod:`breakeven`, :mod:`calibrated`, :mod:`gates`, :mod:`promises`,
:mod:`wording`, :mod:`rules`.
Scores and rules are pure functions of the sampled probabilities ``(S, N, C)`` and of the
evidence ``(N, L, C)`` on how familiar the images are.
"""

from nescio.refusal.calibrated import CalibratedOn, CalibratedRule
from nescio.refusal.calibration import conformal_threshold, images_needed
from nescio.refusal.decisions import Decision, Decisions, Reason, Verdicts
from nescio.refusal.frontier import Frontier, find_frontier
from nescio.refusal.gates import CalibrationScores, calibrate
from nescio.refusal.promises import RISKS, KeptScores, PromiseRow, promise_table
from nescio.refusal.risk import calibration_needed, certify, check_promise
from nescio.refusal.rules import (
    NeverRefuse,
    QuantileRule,
    Rule,
    parse_rule,
    rule_from_json,
)
from nescio.refusal.scores import (
    DOUBTS,
    answer,
    class_unfamiliarity,
    entropy,
    error_probability,
    expected_entropy,
    joint_probability,
    mean_probability,
    mutual_information,
    p_value,
    predictive_entropy,
    quantile_probability,
    variation_ratio,
    winner_shortfall,
)
from nescio.refusal.sequential import looks_before

__all__ = [
    "DOUBTS",
    "RISKS",
    "CalibratedOn",
    "CalibratedRule",
    "CalibrationScores",
    "Decision",
    "Decisions",
    "Frontier",
    "KeptScores",
    "NeverRefuse",
    "PromiseRow",
    "QuantileRule",
    "Reason",
    "Rule",
    "Verdicts",
    "answer",
    "calibrate",
    "calibration_needed",
    "certify",
    "check_promise",
    "class_unfamiliarity",
    "conformal_threshold",
    "entropy",
    "error_probability",
    "expected_entropy",
    "find_frontier",
    "images_needed",
    "joint_probability",
    "looks_before",
    "mean_probability",
    "mutual_information",
    "p_value",
    "parse_rule",
    "predictive_entropy",
    "promise_table",
    "quantile_probability",
    "rule_from_json",
    "variation_ratio",
    "winner_shortfall",
]
