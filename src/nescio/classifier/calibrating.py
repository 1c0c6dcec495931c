"""Calibrate a classifier on images held out of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from nescio.classifier.classifier import SAMPLES, Classifier
from nescio.classifier.fingerprint import posterior_digest
from nescio.classifier.sets import calibration_set
from nescio.data import DataLike, ImageSet, one_of_each
from nescio.devices import choose_precision
from nescio.errors import DataError, RuleError
from nescio.progress import SILENT, Reporter
from nescio.randomness import Stream, generator
from nescio.ranks import SOLO, Ranks, gather_rows, share_of
from nescio.refusal import (
    CalibratedOn,
    CalibratedRule,
    CalibrationScores,
    KeptScores,
    answer,
    calibrate,
    calibration_needed,
    check_promise,
    class_unfamiliarity,
    conformal_threshold,
    images_needed,
    joint_probability,
)
from nescio.refusal.calibrated import DOUBT

MAX_REFUSAL = 0.01
"""The share of familiar images that may be refused, unless told otherwise."""

MOST_REFUSAL = 0.1
"""With too few calibration images for :data:`MAX_REFUSAL` the smallest share that they can promise
takes its place, if it is at most this."""

CONFIDENCE = 0.95
"""With which a risk is promised, unless told otherwise."""


@dataclass(frozen=True)
class Promises:
    """What a user asks of the calibrated rule.

    Attributes:
        max_refusal: The share of familiar images that may be refused, see
            :func:`nescio.refusal.calibrate`; ``None`` for what :meth:`budget` finds.
        max_risk: The error rate to promise among accepted familiar images; ``None`` for none.
        confidence: With which it is promised.
        per_class: Whether both are promised for each class.

    Raises:
        RuleError: A share is outside (0, 1).
    """

    max_refusal: float | None = None
    max_risk: float | None = None
    confidence: float = CONFIDENCE
    per_class: bool = False

    def __post_init__(self) -> None:
        conformal_threshold(torch.zeros(0), self.budget(0))
        check_promise(self.max_risk, self.confidence)

    def budget(self, images: int) -> float:
        """The share of familiar images that may be refused.

        What was asked for; else 1 %, or with fewer images than that takes the smallest share (in
        thousandths) that they can promise: a gate that lets a little more of the familiar go is
        better than none.

        Args:
            images: Calibration images, of the rarest class where promises are made for each.
        """
        if self.max_refusal is not None:
            return self.max_refusal
        smallest = math.ceil(1000 / (images + 1) - 1e-9) / 1000
        return smallest if MAX_REFUSAL < smallest <= MOST_REFUSAL else MAX_REFUSAL

    def check_images(self, images: int, classes: int, *, grouped: bool = False) -> None:
        """Refuse a promise of risk that so few images cannot give, before any work is done.

        Args:
            images: For calibration.
            classes: How many.
            grouped: Whether each image stands for a group.

        Raises:
            RuleError: There are too few.
        """
        if self.max_risk is None:
            return
        tests = classes if self.per_class else 1
        each = 1 - (1 - self.confidence) / tests
        needed = calibration_needed(self.max_risk, each) * tests
        if images < needed:
            per_class = " for each class" if self.per_class else ""
            units = "groups (of each one image counts)" if grouped else "images"
            raise RuleError(
                f"no valid threshold: {images:,} calibration {units} cannot promise at most "
                f"{100 * self.max_risk:g} % errors{per_class} with {100 * self.confidence:g} % "
                f"confidence; even without an error {needed:,} familiar ones are needed. Give "
                f"more {'groups' if grouped else 'images'}, or a larger --max-risk"
            )


@torch.no_grad()
def calibrate_classifier(
    classifier: Classifier,
    calibration: DataLike,
    promises: Promises,
    *,
    samples: int = SAMPLES,
    reporter: Reporter = SILENT,
    ranks: Ranks = SOLO,
) -> Classifier:
    """The classifier with thresholds set from ``calibration``, and that rule in force.

    Args:
        classifier: With a familiarity model.
        calibration: Labelled familiar images that it was not trained on, every class among them;
            what is no image set is one by :func:`nescio.classifier.calibration_set`. Where it is
            known which belong together, one image of each group counts, drawn by the
            classifier's seed: groups are what is exchangeable then, and what is promised holds for
            an image of a new group.
        promises: What to promise.
        samples: How many networks are drawn for each image.
        reporter: Told of progress, and of promises that cannot be made.
        ranks: The processes that share the images; each gets the same thresholds, of all images.

    Raises:
        DataError: A class has no image, or there is none.
        RuleError: The classifier does not know what is familiar, or there are too few images
            for the promise.
    """
    if not isinstance(calibration, ImageSet):
        calibration = calibration_set(classifier, calibration, reporter)
    labels = calibration.require_labels()
    present = torch.bincount(labels, minlength=len(classifier.classes))
    missing = (present == 0).nonzero().flatten().tolist()
    if missing:
        raise DataError(
            f"{calibration.name}: class {classifier.classes[missing[0]]!r} has no calibration "
            "image; give some of every class"
        )
    seed, grouped = classifier.record.seed, calibration.groups is not None
    units = one_of_each(calibration, generator(seed, Stream.GROUP))
    promises.check_images(len(units), len(classifier.classes), grouped=grouped)
    rarest = torch.bincount(units.require_labels(), minlength=len(classifier.classes)).min()
    max_refusal = promises.budget(int(rarest) if promises.per_class else len(units))
    order = torch.randperm(len(units), generator=generator(seed, Stream.CALIBRATION))
    scores = _scores(classifier, units, order, samples, reporter=reporter, ranks=ranks)
    precision = choose_precision(classifier.precision, classifier.device)
    rule = calibrate(
        scores,
        CalibratedOn(
            data=calibration.name,
            images=len(units),
            fingerprint=calibration.fingerprint(),
            posterior=posterior_digest(classifier),
            samples=samples,
            seed=seed,
            precision=str(precision).removeprefix("torch."),
            grouped=grouped,
        ),
        max_refusal=max_refusal,
        max_risk=promises.max_risk,
        confidence=promises.confidence,
        per_class=promises.per_class,
    )
    _tell_refusals(promises, max_refusal, rule, reporter)
    if promises.max_risk is not None and not rule.keeps_promise:
        reporter.note(no_threshold(rule))
    record = classifier.record
    hashes = replace(calibration, images=classifier.prepare(calibration)).hashes()
    return replace(
        classifier,
        calibrated=rule,
        rule=rule,
        reference=scores.unfamiliarity.min(-1).values.sort().values,
        kept=KeptScores.of(scores),
        # So that evaluations leave these images out, too.
        record=replace(record, seen=torch.cat([record.seen, hashes]).unique()),
    )


def no_threshold(rule: CalibratedRule) -> str:
    """What to tell of a rule whose promised risk no threshold keeps."""
    assert rule.max_risk is not None  # noqa: S101 - it promises one
    return (
        f"no valid threshold: none promises at most {100 * rule.max_risk:g} % errors with "
        f"{100 * rule.confidence:g} % confidence on {rule.calibrated_on.counted}, so "
        f"nothing would be answered; give more {_units(rule)}, or a larger --max-risk"
    )


def _tell_refusals(
    promises: Promises, max_refusal: float, rule: CalibratedRule, reporter: Reporter
) -> None:
    """A note where there were too few images for the share asked for, or for the usual one."""
    wanted = MAX_REFUSAL if promises.max_refusal is None else promises.max_refusal
    images, more = rule.calibrated_on.counted, _units(rule)
    each = " of each class" if promises.per_class else ""
    if not rule.familiarity_gate:
        reporter.note(
            f"{images} are too few to promise that at most {100 * max_refusal:g} % of familiar "
            f"images are refused ({images_needed(max_refusal)}{each} are needed): nothing will be "
            f"refused as unfamiliar; give more {more}, or a larger --max-refusal"
        )
    elif max_refusal != wanted:
        reporter.note(
            f"{images} are too few to promise that at most {100 * wanted:g} % of familiar images "
            f"are refused ({images_needed(wanted)}{each} are needed): at most "
            f"{100 * max_refusal:g} % are promised; give more {more}, or a --max-refusal"
        )


def _units(rule: CalibratedRule) -> str:
    return "groups" if rule.calibrated_on.grouped else "images"


def _scores(
    classifier: Classifier,
    calibration: ImageSet,
    order: torch.Tensor,
    samples: int,
    *,
    reporter: Reporter,
    ranks: Ranks,
) -> CalibrationScores:
    """Of all images, each process those of its share."""
    labels = calibration.require_labels()[order]
    shuffled = calibration.subset(order[share_of(ranks, len(order))])
    none = torch.zeros(0, len(classifier.classes))
    parts = [(none, none[:, 0], none[:, 0].long())]
    for logits, evidence in classifier.predictor(keep=0).stream_judged(
        classifier.prepare(shuffled),
        judges=True,
        samples=samples,
        reporter=reporter,
        description="calibrating",
    ):
        assert evidence is not None  # noqa: S101 - asked for
        by_class = class_unfamiliarity(evidence)
        joint = joint_probability(logits.softmax(-1).cpu(), by_class)
        top, doubt = answer(joint, DOUBT)
        parts.append((by_class, doubt, top))
    unfamiliarity, doubt, top = (
        torch.cat(gather_rows(ranks, torch.cat(part))) for part in zip(*parts, strict=True)
    )
    return CalibrationScores(unfamiliarity, doubt, top, labels)
