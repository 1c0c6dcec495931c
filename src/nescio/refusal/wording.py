"""A calibrated rule and what it promises, in plain sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nescio.refusal.risk import risk_bound

if TYPE_CHECKING:
    from nescio.refusal.calibrated import CalibratedRule

ASSUMPTION = (
    "Promises hold for images that are exchangeable with the calibration images; that others are "
    "refused is measured, not promised."
)

GROUPED = (
    "Promises hold for an image drawn from a new group, each group counting alike, where new "
    "groups are exchangeable with the calibration groups, of each of which one image counts; that "
    "others are refused is measured, not promised."
)


def assumption(rule: CalibratedRule) -> str:
    """Behind the promises of a rule."""
    return GROUPED if rule.calibrated_on.grouped else ASSUMPTION


def describe(rule: CalibratedRule) -> str:
    """The rule, its promises and the assumption behind them."""
    if rule.frontier is not None:
        return " ".join([_budget(rule), assumption(rule)])
    return " ".join([_familiarity(rule), _ambiguity(rule), assumption(rule)])


def _budget(rule: CalibratedRule) -> str:
    half = percent(rule.max_refusal / 2)
    return (
        "An image is refused as unfamiliar when, judged by all stages of the network, it is "
        f"stranger than all but {half} of its {rule.calibrated_on.counted}; "
        "and else when its unfamiliarity and the doubt about its class are together rarer than "
        "they allow, with the rarer of the two as the reason. In all that refuses at most "
        f"{percent(rule.max_refusal)} of familiar images, on average over calibrations. No error "
        "rate is promised (--max-risk)."
    )


def _familiarity(rule: CalibratedRule) -> str:
    share, counted = percent(rule.max_refusal), rule.calibrated_on.counted
    if not rule.familiarity_gate:
        return (
            f"Nothing is refused as unfamiliar: {counted} are too few to "
            f"promise at most {share} of familiar images."
        )
    whose = "of the familiar images of each class" if rule.per_class else "of familiar images"
    return (
        "An image is refused as unfamiliar when, judged by all stages of the network, it is "
        f"stranger than its {counted} allow; that gate refuses at most "
        f"{share} {whose}, on average over calibrations."
    )


def _ambiguity(rule: CalibratedRule) -> str:
    if rule.max_risk is None:
        score = rule.doubt.replace("_", " ")
        return (
            f"It is refused as ambiguous when its {score} is above {max(rule.doubtful):.3g}; no "
            "error rate is promised (--max-risk)."
        )
    risk, confidence = percent(rule.max_risk), percent(rule.confidence)
    if not rule.keeps_promise:
        return (
            f"No valid threshold: none promises at most {risk} errors with {confidence} "
            "confidence, so nothing is answered."
        )
    if len(rule.doubtful) > 1:
        silent = sum(limit == -math.inf for limit in rule.doubtful)
        rest = f" ({silent} classes, without a valid threshold, are never answered)"
        return (
            f"Of familiar images answered with any one class at most {risk} are wrong, with "
            f"{confidence} confidence for all classes at once{rest if silent else ''}."
        )
    units = "groups" if rule.calibrated_on.grouped else "images"
    bound = risk_bound(rule.errors[0], rule.accepted[0], rule.confidence)
    return (
        f"Of familiar images that are answered at most {risk} are wrong, with {confidence} "
        f"confidence: of {rule.accepted[0]:,} calibration {units} accepted {rule.errors[0]} "
        f"were wrong, which bounds the error rate by {100 * bound:.2g} %."
    )


def percent(share: float) -> str:
    """A share as it was given: ``0.002`` as ``0.2 %``."""
    return f"{100 * share:g} %"
