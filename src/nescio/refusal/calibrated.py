"""The calibrated rule: two gates, for two reasons to refuse, and what each promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from nescio.errors import RuleError
from nescio.refusal.decisions import Verdicts
from nescio.refusal.frontier import Frontier
from nescio.refusal.scores import (
    DOUBTS,
    SHARED,
    answer,
    between_classes,
    class_unfamiliarity,
    joint_probability,
    mean_probability,
)
from nescio.refusal.sequential import mean_is_settled
from nescio.refusal.wording import assumption, describe

DOUBT = "error_probability"
"""The score of ambiguity. On held-out training images none of those in
:data:`nescio.refusal.scores.DOUBTS` was ahead of it by more than chance (docs/refusal.md has the
table); it is the one that means a chance of error, and whose decision can be settled early."""


FAR = 2.0
"""So many times the threshold of the first gate, in nats: a p-value as small as its square. What is
stranger is called unfamiliar even where the networks see two classes in it."""


@dataclass(frozen=True)
class CalibratedOn:
    """What thresholds were set from; they mean nothing with anything else.

    Attributes:
        data: The name of the set that the images came from.
        images: How many; of groups that belong together one of each.
        fingerprint: SHA-256 of the images and their labels, of groups of all of theirs.
        posterior: SHA-256 of the posterior and of the familiarity model.
        samples: How many networks were drawn, all for every image.
        seed: Of those networks.
        precision: Of the products in them.
        temperature: By which logits were divided.
        grouped: Whether each image stands for a group, so that promises hold for images of new
            groups, each group counting alike.
    """

    data: str
    images: int
    fingerprint: str
    posterior: str
    samples: int
    seed: int
    precision: str
    temperature: float = 1.0
    grouped: bool = False

    @property
    def counted(self) -> str:
        """What was counted, for a person: ``600 calibration images``, or ``groups``."""
        return f"{self.images:,} calibration {'groups' if self.grouped else 'images'}"


@dataclass(frozen=True)
class CalibratedRule:
    """Two gates.

    *Unfamiliar*: an image that is of no class, judged by all stages of the network, more than
    all but a share of the calibration images. *Ambiguous*: an answer more doubtful than a
    threshold, by the networks and the familiarity with each class together
    (:func:`nescio.refusal.scores.joint_probability`); either one under which a risk is
    promised, or, where none is asked for, one that refuses what is more likely wrong than
    right. Where no risk is promised both share one budget: of what passes the first gate, the
    stranger an image, the less doubt is allowed (:mod:`nescio.refusal.frontier`), and the rarer
    of the two scores is the reason.

    Attributes:
        unfamiliar: Thresholds on the unfamiliarity, in nats: one, or one for each class.
            Infinite where there were too few calibration images for the promise.
        doubtful: Thresholds on the doubt: one, or one for each class answered. Minus infinity
            where no threshold keeps the promise, so that nothing is answered.
        doubt: The score, of :data:`nescio.refusal.scores.DOUBTS`.
        frontier: How much doubt is allowed at which unfamiliarity; ``None`` where the gates are
            set one by one: a risk is promised, or refusals for each class, or there are too few
            images, or too many that are more likely wrong than right.
        max_refusal: The share of familiar images that may be refused: by both gates together,
            or by the first alone where there is no ``frontier``.
        max_risk: The promised error rate among accepted familiar images; ``None`` for none.
        confidence: With which it is promised.
        accepted: Calibration images behind the promise of each entry of ``doubtful``.
        errors: How many of them were answered wrongly.
        calibrated_on: What the thresholds belong to.
    """

    unfamiliar: tuple[float, ...]
    doubtful: tuple[float, ...]
    doubt: str
    frontier: Frontier | None
    max_refusal: float
    max_risk: float | None
    confidence: float
    accepted: tuple[int, ...]
    errors: tuple[int, ...]
    calibrated_on: CalibratedOn

    @property
    def needs_evidence(self) -> bool:
        """It judges familiarity."""
        return True

    def __call__(self, probabilities: Tensor, evidence: Tensor | None = None) -> Verdicts:
        """Refuse what is unfamiliar, then what is ambiguous."""
        by_class = _by_class(evidence)
        strangeness, nearest = by_class.min(-1)
        joint = joint_probability(probabilities, by_class)
        mean = mean_probability(joint)
        top, doubt = answer(joint, self.doubt)
        refused = doubt > self._limits(strangeness, doubt, top)
        unfamiliar = self._unfamiliar(by_class)
        if self.frontier is not None:
            unfamiliar = unfamiliar | (refused & self.frontier.stranger(strangeness, doubt))
        # What lies between two classes is ambiguous, though it may be quite like neither.
        between = between_classes(probabilities) & (refused | unfamiliar) & ~self._far(by_class)
        unfamiliar = unfamiliar & ~between
        # A class at least half as probable as the best is a real alternative to it.
        rivals = (mean >= 0.5 * mean.amax(-1, keepdim=True)) | (mean > SHARED)
        return Verdicts(
            top=top,
            proposed=rivals & ~unfamiliar[:, None],
            ambiguous=(refused | between) & ~unfamiliar,
            unfamiliar=unfamiliar,
            ambiguity=doubt,
            unfamiliarity=strangeness,
            nearest=nearest,
            stage=_weightiest(evidence, nearest),
        )

    def _unfamiliar(self, by_class: Tensor) -> Tensor:
        return (by_class > torch.tensor(self.unfamiliar, dtype=by_class.dtype)).all(-1)

    def _far(self, by_class: Tensor) -> Tensor:
        """So unfamiliar that it does not matter what the networks say, ``(N,)`` bool."""
        limits = FAR * torch.tensor(self.unfamiliar, dtype=by_class.dtype)
        return (by_class > limits).all(-1)

    def _limits(self, strangeness: Tensor, doubt: Tensor, top: Tensor) -> Tensor:
        """The doubt that is allowed for each image, ``(N,)``."""
        if self.frontier is not None:
            return self.frontier.allowed(strangeness).to(doubt)
        limits = torch.tensor(self.doubtful, dtype=doubt.dtype)
        return limits[top] if len(limits) > 1 else limits.expand(len(doubt))

    def settled(
        self, probabilities: Tensor, evidence: Tensor | None, total: int, error: float
    ) -> Tensor:
        """Where the image is unfamiliar, or it is settled which class is answered, or none.

        The reason of a settled refusal may still change: between two classes, or like none.
        """
        by_class = _by_class(evidence)
        unfamiliar = self._unfamiliar(by_class)
        if self.doubt != "error_probability":
            return unfamiliar
        probabilities = joint_probability(probabilities, by_class)
        if self.frontier is not None:
            allowed = self.frontier.allowed(by_class.min(-1).values)[:, None]
        else:
            allowed = torch.tensor(self.doubtful)
        limits = 1.0 - allowed.to(probabilities).clamp(-1.0, 2.0)
        _, sure = mean_is_settled(probabilities, total, limits, error, 0.0)
        unsure, _ = mean_is_settled(probabilities, total, limits, error, 1.0)
        # With a limit below a half several classes could pass it: the best must be known.
        if float(limits.min()) < 0.5:
            sure = sure & self._leads(probabilities, total, error)
        return unfamiliar | (sure.any(-1) | unsure.all(-1)).cpu()

    @staticmethod
    def _leads(probabilities: Tensor, total: int, error: float) -> Tensor:
        top = mean_probability(probabilities).argmax(-1)
        of_top = probabilities.gather(-1, top.expand(len(probabilities), -1)[..., None])
        classes = probabilities.shape[-1]
        _, ahead = mean_is_settled(of_top - probabilities, total, 0.0, error / classes, -1.0)
        own = torch.nn.functional.one_hot(top, classes).bool()
        return own & (ahead | own).all(-1, keepdim=True)

    @property
    def familiarity_gate(self) -> bool:
        """Whether there were enough calibration images for the first gate."""
        return any(math.isfinite(limit) for limit in self.unfamiliar)

    @property
    def keeps_promise(self) -> bool:
        """Whether a risk was asked for and a threshold promises it, for some class at least."""
        return self.max_risk is not None and any(t > -math.inf for t in self.doubtful)

    @property
    def per_class(self) -> bool:
        """Whether the promises hold for each class."""
        return max(len(self.unfamiliar), len(self.doubtful)) > 1

    def describe(self) -> str:
        """The rule and its promises in plain sentences."""
        return describe(self)

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON; a threshold that lets all pass is "all", one that lets none "none"."""
        return {
            "kind": "calibrated",
            **asdict(self),
            "unfamiliar": [_limit_to_json(t) for t in self.unfamiliar],
            "doubtful": [_limit_to_json(t) for t in self.doubtful],
            "frontier": None if self.frontier is None else _frontier_to_json(self.frontier),
            "accepted": list(self.accepted),
            "errors": list(self.errors),
            "assumption": assumption(self),
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> CalibratedRule:
        """What :meth:`to_json` wrote."""
        if record["doubt"] not in DOUBTS:
            raise RuleError(f"unknown score of ambiguity {record['doubt']!r}")
        risk, frontier = record["max_risk"], record["frontier"]
        return CalibratedRule(
            tuple(_limit_from_json(t) for t in record["unfamiliar"]),
            tuple(_limit_from_json(t) for t in record["doubtful"]),
            str(record["doubt"]),
            None if frontier is None else _frontier_from_json(frontier),
            float(record["max_refusal"]),
            None if risk is None else float(risk),
            float(record["confidence"]),
            tuple(int(n) for n in record["accepted"]),
            tuple(int(n) for n in record["errors"]),
            CalibratedOn(**record["calibrated_on"]),
        )


def _by_class(evidence: Tensor | None) -> Tensor:
    if evidence is None:
        raise RuleError("the calibrated rule needs to know how familiar the images are")
    return class_unfamiliarity(evidence)


def _weightiest(evidence: Tensor | None, nearest: Tensor) -> Tensor:
    """The stage that weighs most against the nearest class, ``(N,)``."""
    assert evidence is not None  # noqa: S101 - asked before
    stages = evidence.shape[1]
    against = evidence.gather(2, nearest[:, None, None].expand(-1, stages, 1))[..., 0]
    return against.argmax(1)


def _limit_to_json(limit: float) -> float | str:
    if math.isinf(limit):
        return "all" if limit > 0 else "none"
    return limit


def _limit_from_json(limit: float | str) -> float:
    return {"all": math.inf, "none": -math.inf}[limit] if isinstance(limit, str) else float(limit)


def _frontier_to_json(frontier: Frontier) -> dict[str, Any]:
    return {
        "edges": [_limit_to_json(edge) for edge in frontier.edges],
        "limits": list(frontier.limits),
        "ranks": list(frontier.ranks),
        "product": frontier.product,
    }


def _frontier_from_json(record: Mapping[str, Any]) -> Frontier:
    return Frontier(
        tuple(_limit_from_json(edge) for edge in record["edges"]),
        tuple(float(limit) for limit in record["limits"]),
        tuple(int(rank) for rank in record["ranks"]),
        int(record["product"]),
    )
