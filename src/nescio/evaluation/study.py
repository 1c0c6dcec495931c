"""A study: a model, a test set, shifted sets and rules, judged once; all else is drawn from it.

Tables, JSON, the report and comparisons read a :class:`Study` and compute no decision anew. It
knows no network: it can be written to a file (:mod:`nescio.evaluation.studyfile`), read on
another machine, and told from there.

Axes: ``N`` images, ``C`` classes, ``L`` stages, ``H`` histograms, ``B`` bins. Columns are NumPy
arrays, one number an image. An undefined figure is ``None``, never NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from nescio.evaluation.intervals import Interval

Column: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""One number for each image, ``(N,)``, unless a shape is told."""

ANSWERED = 0
"""What became of an image, in :attr:`Answers.fate`: it got an answer."""

AMBIGUOUS = 1
"""It was refused as ambiguous."""

UNFAMILIAR = 2
"""It was refused as unfamiliar."""


@dataclass(frozen=True)
class TrainingPass:
    """One pass over the training images; all per image, in nats.

    Attributes:
        epoch: 1 for the first.
        elbo: ``log_likelihood - kl_weight * kl``.
        log_likelihood: E_q[log p(y | x, w)].
        kl: KL(q || p), divided by the images that each step speaks for.
        seconds: How long the pass took.
        accuracy: On images that were watched, if any.
    """

    epoch: int
    elbo: float
    log_likelihood: float
    kl: float
    seconds: float
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class ModelCard:
    """What was judged, and where it comes from.

    Attributes:
        name: What to call it beside others: the name of its file without the ending.
        network: The network's name.
        parameters: How many numbers the network has.
        random_parameters: How many of them are distributions.
        images: ``(K, H, W)``, what every image is brought to.
        recipe: How it was fitted, by the names of :class:`nescio.inference.Recipe`.
        kl_weight: How the KL was weighed; 1 is the ELBO as it is.
        seed: Of split, fit and predictions.
        data: The set that it was trained on.
        fingerprint: SHA-256 of that set.
        posterior: SHA-256 of the posterior and of the familiarity model.
        train_images: How many it was trained on.
        calibration_images: How many were kept for calibration.
        stopped: Why training ended early, or ``None``.
        history: One entry for each complete pass.
        versions: Of the libraries that fitted it.
        stages: The names of the ``L`` stages where familiarity is judged; empty where it is not.
        reference: ``(M,)`` float32, rising: the unfamiliarity of the calibration images, in
            nats; ``None`` where the model does not know.
    """

    name: str
    network: str
    parameters: int
    random_parameters: int
    images: tuple[int, int, int]
    recipe: Mapping[str, Any]
    kl_weight: float
    seed: int
    data: str
    fingerprint: str
    posterior: str
    train_images: int
    calibration_images: int
    stopped: str | None
    history: tuple[TrainingPass, ...]
    versions: Mapping[str, str]
    stages: tuple[str, ...] = ()
    reference: Column | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """What one rule says of the ``N`` images of a set.

    Attributes:
        top: int32, the class that is answered, or would be.
        fate: int8, :data:`ANSWERED`, :data:`AMBIGUOUS` or :data:`UNFAMILIAR`.
        doubt: float32, larger where the answer is less sure; ranks for risk and coverage.
        unfamiliarity: float32, larger where the image is stranger; ranks for detection. May be
            infinite. A rule with one score gives it twice.
        nearest: int32, the class that the image is most like; -1 where the rule does not judge
            familiarity.
        stage: int8, the stage that speaks most against it; -1 likewise.
    """

    top: Column
    fate: Column
    doubt: Column
    unfamiliarity: Column
    nearest: Column
    stage: Column

    @property
    def accepted(self) -> Column:
        """Bool: which images have an answer."""
        accepted: Column = self.fate == ANSWERED
        return accepted


