"""Works answered one by one: a stand-in."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.data import ImageSet
from nescio.refusal import CalibratedRule, Decision, Rule
from nescio.service.models import Served


@dataclass(frozen=True)
class BatchSettings:
    """How works are joined."""

    delay_ms: float = 2.0
    max_images: int = 256
    piece: int = 32
    queue_images: int = 2000


@dataclass(frozen=True)
class Detail:
    """What more is told of one image."""

    sampled: Tensor
    settled_after: int
    doubt: float | None
    unfamiliarity: float | None


@dataclass(frozen=True)
class Answer:
    """The answer for one image."""

    decision: Decision
    detail: Detail | None = None


@dataclass(frozen=True, eq=False)
class Work:
    """The images of one request."""

    model: Served
    images: Tensor
    samples: int
    seed: int | None
    adaptive: bool
    rule: Rule
    detail: bool = False


class Busy(Exception):  # noqa: N818
    """The queue is full."""

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class Batcher:
    """Answers works."""

    def __init__(self, settings: BatchSettings) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._settings = settings

    async def submit(self, work: Work) -> list[Answer]:
        """The answers, in the order of the images."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _answer, work)

    async def close(self) -> None:
        """Finish."""
        self._pool.shutdown()


def _answer(work: Work) -> list[Answer]:
    classifier, images = work.model.classifier, ImageSet("", work.images, None, ())
    decided = classifier.decide(
        images,
        rule=work.rule,
        samples=work.samples,
        adaptive=work.adaptive or work.detail,
        seed=work.seed,
    )
    if not work.detail:
        return [Answer(decision) for decision in decided]
    logits = torch.cat(
        list(classifier.stream_logits(images, samples=work.samples, seed=work.seed)), 1
    )
    rule = classifier.calibrated or work.rule
    evidence = None
    if rule.needs_evidence or work.rule.needs_evidence:
        evidence = classifier.evidence_reader()(work.images)
    full, scored = classifier.decide_by_each(logits, [work.rule, rule], evidence)
    known = isinstance(rule, CalibratedRule)
    return [
        Answer(
            full[i],
            Detail(
                logits[:, i].softmax(-1).cpu(),
                decided[i].samples,
                float(scored.verdicts.ambiguity[i]) if known else None,
                float(scored.verdicts.unfamiliarity[i]) if known else None,
            ),
        )
        for i in range(len(full))
    ]
