"""Judge a classifier: on images that it may be judged on, and on strange ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nescio.classifier.classifier import SAMPLES, Classifier
from nescio.classifier.fingerprint import posterior_digest
from nescio.data import ImageSet
from nescio.errors import DataError, UsageError
from nescio.evaluation import (
    RESAMPLES,
    Evaluation,
    JudgedSet,
    ModelCard,
    Study,
    TrainingPass,
    evaluation_of,
)
from nescio.evaluation.figures import (
    check_resamples,
    compact,
    forced_figures,
    judged_set,
    rule_name,
    studied_rule,
)
from nescio.progress import SILENT, Reporter
from nescio.refusal import Decisions, Rule

RuleLike = Rule | str | None
"""A rule, its name, or ``None`` for the one in force."""


@dataclass(frozen=True)
class Judgement:
    """A study with the images and the decisions that it was drawn from.

    Attributes:
        study: The figures and columns; without images to show, and without corruptions.
        test: The test images.
        decisions: The decisions on them, by the first rule.
        shifted: The out-of-distribution sets with the decisions on them, by name.
    """

    study: Study
    test: ImageSet
    decisions: Decisions
    shifted: Mapping[str, tuple[ImageSet, Decisions]]

    @property
    def evaluation(self) -> Evaluation:
        """The figures of the first rule."""
        return evaluation_of(self.study)


def judge(
    classifier: Classifier,
    test: ImageSet,
    shifted: Mapping[str, ImageSet],
    *,
    rule: RuleLike = None,
    also: Sequence[RuleLike] = (),
    samples: int = SAMPLES,
    seed: int | None = None,
    resamples: int = RESAMPLES,
    reporter: Reporter = SILENT,
) -> Judgement:
    """Decide on every set, and count what the decisions were worth.

    Args:
        classifier: The one to judge.
        test: Labelled familiar images, see :func:`familiar_set`.
        shifted: Out-of-distribution sets by name, see :func:`shifted_sets`.
        rule: A rule or its name; ``None`` for the one in force.
        also: More rules, judged by the same sampled networks.
        samples: How many networks are drawn.
        seed: Of the networks and of the bootstrap; ``None`` for the seed that the classifier
            was fitted with.
        resamples: Of the bootstrap behind each interval that is not exact.
        reporter: Told of progress.

    Raises:
        DataError: A set is empty, or the test set has no labels.
        UsageError: A rule comes twice.
    """
    check_resamples(resamples)
    rules = [classifier.choose_rule(each) for each in (rule, *also)]
    names = [rule_name(each) for each in rules]
    if len(set(names)) < len(names):
        raise UsageError(f"each rule can be judged once, got {', '.join(names)}")
    seed = classifier.record.seed if seed is None else seed
    seconds: dict[str, float] = {}
    test.require_labels()
    for images in (test, *shifted.values()):
        if not len(images):
            raise DataError(
                f"{images.name}: no image to evaluate on: it is empty, or training and calibration "
                "took all; name another set"
            )

    def decide(images: ImageSet, name: str) -> list[Decisions]:
        start = time.perf_counter()
        decisions = decide_each(
            classifier,
            images,
            rules,
            samples=samples,
            seed=seed,
            reporter=reporter,
            description=name,
        )
        seconds[name] = round(time.perf_counter() - start, 3)
        return decisions

    decisions = decide(test, test.name)
    others = {name: decide(images, name) for name, images in shifted.items()}
    judged = _columns(classifier, test, test.name, decisions)
    judged_others = {
        name: compact(_columns(classifier, shifted[name], name, each), test=False)
        for name, each in others.items()
    }
    start = time.perf_counter()
    with reporter.task("intervals", 1 + len(rules), "bootstraps") as task:
        forced = forced_figures(judged, resamples=resamples, seed=seed)
        task.advance()
        studied = []
        for place, each in enumerate(rules):
            studied.append(
                studied_rule(each, place, judged, judged_others, resamples=resamples, seed=seed)
            )
            task.advance()
    seconds["intervals"] = round(time.perf_counter() - start, 3)
    study = Study(
        model=model_card(classifier),
        classes=classifier.classes,
        samples=samples,
        seed=seed,
        resamples=resamples,
        test=compact(judged, test=True),
        shifted=judged_others,
        forced=forced,
        rules=tuple(studied),
        seconds=seconds,
    )
    first = {name: (shifted[name], each[0]) for name, each in others.items()}
    return Judgement(study, test, decisions[0], first)


def decide_each(
    classifier: Classifier,
    images: ImageSet,
    rules: Sequence[Rule],
    *,
    samples: int,
    seed: int,
    reporter: Reporter = SILENT,
    description: str = "predicting",
) -> list[Decisions]:
    """The decisions of several rules, from the same sampled networks.

    Args:
        classifier: The one to ask.
        images: At least one.
        rules: At least one.
        samples: How many networks are drawn, all for every image.
        seed: Of the networks.
        reporter: Told of progress.
        description: What the progress bar says.
    """
    parts: list[list[Decisions]] = [[] for _ in rules]
    for logits, evidence in classifier.predictor(keep=0).stream_judged(
        classifier.prepare(images),
        judges=any(rule.needs_evidence for rule in rules),
        samples=samples,
        seed=seed,
        reporter=reporter,
        description=description,
    ):
        decided = classifier.decide_by_each(logits, rules, evidence)
        for own, each in zip(parts, decided, strict=True):
            own.append(each)
    return [Decisions.concatenate(own) for own in parts]


def model_card(classifier: Classifier, name: str = "") -> ModelCard:
    """What a classifier is and where it comes from."""
    recipe, record = classifier.recipe, classifier.record
    reference = classifier.reference
    return ModelCard(
        name=name or classifier.spec.name,
        network=classifier.spec.name,
        parameters=sum(value.numel() for value in classifier.network.parameters()),
        random_parameters=sum(value.numel() for value in classifier.guide.center().values()),
        images=classifier.preprocessing.shape,
        recipe=asdict(recipe),
        kl_weight=float(recipe.effective_kl_weight(record.train_images)),
        seed=record.seed,
        data=record.data,
        fingerprint=record.fingerprint,
        posterior=posterior_digest(classifier),
        train_images=record.train_images,
        calibration_images=record.calibration_images,
        stopped=record.stopped,
        history=tuple(TrainingPass(**asdict(each)) for each in record.history),
        versions=dict(record.versions),
        stages=() if classifier.familiarity is None else tuple(classifier.familiarity.names),
        reference=None if reference is None else reference.cpu().numpy().astype(np.float32),
    )


def _columns(
    classifier: Classifier, images: ImageSet, name: str, decisions: Sequence[Decisions]
) -> JudgedSet:
    return judged_set(
        name,
        decisions,
        labels=known_labels(classifier, images),
        names=tuple(images.image_name(i) for i in range(len(images))),
        fingerprint=replace(images, images=classifier.prepare(images)).fingerprint(),
    )


def known_labels(classifier: Classifier, images: ImageSet) -> Tensor | None:
    """The labels in the order of the classifier's classes, where it knows all of the set's.

    Returns:
        ``(N,)`` int64, or ``None``.
    """
    places = {name: place for place, name in enumerate(classifier.classes)}
    if images.labels is None or not all(name in places for name in images.classes):
        return None
    order = torch.tensor([places[name] for name in images.classes], dtype=torch.int64)
    return order[images.labels]