@dataclass(frozen=True, eq=False)
class JudgedSet:
    """A set of images, column by column.

    Attributes:
        name: What the set is called.
        fingerprint: SHA-256 of its images, labels and class names, as the model saw them.
        names: One name for each image.
        labels: int32, indices into the study's classes; ``None`` where the set has no labels, or
            classes that the model does not know.
        forced: int32, the class answered if an answer were compulsory.
        predicted: int32, the class with the highest predictive probability; another than
            ``forced`` only where a recipe forces answers by mean logits.
        confidence: float32, the predictive probability of ``predicted``.
        label_probability: float32, that of the true class; ``None`` without labels.
        brier: float32, the squared distance of the predictive probabilities from the truth,
            0 to 2; ``None`` without labels.
        probability: ``(N, C)`` float32, all predictive probabilities; only of a test set, and
            only where ``N C`` is at most :data:`MOST_PROBABILITIES`.
        samples: int32, how many networks were drawn.
        answers: What each of the study's rules says.
    """

    name: str
    fingerprint: str
    names: tuple[str, ...]
    labels: Column | None
    forced: Column
    predicted: Column
    confidence: Column
    label_probability: Column | None
    brier: Column | None
    probability: Column | None
    samples: Column
    answers: tuple[Answers, ...]

    def __len__(self) -> int:
        return len(self.forced)


MOST_PROBABILITIES = 2**22
"""More numbers are not kept: what is needed of them has columns of its own."""


@dataclass(frozen=True)
class ForcedFigures:
    """What the model is worth on the test set when it always answers; no rule plays a part.

    Attributes:
        accuracy: Share right; exact interval.
        nll: Mean negative log-likelihood, in nats.
        brier: Mean Brier score, 0 to 2.
        ece: Expected calibration error, 15 bins of equal width.
        ece_equal_mass: With 15 bins of equally many images.
        classwise_ece: Mean over the classes of their own.
    """

    accuracy: Interval
    nll: Interval
    brier: Interval
    ece: Interval
    ece_equal_mass: Interval
    classwise_ece: Interval


@dataclass(frozen=True, eq=False)
class RiskCurve:
    """Risk against coverage, with a band; ready to draw.

    Attributes:
        coverage: ``(P,)`` rising, to 1.
        risk: ``(P,)`` error rate on so many of the least doubtful images.
        low: ``(P,)``, lower end of each point's 95 % interval.
        high: ``(P,)``, upper end.
    """

    coverage: Column
    risk: Column
    low: Column
    high: Column


@dataclass(frozen=True, eq=False)
class SelectiveFigures:
    """What one rule is worth on the test set.

    Attributes:
        coverage: Share answered; exact interval.
        refused: How many were not.
        reasons: Refused images by reason, ``ambiguous`` and ``unfamiliar``.
        accepted_accuracy: Share right among those answered, exact; ``None`` if there are none.
        aurc: Area under the risk-coverage curve, by the rule's doubt.
        augrc: Area under the generalised risk-coverage curve.
        excess_aurc: AURC above that of the best ranking with as many errors.
        risk_at_coverage: Error rate on that share of the least doubtful, by share.
        coverage_at_risk: Largest share that a threshold of doubt can answer with at most that
            error rate, by rate.
        curve: Risk against coverage.
    """

    coverage: Interval
    refused: int
    reasons: Mapping[str, int]
    accepted_accuracy: Interval | None
    aurc: Interval
    augrc: Interval
    excess_aurc: Interval
    risk_at_coverage: Mapping[float, Interval]
    coverage_at_risk: Mapping[float, Interval]
    curve: RiskCurve


@dataclass(frozen=True)
class ShiftedFigures:
    """How one rule fares on a shifted set.

    Attributes:
        n: Its images.
        refused: Those without an answer.
        refusal_rate: Their share; exact interval.
        reasons: Refused images by reason.
        auroc: Against the test set, by the rule's unfamiliarity.
        aupr: Average precision; the shifted images are the positives.
        fpr95: Share let through when 95 % of the test set is.
        accepted_accuracy: Share right among those answered, exact; ``None`` without labels or
            answers.
    """

    n: int
    refused: int
    refusal_rate: Interval
    reasons: Mapping[str, int]
    auroc: Interval
    aupr: Interval
    fpr95: Interval
    accepted_accuracy: Interval | None


@dataclass(frozen=True, eq=False)
class StudiedRule:
    """A rule with its figures.

    Attributes:
        name: As on the command line: ``calibrated``, ``median:0.2``, ``none``.
        record: The rule as JSON; thresholds of the calibrated rule are in ``unfamiliar`` and
            ``doubtful`` (numbers, "all" or "none").
        text: The rule and its promises in plain words.
        figures: On the test set.
        shifted: On each shifted set, by its name.
    """

    name: str
    record: Mapping[str, Any]
    text: str
    figures: SelectiveFigures
    shifted: Mapping[str, ShiftedFigures]


