"""A classifier made ready: what does not change between calls is done once and kept."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nescio.data import Stack, images_at_once, to_float
from nescio.devices import choose_precision
from nescio.familiarity import IMAGE, OUTPUT, Wavelets, layers_of, reduce_features
from nescio.prediction import BATCH_SIZE, Pass, SampledNetworks, stream_logits, stream_settled
from nescio.progress import SILENT, Reporter
from nescio.refusal import Decisions, Rule, looks_before
from nescio.threads import EVERY, ThreadTuner

if TYPE_CHECKING:
    from nescio.classifier.classifier import Classifier

ADAPTIVE_ERROR = 1e-3
"""The stated chance that adaptive sampling decides otherwise than all networks would, on
average over images. The tests behind it (:mod:`nescio.refusal.sequential`) are predictive:
for means they assume Student's distribution, and were checked by simulation."""

KEEP = 2**26
"""Bytes of drawn networks that are kept: 64 MiB, of the default head of ``cnn`` 1,600 networks."""

OTHERS, OTHER_SHARE = 3, 0.25
"""How many other seeds' networks are kept, and how much of the bytes each of these may take."""

MANY = 256
"""From so many images on it pays to find out at the start how many threads do."""

TRIED, TRIED_NUMBERS = 64, 2**17
"""Images that are tried for that, if they are small; and how many numbers they may hold."""


