"""Rules in the graph: sampled probabilities and evidence become verdicts.

It follows :mod:`nescio.refusal`: its scores, its rules and their thresholds, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from nescio.errors import RuleError
from nescio.export.graph import Graph, Value
from nescio.export.search import count_below
from nescio.refusal import CalibratedRule, NeverRefuse, QuantileRule, Rule
from nescio.refusal.calibrated import FAR
from nescio.refusal.frontier import Frontier
from nescio.refusal.scores import SHARED

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Verdict:
    """As :class:`nescio.refusal.decisions.Verdicts`, in the graph.

    Attributes:
        top: ``(n,)`` int64.
        proposed: ``(n, C)`` bool.
        ambiguous: ``(n,)`` bool.
        unfamiliar: ``(n,)`` bool.
        doubt: ``(n,)`` float32.
        unfamiliarity: ``(n,)`` float32; ``None`` where the rule does not judge familiarity.
        nearest: ``(n,)`` int64; ``None`` likewise.
        stage: ``(n,)`` int64; ``None`` likewise.
    """

    top: Value
    proposed: Value
    ambiguous: Value
    unfamiliar: Value
    doubt: Value
    unfamiliarity: Value | None = None
    nearest: Value | None = None
    stage: Value | None = None


@dataclass(frozen=True)
class Sampled:
    """What the sampled networks say, in the graph.

    Attributes:
        probabilities: ``(S, n, C)``.
        finite: ``(n,)`` bool, whether all outputs are numbers.
        samples: ``S``.
    """

    probabilities: Value
    finite: Value
    samples: int


def verdict(graph: Graph, rule: Rule, sampled: Sampled, known: Value | None) -> Verdict:
    """What the rule says.

    Args:
        graph: Where it is written.
        rule: One of nescio's own.
        sampled: What the networks say.
        known: The evidence ``(n, L, C)``, for rules that need it.

    Raises:
        RuleError: The rule is of a kind that has no graph.
    """
    if isinstance(rule, CalibratedRule) and known is not None:
        return _calibrated(graph, rule, sampled, known)
    scores = Scores(graph, sampled.probabilities, sampled.samples)
    if isinstance(rule, QuantileRule):
        return _quantile(graph, rule, scores, sampled.finite)
    if isinstance(rule, NeverRefuse):
        return _never(scores)
    raise RuleError(f"a rule of kind {type(rule).__name__} cannot be exported")


class Scores:
    """The scores of :mod:`nescio.refusal.scores`, each written when it is asked for.

    Args:
        graph: Where they are written.
        probabilities: ``(S, n, C)``.
        samples: ``S``.
    """

    def __init__(self, graph: Graph, probabilities: Value, samples: int) -> None:
        self._graph = graph
        self._p = probabilities
        self._samples = samples
        self.mean = probabilities.reduce("Mean", 0)
        self.top = top(graph, self.mean)

    def quantile(self, quantile: float, of: Value | None = None) -> Value:
        """``(n, C)``, or ``(n, ...)`` of other sampled numbers ``(S, n, ...)``."""
        last = (self._p if of is None else of).transpose(1, 2, 0)
        # In float32, as torch.quantile places it.
        place = float(torch.tensor(quantile) * (self._samples - 1))
        low = int(place)
        high = min(low + 1, self._samples - 1)
        number = np.array([high + 1], np.int64)
        rising, _ = self._graph.ops("TopK", 2, last, number, axis=2, largest=0, sorted=1)
        below, above = (
            self._graph.op("Gather", rising, np.array(at, np.int64), axis=2) for at in (low, high)
        )
        share = float(np.float32(place) - np.float32(low))
        if share < 0.5:
            return below + (above - below) * share
        return above - (above - below) * (1.0 - share)

    def expected_entropy(self) -> Value:
        """``(n,)``."""
        return self._entropy(self._p, 2).reduce("Mean", 0)

    def predictive_entropy(self) -> Value:
        """``(n,)``."""
        return self._entropy(self.mean, 1)

    def mutual_information(self) -> Value:
        """``(n,)``."""
        return self._graph.op("Max", self.predictive_entropy() - self.expected_entropy(), 0.0)

    def error_probability(self) -> Value:
        """``(n,)``."""
        others = self._graph.where(self.is_top(), 0.0, self.mean)
        return others.reduce("Sum", 1)

    def winner_shortfall(self) -> Value:
        """``(n,)``."""
        of_top = self._graph.where(self.is_top(), self._p, 0.0).reduce("Sum", 2, keep=True)
        return 1.0 - self.quantile(0.1, of_top).squeeze(1)

    def variation_ratio(self) -> Value:
        """``(n,)``."""
        first = self._graph.op("ArgMax", self._p, axis=2, keepdims=1)
        votes = self._graph.op("Equal", first, self._classes()).cast(TensorProto.FLOAT)
        return 1.0 - votes.reduce("Mean", 0).reduce("Max", 1)

    def by_name(self, name: str) -> Value:
        """One of :data:`nescio.refusal.scores.DOUBTS`.

        Raises:
            RuleError: There is none of that name here.
        """
        known: Mapping[str, Callable[[], Value]] = {
            "error_probability": self.error_probability,
            "predictive_entropy": self.predictive_entropy,
            "mutual_information": self.mutual_information,
            "winner_shortfall": self.winner_shortfall,
            "variation_ratio": self.variation_ratio,
        }
        if name not in known:
            raise RuleError(f"the score {name!r} cannot be exported")
        return known[name]()

    def _entropy(self, p: Value, axis: int) -> Value:
        # 0 log 0 is 0.
        return -(p * self._graph.op("Log", self._graph.op("Max", p, TINY))).reduce("Sum", axis)

    def is_top(self) -> Value:
        """The class with the largest mean, ``(n, C)`` bool."""
        return self._graph.op("Equal", self.top.unsqueeze(1), self._classes())

    def _classes(self) -> Value:
        return self._graph.op("Range", 0, self.mean.length(1), 1)


def top(graph: Graph, numbers: Value) -> Value:
    """The place of the largest of each row ``(n, C)``; the first of equal ones."""
    return graph.op("ArgMax", numbers, axis=1, keepdims=0)


def any_of(graph: Graph, conditions: Value, axes: Sequence[int]) -> Value:
    """Whether any holds, along these axes."""
    numbers = conditions.cast(TensorProto.INT32)
    kept = graph.op("ReduceMax", numbers, np.array(axes, np.int64), keepdims=0)
    return kept.cast(TensorProto.BOOL)


def _quantile(graph: Graph, rule: QuantileRule, scores: Scores, finite: Value) -> Verdict:
    heights = scores.quantile(rule.quantile)
    # What is not a number is never above a threshold; sorting would hide it.
    proposed = (heights > rule.threshold) & finite.unsqueeze(1)
    refused = ~any_of(graph, proposed, [1])
    doubt = 1.0 - heights.reduce("Max", 1)
    return Verdict(top(graph, heights), proposed, refused, _nowhere(refused), doubt)


def _never(scores: Scores) -> Verdict:
    highest = scores.mean.reduce("Max", 1, keep=True)
    nowhere = _nowhere((highest > 2.0).squeeze(1))
    proposed = scores.is_top()
    return Verdict(scores.top, proposed, nowhere, nowhere, 1.0 - highest.squeeze(1))


def _nowhere(like: Value) -> Value:
    return like & np.array(False)


def _calibrated(graph: Graph, rule: CalibratedRule, sampled: Sampled, known: Value) -> Verdict:
    """See :class:`nescio.refusal.CalibratedRule`: the same steps in the same order."""
    by_class = _log_sum_exp(graph, known)
    strangeness = by_class.reduce("Min", 1)
    nearest = graph.op("ArgMin", by_class, axis=1, keepdims=0)
    own = Scores(graph, _joint(graph, sampled.probabilities, by_class), sampled.samples)
    doubt = own.by_name(rule.doubt)
    limits = _float32(rule.unfamiliar)
    unfamiliar = ~any_of(graph, by_class <= limits, [1])
    if rule.frontier is None:
        each = graph.constant(_float32(rule.doubtful))
        allowed = graph.op("Gather", each, own.top) if len(rule.doubtful) > 1 else each
        refused = doubt > allowed
    else:
        steps = _float32([*rule.frontier.limits, -np.inf])
        step = count_below(graph, torch.tensor(rule.frontier.edges), strangeness)
        refused = doubt > graph.op("Gather", steps, step)
        unfamiliar = unfamiliar | (refused & _stranger(graph, rule.frontier, step, doubt))
    # Nothing can be raised here, so what is not a number is refused.
    unfamiliar = unfamiliar | ~sampled.finite
    shared = own.mean > SHARED
    two = (sampled.probabilities.reduce("Mean", 0) > SHARED).cast(TensorProto.INT64).reduce(
        "Sum", 1
    ) > 1
    far = ~any_of(graph, by_class <= limits * np.float32(FAR), [1])
    between = two & (refused | unfamiliar) & ~far & sampled.finite
    unfamiliar = unfamiliar & ~between
    rivals = (own.mean >= own.mean.reduce("Max", 1, keep=True) * 0.5) | shared
    return Verdict(
        top=own.top,
        proposed=rivals & ~unfamiliar.unsqueeze(1),
        ambiguous=(refused | between) & ~unfamiliar,
        unfamiliar=unfamiliar,
        doubt=doubt,
        unfamiliarity=strangeness,
        nearest=nearest,
        stage=_weightiest(graph, known, nearest),
    )


def _log_sum_exp(graph: Graph, known: Value) -> Value:
    """See :func:`nescio.refusal.scores.class_unfamiliarity`, ``(n, C)``."""
    most = known.reduce("Max", 1, keep=True)
    return graph.op("Log", graph.op("Exp", known - most).reduce("Sum", 1)) + most.squeeze(1)


def _stranger(graph: Graph, frontier: Frontier, step: Value, doubt: Value) -> Value:
    ranks = np.array([*frontier.ranks, 1], np.int64)
    falling = torch.tensor(frontier.limits)
    of_doubt = count_below(graph, -falling, -doubt, equal=True)
    product = graph.op("Gather", ranks, step) * graph.op("Gather", ranks, of_doubt)
    return product <= frontier.product


def _joint(graph: Graph, probabilities: Value, by_class: Value) -> Value:
    """See :func:`nescio.refusal.scores.joint_probability`."""
    beyond = by_class - by_class.reduce("Min", 1, keep=True)
    weights = graph.op("Exp", -graph.where(graph.op("IsNaN", beyond), 0.0, beyond))
    joint = probabilities * weights
    total = joint.reduce("Sum", 2, keep=True)
    nothing = total < TINY
    # Where no class has a chance, all classes are as probable: equal weights stand for that.
    some = graph.where(nothing, 1.0, joint)
    return some / some.reduce("Sum", 2, keep=True)


def _weightiest(graph: Graph, known: Value, nearest: Value) -> Value:
    """The stage that weighs most against the nearest class, ``(n,)``."""
    classes = graph.op("Range", 0, known.length(2), 1)
    own = graph.op("Equal", nearest.unsqueeze(1, 2), classes)
    return top(graph, graph.where(own, known, float("-inf")).reduce("Max", 2))


def _float32(numbers: Sequence[float]) -> np.ndarray[Any, Any]:
    return np.array(numbers, np.float32)
