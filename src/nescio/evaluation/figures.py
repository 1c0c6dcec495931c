"""From decisions to columns, and from columns to figures with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from nescio.errors import DataError, UsageError
from nescio.evaluation.bootstrap import (
    RESAMPLES,
    Array,
    consistent,
    mirrored,
    observed,
    percentiles,
    resampled,
)
from nescio.evaluation.calibration import Forced, brier
from nescio.evaluation.detection import Detection
from nescio.evaluation.intervals import Interval, between_counts, exact_share
from nescio.evaluation.selective import COVERAGES, CURVE, RISKS, Selective, answered
from nescio.evaluation.study import (
    AMBIGUOUS,
    MOST_PROBABILITIES,
    UNFAMILIAR,
    Answers,
    Column,
    ForcedFigures,
    JudgedSet,
    RiskCurve,
    SelectiveFigures,
    ShiftedFigures,
    StudiedRule,
)
from nescio.refusal import Decisions, QuantileRule, Reason, Rule, Verdicts


def judged_set(
    name: str,
    decisions: Sequence[Decisions],
    *,
    labels: Tensor | None = None,
    names: Sequence[str] = (),
    fingerprint: str = "",
) -> JudgedSet:
    """The columns of a set.

    Args:
        name: What it is called.
        decisions: Of each rule, from the same sampled networks.
        labels: ``(N,)`` int64, indices into the classes of the decisions, if known.
        names: One for each image; empty for ``NAME[0]``, ``NAME[1]``, ...
        fingerprint: SHA-256 of the images.

    Returns:
        The columns, with all probabilities whatever their number.

    Raises:
        DataError: There is no image.
    """
    first = decisions[0]
    if not len(first):
        raise DataError(f"{name}: no image to evaluate on")
    probability = first.probability.numpy().astype(np.float32, copy=False)
    truth = None if labels is None else labels.numpy().astype(np.int32)
    of_label = None if truth is None else probability[np.arange(len(truth)), truth]
    return JudgedSet(
        name=name,
        fingerprint=fingerprint,
        names=tuple(names) or tuple(f"{name}[{i}]" for i in range(len(first))),
        labels=truth,
        forced=first.forced.numpy().astype(np.int32),
        predicted=probability.argmax(1).astype(np.int32),
        confidence=probability.max(1),
        label_probability=of_label,
        brier=None if truth is None else brier(truth, probability).astype(np.float32),
        probability=probability,
        samples=first.samples.numpy().astype(np.int32),
        answers=tuple(_answers(each.verdicts) for each in decisions),
    )


def compact(judged: JudgedSet, *, test: bool) -> JudgedSet:
    """Leave out the probabilities where a study does not keep them."""
    every = judged.probability
    keep = test and every is not None and every.size <= MOST_PROBABILITIES
    return judged if keep else replace(judged, probability=None)


def _answers(verdicts: Verdicts) -> Answers:
    fate = AMBIGUOUS * verdicts.ambiguous.int() + UNFAMILIAR * verdicts.unfamiliar.int()
    return Answers(
        top=verdicts.top.numpy().astype(np.int32),
        # Should a rule say both, the image is unfamiliar.
        fate=fate.clamp_max(UNFAMILIAR).numpy().astype(np.int8),
        doubt=verdicts.ambiguity.numpy().astype(np.float32),
        unfamiliarity=verdicts.unfamiliarity.numpy().astype(np.float32),
        nearest=verdicts.nearest.numpy().astype(np.int32),
        stage=verdicts.stage.numpy().astype(np.int8),
    )


def rule_name(rule: Rule) -> str:
    """The rule as it is called on the command line."""
    if isinstance(rule, QuantileRule):
        quantile = "median" if rule.quantile == 0.5 else f"{rule.quantile:g}"
        return f"{quantile}:{rule.threshold:g}"
    return str(rule.to_json()["kind"])


def count_reasons(fate: Column) -> dict[str, int]:
    """How many images were refused for each reason."""
    return {
        Reason.AMBIGUOUS.value: int((fate == AMBIGUOUS).sum()),
        Reason.UNFAMILIAR.value: int((fate == UNFAMILIAR).sum()),
    }


def forced_figures(test: JudgedSet, *, resamples: int = RESAMPLES, seed: int = 0) -> ForcedFigures:
    """Figures of a model that always answers, on a set with labels and all probabilities.

    Args:
        test: The set.
        resamples: Of the bootstrap.
        seed: Of the resamples.
    """
    check_resamples(resamples)
    statistics, size = Forced.of(test), len(test)
    assert test.probability is not None  # noqa: S101 - all probabilities were asked for
    values = {name: float(value) for name, value in observed(statistics, size).items()}
    drawn = resampled(statistics, size, resamples=resamples, seed=seed)
    calibrated = consistent(statistics.had, test.probability, resamples=resamples, seed=seed)
    return ForcedFigures(
        accuracy=share((test.forced == test.labels).sum(), size),
        nll=percentiles(values["nll"], drawn["nll"]),
        brier=percentiles(values["brier"], drawn["brier"]),
        **{name: mirrored(values[name], drawn[name], calibrated[name]) for name in calibrated},
    )


def selective_figures(
    test: JudgedSet, rule: int = 0, *, resamples: int = RESAMPLES, seed: int = 0
) -> SelectiveFigures:
    """What one rule is worth on a set with labels; see :func:`forced_figures`.

    Error rates at a coverage have exact intervals: given the threshold that lets so many
    through, each of them is wrong or not.
    """
    check_resamples(resamples)
    answers, size = test.answers[rule], len(test)
    right = answers.top == test.labels
    values = observed(Selective.of(right, answers.doubt, COVERAGES + CURVE), size)
    statistics = Selective.of(right, answers.doubt, coverages=())
    drawn = resampled(statistics, size, resamples=resamples, seed=seed)
    counts = answered(np.array(COVERAGES + CURVE), size)
    risks = [
        between_counts(float(risk * count), int(count))
        for risk, count in zip(values["risk_at_coverage"], counts, strict=True)
    ]
    accepted = answers.accepted
    return SelectiveFigures(
        coverage=share(accepted.sum(), size),
        refused=size - int(accepted.sum()),
        reasons=count_reasons(answers.fate),
        accepted_accuracy=exact_share(int((right & accepted).sum()), int(accepted.sum())),
        **{
            name: percentiles(float(values[name]), drawn[name])
            for name in ("aurc", "augrc", "excess_aurc")
        },
        risk_at_coverage=dict(zip(COVERAGES, risks, strict=False)),
        coverage_at_risk={
            risk: percentiles(float(value), drawn["coverage_at_risk"][:, k])
            for k, (risk, value) in enumerate(zip(RISKS, values["coverage_at_risk"], strict=True))
        },
        curve=_curve(counts[len(COVERAGES) :] / size, risks[len(COVERAGES) :]),
    )


def _curve(coverage: Array, risks: Sequence[Interval]) -> RiskCurve:
    # With few images several of the coverages stand for as many of them.
    _, first = np.unique(coverage, return_index=True)
    ends = np.array([(risk.value, risk.low, risk.high) for risk in risks])[first]
    return RiskCurve(coverage[first], *ends.T)


def shifted_figures(
    test: JudgedSet,
    shifted: JudgedSet,
    rule: int = 0,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ShiftedFigures:
    """How one rule fares on a shifted set; the bootstrap resamples both sets.

    Where all resamples agree it knows no doubt, so two intervals are widened by exact ones. FPR95
    is a share of the shifted images, given the threshold. And where every pair of images is in
    order (AUROC 1), so are min(N, M) pairs that share no image, all of as many independent ones.
    """
    check_resamples(resamples)
    answers, size = shifted.answers[rule], len(shifted)
    statistics = Detection.of(test.answers[rule].unfamiliarity, answers.unfamiliarity)
    sizes = len(test), size
    values = observed(statistics, *sizes)
    drawn = resampled(statistics, *sizes, resamples=resamples, seed=seed)
    figures = {name: percentiles(float(value), drawn[name]) for name, value in values.items()}
    figures["fpr95"] = _widened(figures["fpr95"], size)
    if figures["auroc"].value in (0.0, 1.0):
        figures["auroc"] = _widened(figures["auroc"], min(sizes))
    accepted = answers.accepted
    right = None if shifted.labels is None else accepted & (answers.top == shifted.labels)
    return ShiftedFigures(
        n=size,
        refused=size - int(accepted.sum()),
        refusal_rate=share(size - accepted.sum(), size),
        reasons=count_reasons(answers.fate),
        **figures,
        accepted_accuracy=None
        if right is None
        else exact_share(int(right.sum()), int(accepted.sum())),
    )


def _widened(interval: Interval, total: int) -> Interval:
    """To what is exact for as large a share of ``total``."""
    exact = between_counts(interval.value * total, total)
    return Interval(interval.value, min(interval.low, exact.low), max(interval.high, exact.high))


def studied_rule(
    rule: Rule,
    place: int,
    test: JudgedSet,
    shifted: Mapping[str, JudgedSet],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StudiedRule:
    """A rule with all its figures.

    Args:
        rule: The rule.
        place: Where its answers stand in those of each set.
        test: The test set, with labels.
        shifted: The shifted sets, by name.
        resamples: Of the bootstrap.
        seed: Of the resamples.
    """
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    return StudiedRule(
        name=rule_name(rule),
        record=rule.to_json(),
        text=rule.describe(),
        figures=selective_figures(test, place, **options),
        shifted={
            name: shifted_figures(test, other, place, **options) for name, other in shifted.items()
        },
    )


def share(count: int, total: int) -> Interval:
    """As :func:`nescio.evaluation.intervals.exact_share`, where there are images."""
    return between_counts(int(count), total)


def check_resamples(resamples: int) -> None:
    """Refuse an interval of nothing.

    Raises:
        UsageError: ``resamples`` is below 1.
    """
    if resamples < 1:
        raise UsageError(f"the bootstrap needs at least 1 resample, got {resamples}")