class Predictor:
    """Answers as its classifier does, without making ready anew for every call.

    It keeps module objects of its own and changes them while it runs, so it is for one thread
    at a time; a classifier makes as many as are wanted.

    Args:
        classifier: What answers.
        batch_size: Images through a network at once.
        keep: Bytes of the networks that are kept of the classifier's own seed; of each of
            :data:`OTHERS` other seeds :data:`OTHER_SHARE` of it. 0 keeps none.
        look_every: Seconds after which it may find out anew how many threads pay.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        batch_size: int = BATCH_SIZE,
        keep: int = KEEP,
        look_every: float = EVERY,
    ) -> None:
        self.classifier = classifier
        self._keep = keep
        self._tuner = ThreadTuner(self._trial, classifier.device, every=look_every)
        self._seeds: OrderedDict[int, SampledNetworks] = OrderedDict()
        known = classifier.familiarity
        self._networks = SampledNetworks.prepare(
            classifier.network,
            classifier.guide,
            _example(classifier.preprocessing.shape),
            classes=len(classifier.classes),
            seed=classifier.record.seed,
            batch_size=batch_size,
            precision=choose_precision(classifier.precision, classifier.device),
            layers=() if known is None else layers_of(known.names),
            reduce=None if known is None else reduce_features,
        )

    @cached_property
    def _evidence(self) -> Callable[[Stack], Tensor]:
        return self.classifier.evidence_reader()

    @cached_property
    def _means(self) -> Mapping[str, Tensor]:
        return self.classifier.guide.center()

    @cached_property
    def _wavelets(self) -> Wavelets:
        return Wavelets(self.classifier.device)

    def networks(self, seed: int | None = None) -> SampledNetworks:
        """The networks of that seed; ``None`` for the one that the classifier was fitted with.

        Those of the classifier's own seed and of the few last others are kept.
        """
        own = self.classifier.record.seed
        seed = own if seed is None else seed
        if not self._keep:
            return self._networks.seeded(seed)
        if seed not in self._seeds:
            part = 1.0 if seed == own else OTHER_SHARE
            self._seeds[seed] = self._networks.keeping(seed, int(part * self._keep))
        self._seeds.move_to_end(seed)
        others = [other for other in self._seeds if other != own]
        for oldest in others[:-OTHERS]:
            del self._seeds[oldest]
        return self._seeds[seed]

    def evidence(self, images: Stack) -> Tensor:
        """How familiar images are, by class and stage, ``(n, L, C)``.

        Raises:
            RuleError: The model does not know.
        """
        return self._evidence(images)

    def _judged(self, images: Stack, passed: Pass) -> Tensor:
        """As :meth:`evidence`, by what was read as the trunk ran, if it was."""
        known = self.classifier.familiarity
        if passed.read is None or known is None:
            return self.evidence(images)
        features = dict(passed.read)
        if OUTPUT in known.names:
            output = self._networks.at_weights(passed.features, self._means)
            features[OUTPUT] = reduce_features(output)
        if known.sees_image:
            size = images_at_once(images, BATCH_SIZE)
            floats = (to_float(part.to(self.classifier.device)) for part in images.split(size))
            features[IMAGE] = torch.cat([self._wavelets(x) for x in floats])
        return known.judge(features)

    def stream_judged(
        self,
        images: Stack,
        *,
        judges: bool,
        samples: int,
        seed: int | None = None,
        reporter: Reporter = SILENT,
        description: str = "predicting",
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """As :meth:`stream_logits`, and with each chunk its evidence, if anybody judges by it.

        Yields:
            ``(S, n, C)``, and ``(n, L, C)`` on the CPU or ``None``.

        Raises:
            RuleError: The model does not know how familiar images are.
        """
        networks = self.networks(seed)

        def judged(ticking: Reporter) -> Iterator[tuple[Tensor, Tensor | None]]:
            for groups in stream_settled(
                networks,
                images,
                samples,
                settled=lambda _probabilities, _evidence: torch.zeros(0, dtype=torch.bool),
                looks=(),
                known=self._judged if judges else lambda _images, _passed: None,
                reporter=ticking,
                description=description,
            ):
                for _, logits, evidence in groups:
                    yield logits, evidence

        return self._tuner.stream(judged, reporter, long=len(images) >= MANY)

    def stream_logits(
        self,
        images: Stack,
        *,
        samples: int,
        seed: int | None = None,
        reporter: Reporter = SILENT,
        description: str = "predicting",
    ) -> Iterator[Tensor]:
        """As :meth:`Classifier.stream_logits`, for images ``(N, K, H, W)`` that are prepared."""
        networks = self.networks(seed)
        return self._tuner.stream(
            lambda ticking: stream_logits(
                networks, images, samples, reporter=ticking, description=description
            ),
            reporter,
            long=len(images) >= MANY,
        )

    def stream_decisions(
        self,
        images: Stack,
        *,
        rule: Rule,
        samples: int,
        adaptive: bool = False,
        seed: int | None = None,
        reporter: Reporter = SILENT,
        description: str = "predicting",
    ) -> Iterator[Decisions]:
        """As :meth:`Classifier.stream_decisions`, for images ``(N, K, H, W)`` that are prepared."""
        looks = looks_before(samples) if adaptive else ()
        error = ADAPTIVE_ERROR / max(1, len(looks))
        networks, decide = self.networks(seed), self.classifier.decide_from_logits

        def decided(ticking: Reporter) -> Iterator[Decisions]:
            for groups in stream_settled(
                networks,
                images,
                samples,
                settled=lambda probabilities, evidence: rule.settled(
                    probabilities, evidence, samples, error
                ),
                looks=looks,
                known=self._judged if rule.needs_evidence else lambda _images, _passed: None,
                reporter=ticking,
                description=description,
            ):
                chunk = Decisions.concatenate(
                    [decide(logits, rule, evidence) for _, logits, evidence in groups]
                )
                yield chunk.take(torch.cat([places for places, _, _ in groups]).argsort())

        return self._tuner.stream(decided, reporter, long=len(images) >= MANY)

    def _trial(self) -> Callable[[], object]:
        """A few images, to time how many threads pay."""
        shape, rule = self.classifier.preprocessing.shape, self.classifier.rule
        few = _example(shape, max(1, min(TRIED, TRIED_NUMBERS // math.prod(shape))))
        judges = self.classifier.familiarity is not None and rule.needs_evidence

        def trial() -> None:
            passed = self._networks.run_trunk(few)
            if judges:
                self._judged(few, passed)

        return trial


def settled_after(rule: Rule, probabilities: Tensor, evidence: Tensor | None) -> list[int]:
    """How many of the networks adaptive sampling would have taken for each of ``n`` images.

    Args:
        rule: By which they are decided.
        probabilities: ``(S, n, C)``.
        evidence: ``(n, L, C)``, for rules that need it.
    """
    total, count = probabilities.shape[:2]
    looks = looks_before(total)
    after = torch.full((count,), total)
    for look in reversed(looks):
        done = rule.settled(probabilities[:look], evidence, total, ADAPTIVE_ERROR / len(looks))
        after[done] = look
    found: list[int] = after.tolist()
    return found


def _example(shape: tuple[int, int, int], count: int = 2) -> Tensor:
    """Images ``(count, K, H, W)`` to try a network on: noise, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, *shape), generator=generator).to(torch.uint8)
