"""What a rule answers: for each image a label, or a refusal with its reason.

Axes: ``N`` images, ``C`` classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from itertools import compress
from typing import Any

import torch
from torch import Tensor

ROWS = 1024
"""How many decisions are brought from tensors to Python at once."""


class Reason(StrEnum):
    """Why an image was refused."""

    AMBIGUOUS = "ambiguous"
    UNFAMILIAR = "unfamiliar"


@dataclass(frozen=True)
class Verdicts:
    """What a rule says of ``N`` images; the part of a decision that the rule decides.

    Attributes:
        top: ``(N,)`` int64, the class that would be answered.
        proposed: ``(N, C)`` bool, the classes that the rule puts forward.
        ambiguous: ``(N,)`` bool, refused because the answer is.
        unfamiliar: ``(N,)`` bool, refused because the image is; it takes precedence.
        ambiguity: ``(N,)`` float32, larger where the answer is less sure; it ranks
            images for risk-coverage curves.
        unfamiliarity: ``(N,)`` float32, larger where the image is stranger; it ranks
            images for detection figures. A rule with one score gives it twice.
        nearest: ``(N,)`` int64, the class that the image is most like; -1 where the rule
            does not judge familiarity.
        stage: ``(N,)`` int64, the stage of the network that speaks most against it; -1 likewise.
    """

    top: Tensor
    proposed: Tensor
    ambiguous: Tensor
    unfamiliar: Tensor
    ambiguity: Tensor
    unfamiliarity: Tensor
    nearest: Tensor
    stage: Tensor


@dataclass(frozen=True)
class Decision:
    """The answer for one image.

    Attributes:
        label: The class answered, ``None`` when refused.
        accepted: Whether there is an answer.
        reason: Why not, ``None`` when accepted.
        forced: The class that would be answered if an answer were compulsory.
        proposed: The classes that the rule puts forward: none, one or several.
        probability: Posterior predictive probability of each class.
        median: Median over the sampled networks of each class's probability.
        scores: The scores behind the decision, by name.
        samples: How many networks were sampled.
        nearest: The class that the image is most like; ``None`` where the rule does not
            judge familiarity.
        stage: The stage of the network that speaks most against it, likewise.
    """

    label: str | None
    accepted: bool
    reason: Reason | None
    forced: str
    proposed: tuple[str, ...]
    probability: Mapping[str, float]
    median: Mapping[str, float]
    scores: Mapping[str, float]
    samples: int
    nearest: str | None = None
    stage: str | None = None

    def __str__(self) -> str:
        """For a person: the label, or "I don't know" and why."""
        return f"{self.label}" if self.accepted else f"I don't know ({self.why})"

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON; a score that is no finite number is ``None``."""
        return {
            "label": self.label,
            "accepted": self.accepted,
            "reason": None if self.reason is None else self.reason.value,
            "proposed": list(self.proposed),
            "nearest": self.nearest,
            "stage": self.stage,
            "probability": dict(self.probability),
            "median": dict(self.median),
            "scores": {n: s if math.isfinite(s) else None for n, s in self.scores.items()},
            "samples": self.samples,
        }

    @property
    def why(self) -> str:
        """Why there is no answer, in words: ``unfamiliar: nearest to 4, strange in its image``."""
        if self.reason is Reason.AMBIGUOUS:
            if len(self.proposed) > 1:
                return f"{self.reason}, between {' and '.join(self.proposed)}"
            return f"{self.reason}, perhaps {self.forced}"
        if self.nearest is None:
            return f"{self.reason}"
        return f"{self.reason}, nearest to {self.nearest}, given away by stage {self.stage}"


@dataclass(frozen=True)
class Decisions(Sequence[Decision]):
    """The answers for ``N`` images, as tensors; indexing gives a :class:`Decision`.

    Attributes:
        classes: The ``C`` class names.
        verdicts: What the rule says.
        forced: ``(N,)`` int64, the class answered if an answer were compulsory.
        probability: ``(N, C)`` float32, posterior predictive probabilities.
        median: ``(N, C)`` float32, medians of the sampled probabilities.
        scores: Named scores, each ``(N,)`` float32.
        samples: ``(N,)`` int64, how many networks were sampled for each.
        stages: The names of the ``L`` stages where familiarity was judged, if it was.
    """

    classes: tuple[str, ...]
    verdicts: Verdicts
    forced: Tensor
    probability: Tensor
    median: Tensor
    scores: Mapping[str, Tensor]
    samples: Tensor
    stages: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.forced.shape[0]

    @property
    def accepted(self) -> Tensor:
        """``(N,)`` bool: which images have an answer."""
        return ~(self.verdicts.ambiguous | self.verdicts.unfamiliar)

    @property
    def refused(self) -> int:
        """How many images have no answer."""
        return len(self) - int(self.accepted.sum())

    def __getitem__(self, index: int) -> Decision:  # type: ignore[override]
        """The answer for one image; slices are not offered, index the tensors instead."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return next(self.take(torch.tensor([index % len(self)]))._rows())

    def __iter__(self) -> Iterator[Decision]:
        for places in torch.arange(len(self)).split(ROWS):
            yield from self.take(places)._rows()

    def _rows(self) -> Iterator[Decision]:
        """All of them: from tensors to Python once for all, not once for each number."""
        verdicts, classes = self.verdicts, self.classes
        columns = (
            verdicts.top,
            self.forced,
            verdicts.proposed,
            self.accepted,
            verdicts.unfamiliar,
            self.probability,
            self.median,
            self.samples,
            verdicts.nearest,
            verdicts.stage,
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        scores = {name: score.tolist() for name, score in self.scores.items()}
        for i, row in enumerate(rows):
            top, forced, proposed, accepted, strange, probability, median, count, near, stage = row
            reason = Reason.UNFAMILIAR if strange else Reason.AMBIGUOUS
            yield Decision(
                label=classes[top] if accepted else None,
                accepted=accepted,
                reason=None if accepted else reason,
                forced=classes[forced],
                proposed=tuple(compress(classes, proposed)),
                probability=dict(zip(classes, probability, strict=True)),
                median=dict(zip(classes, median, strict=True)),
                scores={name: values[i] for name, values in scores.items()},
                samples=count,
                nearest=classes[near] if self.stages else None,
                stage=self.stages[stage] if self.stages else None,
            )

    @staticmethod
    def concatenate(parts: Sequence[Decisions]) -> Decisions:
        """Join the decisions of successive chunks of images."""
        if not parts:
            raise ValueError("no decisions to join")
        first = parts[0]
        verdicts = (
            torch.cat([getattr(part.verdicts, field.name) for part in parts])
            for field in fields(first.verdicts)
        )

        return Decisions(
            classes=first.classes,
            verdicts=Verdicts(*verdicts),
            forced=torch.cat([part.forced for part in parts]),
            probability=torch.cat([part.probability for part in parts]),
            median=torch.cat([part.median for part in parts]),
            scores={
                name: torch.cat([part.scores[name] for part in parts]) for name in first.scores
            },
            samples=torch.cat([part.samples for part in parts]),
            stages=first.stages,
        )

    def take(self, index: Tensor) -> Decisions:
        """The decisions at the places ``index`` ``(M,)`` int64, in that order."""
        verdicts = self.verdicts
        return replace(
            self,
            verdicts=Verdicts(*(getattr(verdicts, f.name)[index] for f in fields(verdicts))),
            forced=self.forced[index],
            probability=self.probability[index],
            median=self.median[index],
            scores={name: score[index] for name, score in self.scores.items()},
            samples=self.samples[index],
        )