@dataclass(frozen=True)
class Grade:
    """One severity of a corruption, under the first rule.

    Attributes:
        severity: 1 to 5; 0 for the same images as they were.
        answered: Share answered; exact interval.
        accepted_accuracy: Share right among those, exact; ``None`` if there are none.
        forced_accuracy: Share right when always answered, exact.
        reasons: Refused images by reason.
    """

    severity: int
    answered: Interval
    accepted_accuracy: Interval | None
    forced_accuracy: Interval
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class CorruptionCurve:
    """What happens as images go bad.

    Attributes:
        name: Of the corruption, such as ``blur``.
        description: One line for a person.
        images: How many images each severity was judged on, the same ones.
        grades: Severity 0 first.
    """

    name: str
    description: str
    images: int
    grades: tuple[Grade, ...]


@dataclass(frozen=True, eq=False)
class Specimen:
    """One image to show, with all that is told about its answer under the first rule.

    Attributes:
        gallery: What it is an example of, one of :data:`GALLERIES`.
        set: The name of its set.
        index: Its place there.
        name: Its name.
        png: The image as the model saw it, PNG, not enlarged.
        actual: Its true class by name, in its own set's names; ``None`` where not known.
        label: The class answered; ``None`` when refused.
        reason: ``ambiguous``, ``unfamiliar``, or ``None`` when answered.
        text: The answer in words, such as ``I don't know (ambiguous, between 4 and 9)``.
        forced: The class that would be answered.
        proposed: The classes put forward.
        classes: ``H`` class names that have a histogram, the most probable ones in the order of
            the classes.
        probability: Predictive probability of each of them, ``(H,)``.
        median: Median over the networks, ``(H,)``.
        edges: ``(B + 1,)`` edges of the bins: natural logarithms of probability, rising to 0.
        counts: ``(H, B)`` int, networks in each bin; what is below the first edge counts in the
            first bin.
        scores: Named scores, such as ``unfamiliarity`` and ``familiarity`` (a p-value).
        nearest: The class that it is most like; ``None`` where familiarity is not judged.
        stage: The stage that speaks most against it, likewise.
        samples: How many networks were drawn.
    """

    gallery: str
    set: str
    index: int
    name: str
    png: bytes
    actual: str | None
    label: str | None
    reason: str | None
    text: str
    forced: str
    proposed: tuple[str, ...]
    classes: tuple[str, ...]
    probability: tuple[float, ...]
    median: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    scores: Mapping[str, float]
    nearest: str | None
    stage: str | None
    samples: int


GALLERIES = ("right", "wrong", "ambiguous", "unfamiliar", "refused", "accepted")
"""Of the test set: answered and right; answered but wrong, surest first; refused as ambiguous,
most doubtful first; refused as unfamiliar, strangest first. Of a shifted set: refused; accepted
although strange, surest first."""


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that was found out about a model on some sets.

    Attributes:
        model: What was judged.
        classes: The ``C`` class names.
        samples: How many networks were drawn for each image.
        seed: Of those networks.
        resamples: Of the bootstrap behind each interval that is not exact; 0 if there are none.
        test: The test set.
        shifted: The shifted sets, by name.
        forced: Figures without a rule.
        rules: The rules with their figures; the one in force first.
        curves: Corruptions, by name, where they were asked for.
        specimens: Images to show.
        command: What makes this study again.
        seconds: How long each part took.
    """

    model: ModelCard
    classes: tuple[str, ...]
    samples: int
    seed: int
    resamples: int
    test: JudgedSet
    shifted: Mapping[str, JudgedSet]
    forced: ForcedFigures
    rules: tuple[StudiedRule, ...]
    curves: Mapping[str, CorruptionCurve] = field(default_factory=dict)
    specimens: tuple[Specimen, ...] = ()
    command: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    def confusion(self, rule: int = 0) -> Column:
        """Count answers by true class; refusals stand in a last column of their own.

        Args:
            rule: The place of the rule in :attr:`rules`.

        Returns:
            ``(C, C + 1)`` int64: row the true class, column the answer; the last column is
            "I don't know".
        """
        answers, size = self.test.answers[rule], len(self.classes)
        assert self.test.labels is not None  # noqa: S101 - a test set has labels
        column = np.where(answers.accepted, answers.top, size).astype(np.int64)
        cells = self.test.labels.astype(np.int64) * (size + 1) + column
        return np.bincount(cells, minlength=size * (size + 1)).reshape(size, size + 1)
