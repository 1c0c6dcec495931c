"""The classifier: a fitted posterior with everything that is needed to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from nescio.classifier.predictor import KEEP, Predictor
from nescio.classifier.record import TrainingRecord
from nescio.data import (
    DataLike,
    ImagesLike,
    Preprocessing,
    Reading,
    Stack,
    adapt,
    read_images_like,
    sources_of,
)
from nescio.devices import choose_precision
from nescio.errors import DataError, RuleError, UsageError
from nescio.evaluation import Evaluation
from nescio.familiarity import Familiarity
from nescio.inference import Posterior, Recipe
from nescio.network import NetworkSpec
from nescio.prediction import BATCH_SIZE, forced_labels
from nescio.progress import SILENT, Reporter
from nescio.refusal import (
    RISKS,
    CalibratedRule,
    Decisions,
    KeptScores,
    PromiseRow,
    Rule,
    Verdicts,
    class_unfamiliarity,
    expected_entropy,
    joint_probability,
    mean_probability,
    mutual_information,
    p_value,
    parse_rule,
    predictive_entropy,
    quantile_probability,
)
from nescio.threads import EVERY

SAMPLES = 100
"""How many networks are drawn unless told otherwise; the article's number."""

UnknownClasses: TypeAlias = Literal["error", "unfamiliar"]
"""What images of classes that a model does not know may be, see :meth:`Classifier.evaluate`."""


@dataclass(frozen=True)
class Classifier:
    """A Bayesian classifier that may answer "I don't know".

    Attributes:
        network: The lifted network, in evaluation mode.
        guide: The fitted posterior, on the same device.
        spec: How to build the network again.
        preprocessing: What every image is brought to.
        classes: The ``C`` class names.
        recipe: How it was fitted.
        rule: The refusal rule in force.
        calibrated: What ``--rule calibrated`` stands for, if anything.
        record: Where it comes from.
        familiarity: What the training images are like; ``None`` where the recipe keeps no
            images for calibration.
        reference: ``(M,)``, rising: the unfamiliarity of the calibration images.
        kept: What the thresholds of ``calibrated`` were set from, so that others can be set for
            another promise; ``None`` where nothing was calibrated, or by an earlier nescio.
        precision: Of predictions, see :func:`nescio.devices.choose_precision`.
    """

    network: nn.Module
    guide: Posterior
    spec: NetworkSpec
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    recipe: Recipe
    rule: Rule
    calibrated: CalibratedRule | None
    record: TrainingRecord
    familiarity: Familiarity | None = None
    reference: Tensor | None = None
    kept: KeptScores | None = None
    precision: str = "auto"

    @property
    def device(self) -> torch.device:
        """Where the classifier computes."""
        return next(iter(self.guide.center().values())).device

    def to(self, device: torch.device) -> Classifier:
        """The same classifier on ``device``; this one is spent if the device differs."""
        return replace(
            self,
            network=self.network.to(device),
            guide=self.guide.to(device),
            familiarity=None if self.familiarity is None else self.familiarity.to(device),
        )

    def choose_rule(self, rule: Rule | str | None) -> Rule:
        """A rule, its name (such as ``median:0.2``), or ``None`` for the one in force."""
        if rule is None:
            return self.rule
        return parse_rule(rule, self.calibrated) if isinstance(rule, str) else rule

    def prepare(self, images: ImagesLike) -> Stack:
        """Bring images to what the network takes.

        Args:
            images: See :data:`nescio.ImagesLike`: an image set; an array or tensor of images
                ``(N, H, W)``, ``(N, H, W, 3)`` or ``(N, 3, H, W)``, or of one of them, uint8 or
                float in [0, 1]; a picture of Pillow, a path, or a list of such; a ``Dataset`` or
                ``DataLoader`` of PyTorch, whose labels play no part, in the order of its set. Which
                axis is which is told as :mod:`nescio.data.axes` has it.

        Returns:
            ``(N, K, H, W)`` uint8; of a set that is not in memory, what reads it.

        Raises:
            DataError: They cannot be used, or their shape may be read in more ways than one.
            UsageError: They are no images.
        """
        reading = Reading(preprocessing=self.preprocessing, labelled=False)
        return adapt(read_images_like(images, reading).images, self.preprocessing)

    def stream_logits(
        self,
        images: ImagesLike,
        *,
        samples: int = SAMPLES,
        seed: int | None = None,
        batch_size: int = BATCH_SIZE,
        reporter: Reporter = SILENT,
        description: str = "predicting",
    ) -> Iterator[Tensor]:
        """The raw outputs of the sampled networks, chunk by chunk: ``(S, n, C)``.

        Memory is bounded whatever the number of images.
        """
        return self.predictor(batch_size=batch_size, keep=0).stream_logits(
            self.prepare(images),
            samples=samples,
            seed=seed,
            reporter=reporter,
            description=description,
        )

    def predictor(
        self, *, batch_size: int = BATCH_SIZE, keep: int = KEEP, look_every: float = EVERY
    ) -> Predictor:
        """What answers many calls without making ready anew for each, for one thread.

        Args:
            batch_size: Images through a network at once.
            keep: Bytes of drawn networks to keep, see :class:`nescio.classifier.Predictor`.
            look_every: Seconds after which it may find out anew how many threads pay.
        """
        return Predictor(self, batch_size=batch_size, keep=keep, look_every=look_every)

    def predict_samples(
        self,
        images: ImagesLike,
        *,
        samples: int = SAMPLES,
        seed: int | None = None,
        batch_size: int = BATCH_SIZE,
        reporter: Reporter = SILENT,
    ) -> Tensor:
        """Each class's probability under each sampled network.

        The same seed draws the same networks, whatever the batch size.

        Args:
            images: An image set, an array, pictures and more, see :meth:`prepare`.
            samples: ``S``, how many networks.
            seed: Of the networks; ``None`` for the seed that it was fitted with.
            batch_size: Images through a network at once.
            reporter: Told of progress.

        Returns:
            ``(S, N, C)`` float32 on the CPU; all of it, so use
            :meth:`stream_logits` where ``S N C`` numbers are too many.
        """
        chunks = self.stream_logits(
            images, samples=samples, seed=seed, batch_size=batch_size, reporter=reporter
        )
        parts = [chunk.softmax(-1).cpu() for chunk in chunks]
        return torch.cat(parts, 1) if parts else torch.empty(samples, 0, len(self.classes))

    def predict_probability(
        self,
        images: ImagesLike,
        *,
        samples: int = SAMPLES,
        seed: int | None = None,
        batch_size: int = BATCH_SIZE,
        reporter: Reporter = SILENT,
    ) -> Tensor:
        """The probability of each class; the largest is that of the forced answer.

        It is the mean over the networks: of what they say once told how familiar each class is
        (:func:`nescio.refusal.joint_probability`), where the rule in force judges that; else of
        what they say alone, as the recipe forces an answer (for the article's of the raw outputs,
        before the softmax).

        Args:
            images: An image set, an array, pictures and more, see :meth:`prepare`.
            samples: How many networks.
            seed: Of the networks; ``None`` for the seed that it was fitted with.
            batch_size: Images through a network at once.
            reporter: Told of progress.

        Returns:
            ``(N, C)`` float32 on the CPU.
        """
        prepared = self.prepare(images)
        predictor = self.predictor(batch_size=batch_size, keep=0)
        parts = [torch.empty(0, len(self.classes))]
        for logits, evidence in predictor.stream_judged(
            prepared,
            judges=self.rule.needs_evidence,
            samples=samples,
            seed=seed,
            reporter=reporter,
        ):
            known = None if evidence is None else class_unfamiliarity(evidence)
            parts.append(self._answered(logits.cpu(), known))
        return torch.cat(parts)

    def _answered(self, logits: Tensor, known: Tensor | None) -> Tensor:
        """The mean ``(n, C)`` of ``(S, n, C)`` raw outputs, as :meth:`decide` forces it."""
        if known is not None:
            return mean_probability(joint_probability(logits.softmax(-1), known))
        first = logits[: self.recipe.forced_samples]
        if self.recipe.forced == "logits":
            return first.mean(0).softmax(-1)
        return mean_probability(first.softmax(-1))

    def decide(
        self,
        images: ImagesLike,
        *,
        rule: Rule | str | None = None,
        samples: int = SAMPLES,
        adaptive: bool = False,
        seed: int | None = None,
        batch_size: int = BATCH_SIZE,
        reporter: Reporter = SILENT,
        description: str = "predicting",
    ) -> Decisions:
        """Answer, or refuse with a reason.

        Args:
            images: An image set, an array, pictures and more, see :meth:`prepare`.
            rule: A rule or its name; ``None`` for the one in force.
            samples: How many networks are drawn; with ``adaptive`` at most.
            adaptive: Stop drawing for an image once its decision (label, refusal and
                reason) is settled: the rest would change it with a chance of about
                :data:`nescio.classifier.predictor.ADAPTIVE_ERROR` or less. Probabilities and
                scores come from fewer networks.
            seed: Of the networks; ``None`` for the seed that it was fitted with.
            batch_size: Images through a network at once.
            reporter: Told of progress.
            description: What the progress bar says.

        Raises:
            DataError: There is no image, or the images cannot be used.
            RuleError: The rule cannot be used.
        """
        parts = list(
            self.stream_decisions(
                images,
                rule=self.choose_rule(rule),
                samples=samples,
                adaptive=adaptive,
                seed=seed,
                batch_size=batch_size,
                reporter=reporter,
                description=description,
            )
        )
        if not parts:
            raise DataError("there is no image to decide on")
        return Decisions.concatenate(parts)

    def stream_decisions(
        self,
        images: ImagesLike,
        *,
        rule: Rule,
        samples: int = SAMPLES,
        adaptive: bool = False,
        seed: int | None = None,
        batch_size: int = BATCH_SIZE,
        reporter: Reporter = SILENT,
        description: str = "predicting",
    ) -> Iterator[Decisions]:
        """The decisions of :meth:`decide`, chunk of images by chunk, in bounded memory."""
        prepared = self.prepare(images)
        return self.predictor(batch_size=batch_size, keep=0).stream_decisions(
            prepared,
            rule=rule,
            samples=samples,
            adaptive=adaptive,
            seed=seed,
            reporter=reporter,
            description=description,
        )

    def evidence_reader(self) -> Callable[[Stack], Tensor]:
        """What tells how familiar images are, by class and stage.

        Returns:
            A function from ``(n, K, H, W)`` uint8 (:meth:`prepare`) to ``(n, L, C)``, see
            :meth:`nescio.familiarity.Familiarity.evidence`.

        Raises:
            RuleError: The model does not know.
        """
        familiarity = self.familiarity
        if familiarity is None:
            raise RuleError(
                "this model does not know what its training images are like (its recipe kept no "
                "images for calibration, or that failed); train it with --recipe default"
            )
        precision = choose_precision(self.precision, self.device)
        reader = familiarity.reader(self.network, self.guide.center(), precision)
        return lambda images: familiarity.evidence(reader, images)

    def decide_from_logits(
        self, logits: Tensor, rule: Rule, evidence: Tensor | None = None
    ) -> Decisions:
        """The decisions for raw outputs; everything in them is on the CPU.

        Args:
            logits: ``(S, n, C)``.
            rule: The rule.
            evidence: ``(n, L, C)``, see :meth:`evidence_reader`; for rules that need it.
        """
        return self.decide_by_each(logits, [rule], evidence)[0]

    def decide_by_each(
        self, logits: Tensor, rules: Sequence[Rule], evidence: Tensor | None = None
    ) -> list[Decisions]:
        """As :meth:`decide_from_logits`, for several rules at once."""
        probabilities = logits.softmax(-1).cpu()
        forced = forced_labels(
            logits.cpu(), probabilities, self.recipe.forced, self.recipe.forced_samples
        )
        mean, median = mean_probability(probabilities), quantile_probability(probabilities, 0.5)
        entropies = {
            "predictive_entropy": predictive_entropy(probabilities),
            "expected_entropy": expected_entropy(probabilities),
            "mutual_information": mutual_information(probabilities),
        }
        samples = torch.full((logits.shape[1],), len(logits))

        def decide(rule: Rule) -> Decisions:
            known = evidence if rule.needs_evidence else None
            verdicts = rule(probabilities, known)
            familiarity = None if known is None else self.familiarity
            return Decisions(
                classes=self.classes,
                verdicts=verdicts,
                # A rule that knows how familiar each class is answers by that, too.
                forced=forced if familiarity is None else verdicts.top,
                probability=mean,
                median=median,
                scores=entropies
                if familiarity is None
                else entropies | self._compared(rule, verdicts),
                samples=samples,
                stages=() if familiarity is None else familiarity.names,
            )

        return [decide(rule) for rule in rules]

    def _compared(self, rule: Rule, verdicts: Verdicts) -> dict[str, Tensor]:
        """What a rule that judges familiarity holds against its thresholds."""
        scores = {}
        # Of other scores of doubt the name is that of the networks' own, without familiarity.
        if isinstance(rule, CalibratedRule) and rule.doubt == "error_probability":
            scores[rule.doubt] = verdicts.ambiguity
        scores["unfamiliarity"] = verdicts.unfamiliarity
        if self.reference is not None:
            scores["familiarity"] = p_value(self.reference, verdicts.unfamiliarity)
        return scores

    def evaluate(
        self,
        data: DataLike,
        *,
        ood: Sequence[DataLike] | Mapping[str, ImagesLike] | DataLike = (),
        unknown_classes: UnknownClasses = "error",
        rule: Rule | str | None = None,
        samples: int = SAMPLES,
        seed: int | None = None,
        reporter: Reporter = SILENT,
    ) -> Evaluation:
        """Forced and selective figures on a test split, refusal on other sets.

        Args:
            data: See :data:`nescio.DataLike`: a data set, its name or path, of which the test
                split counts (:func:`nescio.classifier.sets.familiar_set`); images with their
                labels ``(X, y)``, a ``Dataset`` or ``DataLoader`` of PyTorch, less what was
                trained on. An :class:`ImageSet` counts as it is. Class numbers stand for the
                model's classes in order, where none of them is the name of one.
            ood: Out-of-distribution sets, by name if they have one here; they need no labels.
            unknown_classes: Whether images of classes that the model does not know are an error,
                or one more set to refuse.
            rule: A rule or its name; ``None`` for the one in force.
            samples: How many networks are drawn.
            seed: Of the networks; ``None`` for the seed that it was fitted with.
            reporter: Told of progress.
        """
        from nescio.classifier.judging import judge
        from nescio.classifier.sets import familiar_and_unknown, familiar_set, shifted_sets

        if unknown_classes not in get_args(UnknownClasses):
            raise UsageError(
                f"unknown_classes must be {' or '.join(get_args(UnknownClasses))}, got "
                f"{unknown_classes!r}"
            )
        if unknown_classes == "unfamiliar":
            test, unknown = familiar_and_unknown(self, data, reporter)
            ood = [*([] if unknown is None else [unknown]), *sources_of(ood)]
        else:
            test = familiar_set(self, data, reporter)
        return judge(
            self,
            test,
            shifted_sets(self, ood, reporter),
            rule=rule,
            samples=samples,
            seed=seed,
            reporter=reporter,
        ).evaluation

    def promises(self, risks: Sequence[float] = RISKS) -> tuple[PromiseRow, ...]:
        """Which error rates could be promised, and how many calibration images would be answered.

        Each with the confidence and the ``max_refusal`` of :attr:`calibrated`, for all classes
        together. Every row is a promise by itself: see :mod:`nescio.refusal.promises` before
        one of several is chosen.

        Args:
            risks: The error rates.

        Raises:
            RuleError: The model keeps nothing of its calibration.
        """
        from nescio.classifier.promising import promise_rows

        return promise_rows(self, risks)

    def promise(
        self, max_risk: float, *, confidence: float | None = None, max_refusal: float | None = None
    ) -> Classifier:
        """The classifier with thresholds that promise another error rate, and that rule in force.

        It takes no images: these are the thresholds that ``nescio calibrate`` would set from the
        same calibration images.

        Args:
            max_risk: The largest error rate among familiar images that are answered.
            confidence: With which it is promised; ``None`` for that of :attr:`calibrated`.
            max_refusal: The share of familiar images that may be refused as unfamiliar; ``None``
                likewise.

        Raises:
            RuleError: No threshold keeps the promise, or the model keeps nothing of its
                calibration.
        """
        from nescio.classifier.promising import promise

        return promise(self, max_risk, confidence=confidence, max_refusal=max_refusal)

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, whole or not at all."""
        from nescio.classifier.modelfile import save_model

        save_model(self, Path(path))
