import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests_support import calibrated_rule

from nescio.errors import RuleError
from nescio.refusal import (
    Decisions,
    Frontier,
    NeverRefuse,
    QuantileRule,
    Reason,
    mean_probability,
    parse_rule,
    quantile_probability,
    rule_from_json,
)

probabilities = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(2, 5)),
    elements=st.floats(np.float32(0.001), 1, width=32),
).map(lambda a: torch.from_numpy(a / a.sum(-1, keepdims=True)))
unit = st.floats(0.01, 0.99)


def decide(rule: object, p: torch.Tensor, evidence: torch.Tensor | None = None) -> Decisions:
    names = tuple("abcdefg"[: p.shape[-1]])
    return Decisions(
        classes=names,
        verdicts=rule(p, evidence),  # type: ignore[operator]
        forced=p.mean(0).argmax(-1),
        probability=mean_probability(p),
        median=quantile_probability(p, 0.5),
        scores={"x": torch.zeros(p.shape[1])},
        samples=torch.full((p.shape[1],), len(p)),
        stages=() if evidence is None else ("image", "output"),
    )


def test_the_articles_rule_by_hand() -> None:
    # Five networks; medians of the three classes by hand.
    p = torch.tensor(
        [
            [[0.90, 0.05, 0.05], [0.5, 0.4, 0.1], [0.15, 0.15, 0.70]],
            [[0.80, 0.10, 0.10], [0.4, 0.5, 0.1], [0.70, 0.15, 0.15]],
            [[0.10, 0.80, 0.10], [0.3, 0.6, 0.1], [0.15, 0.70, 0.15]],
            [[0.85, 0.05, 0.10], [0.6, 0.3, 0.1], [0.10, 0.80, 0.10]],
            [[0.95, 0.03, 0.02], [0.2, 0.7, 0.1], [0.80, 0.10, 0.10]],
        ]
    )
    decisions = decide(QuantileRule(0.5, 0.2), p)
    # Image 0: medians 0.85, 0.05, 0.10: one class. Image 1: 0.4, 0.5, 0.1: two are
    # proposed, the higher is the answer. Image 2: 0.15, 0.15, 0.15: none.
    assert [d.label for d in decisions] == ["a", "b", None]
    assert [d.proposed for d in decisions] == [("a",), ("a", "b"), ()]
    assert [d.reason for d in decisions] == [None, None, Reason.AMBIGUOUS]
    assert decisions[0].median == pytest.approx({"a": 0.85, "b": 0.05, "c": 0.10})
    assert decisions.refused == 1
    assert str(decisions[2]) == "I don't know (ambiguous, perhaps a)"
    # The stricter rule: the 10th percentile of image 0's class a is 0.1 + 0.4 * 0.7 = 0.38.
    assert [d.accepted for d in decide(QuantileRule(0.1, 0.37), p)] == [True, False, False]
    assert [d.accepted for d in decide(QuantileRule(0.1, 0.39), p)] == [False, False, False]


@settings(deadline=None)
@given(probabilities, unit, unit, unit)
def test_a_higher_threshold_never_accepts_more(
    p: torch.Tensor, quantile: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    strict = decide(QuantileRule(quantile, high), p)
    loose = decide(QuantileRule(quantile, low), p)
    assert not bool((strict.accepted & ~loose.accepted).any())


@settings(deadline=None)
@given(probabilities, unit, unit)
def test_refused_exactly_when_nothing_is_proposed(
    p: torch.Tensor, quantile: float, threshold: float
) -> None:
    decisions = decide(QuantileRule(quantile, threshold), p)
    assert torch.equal(decisions.accepted, decisions.verdicts.proposed.any(-1))
    for decision in decisions:
        assert (decision.label in decision.proposed) == decision.accepted
        assert (decision.reason is None) == decision.accepted


@settings(deadline=None)
@given(probabilities, unit, unit, st.randoms(use_true_random=False))
def test_renaming_classes_renames_the_answer(
    p: torch.Tensor, quantile: float, threshold: float, random: object
) -> None:
    order = list(range(p.shape[-1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    rule = QuantileRule(quantile, threshold)
    plain, permuted = rule(p), rule(p[..., order])
    assert torch.equal(permuted.proposed, plain.proposed[:, order])
    assert torch.allclose(permuted.ambiguity, plain.ambiguity)


def test_never_refuse() -> None:
    decisions = decide(NeverRefuse(), torch.full((3, 2, 4), 0.25))
    assert decisions.refused == 0
    assert [len(d.proposed) for d in decisions] == [1, 1]


def test_the_calibrated_rule_by_hand() -> None:
    sure, unsure = torch.tensor([0.98, 0.01, 0.01]), torch.tensor([0.4, 0.35, 0.25])
    p = torch.stack([sure, sure, unsure, unsure, unsure]).expand(2, 5, 3)
    # Two stages, whose evidence adds up as log(e^x + e^y). Image 1 is of no class: of class b, the
    # nearest, it has log(e^3 + e^9) nats. Image 2 is as far from every class, and unsure; image 3
    # is strange, too, but the networks see two classes in it, and it is not far; image 4 is.
    near, far = torch.tensor([[0.0, 9, 9], [3.0, 9, 9]]), torch.tensor([[9.0, 3, 9], [9.0, 9, 30]])
    evidence = torch.stack([near, far, torch.ones(2, 3), far, far + 9])
    decisions = decide(calibrated_rule(8.9, 0.5), p, evidence)
    unfamiliar, ambiguous = Reason.UNFAMILIAR, Reason.AMBIGUOUS
    assert [d.reason for d in decisions] == [None, unfamiliar, ambiguous, ambiguous, unfamiliar]
    assert [d.proposed for d in decisions] == [("a",), (), ("a", "b", "c"), ("a", "b"), ()]
    together = [math.log(1 + math.exp(3)), 9 + math.log1p(math.exp(-6)), 1 + math.log(2)]
    expected = [*together, together[1], together[1] + 9]
    assert decisions.verdicts.unfamiliarity.tolist() == pytest.approx(expected)
    assert (decisions[1].nearest, decisions[1].stage) == ("b", "output")
    assert (decisions[0].nearest, decisions[0].stage) == ("a", "output")
    assert str(decisions[0]) == "a"
    assert str(decisions[1]) == (
        "I don't know (unfamiliar, nearest to b, given away by stage output)"
    )
    assert str(decisions[2]) == "I don't know (ambiguous, between a and b and c)"
    # The nearest class is b, of which the networks that say a know that it is e^6 times likelier.
    assert decide(calibrated_rule(18.1, 1.0), p, evidence).refused == 0
    assert decide(calibrated_rule(18.1, -math.inf), p, evidence).refused == 5
    off = calibrated_rule(math.inf, images=20)
    assert decide(off, p, evidence)[1].accepted
    assert "too few" in off.describe()
    with pytest.raises(RuleError, match="how familiar"):
        calibrated_rule()(p)


def test_thresholds_for_each_class() -> None:
    p = torch.tensor([[[0.8, 0.2], [0.2, 0.8]]])
    evidence = torch.tensor([[[5.0, 9.0]], [[9.0, 5.0]]])
    rule = replace(calibrated_rule(), unfamiliar=(4.0, 6.0), doubtful=(0.5, 0.001))
    # Image 0 is too strange for class a (5 > 4) and for b (9 > 6); image 1 is familiar as a b
    # (5 < 6): with 4 nats more against a it is wrong with
    # probability 0.2 exp(-4) / (0.8 + 0.2 exp(-4)) = 0.005, but b is answered only when surer.
    assert [d.reason for d in decide(rule, p, evidence)] == [Reason.UNFAMILIAR, Reason.AMBIGUOUS]
    assert rule.per_class
    assert "of each class" in rule.describe()


STAIRS = Frontier((2.0, 4.0, math.inf), (0.5, 0.1, 0.01), (9, 3, 1), 9)
SHARED = replace(calibrated_rule(), unfamiliar=(math.inf,), frontier=STAIRS)


def test_the_stranger_the_less_doubt_is_allowed() -> None:
    # One stage and alike against both classes, so the doubt is the network's own.
    doubt = torch.tensor([0.4, 0.4, 0.05, 0.05, 0.05, 0.005])
    strange = torch.tensor([2.0, 3.0, 3.0, 5.0, 4.0, 50.0])
    p = torch.stack([1 - doubt, doubt], -1)[None]
    decisions = decide(SHARED, p, strange[:, None, None].expand(-1, 1, 2))
    # 0.4 is refused from the second step on: each of the two classes has more than a fifth; 0.05
    # on the last step, where the strangeness is what is rare: of 9 in product its place there.
    unfamiliar = Reason.UNFAMILIAR
    assert [d.reason for d in decisions] == [None, Reason.AMBIGUOUS, None, unfamiliar, None, None]
    one = p.clone()
    one[0, 1] = torch.tensor([0.85, 0.15])
    assert decide(SHARED, one, strange[:, None, None].expand(-1, 1, 2))[1].reason is unfamiliar
    rarer = replace(SHARED, frontier=replace(STAIRS, product=8))
    assert decide(rarer, one, strange[:, None, None].expand(-1, 1, 2))[1].reason is Reason.AMBIGUOUS
    ended = replace(STAIRS, edges=(2.0, 4.0, 6.0))
    rule = replace(SHARED, frontier=ended, unfamiliar=(ended.end,))
    assert decide(rule, p, strange[:, None, None].expand(-1, 1, 2))[5].reason is unfamiliar


@pytest.mark.parametrize(
    "rule",
    [
        QuantileRule(0.5, 0.2),
        SHARED,
        NeverRefuse(),
        calibrated_rule(0.25),
        calibrated_rule(math.inf, -math.inf, max_risk=0.01),
        calibrated_rule(math.inf, math.inf, max_risk=0.01, accepted=3000),
    ],
)
def test_json_round_trip(rule: object) -> None:
    record = json.loads(json.dumps(rule.to_json(), allow_nan=False))  # type: ignore[attr-defined]
    assert rule_from_json(record) == rule


@pytest.mark.parametrize(
    "record", [{"kind": "other"}, {"kind": "quantile"}, {"kind": "calibrated"}, {}, {"kind": None}]
)
def test_json_that_is_no_rule(record: dict[str, object]) -> None:
    with pytest.raises(RuleError):
        rule_from_json(record)


def test_rules_by_name() -> None:
    assert parse_rule("median:0.2") == QuantileRule(0.5, 0.2)
    assert parse_rule("0.1:0.5") == QuantileRule(0.1, 0.5)
    assert parse_rule("none") == NeverRefuse()
    calibrated = calibrated_rule()
    assert parse_rule("calibrated", calibrated) is calibrated
    with pytest.raises(RuleError, match="has no calibrated rule"):
        parse_rule("calibrated")


@pytest.mark.parametrize(
    "text", ["", "median", "median:", "median:0", "median:1", "0:0.5", "1:0.5", "nan:0.5",
             "median:nan", "0.5:inf", "-0.1:0.5", "half:0.2", "a:b:c"],
)  # fmt: skip
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(RuleError):
        parse_rule(text)


def test_decisions_index_like_a_sequence() -> None:
    decisions = decide(NeverRefuse(), torch.full((2, 3, 2), 0.5))
    assert len(list(decisions)) == len(decisions) == 3
    assert decisions[-1] == decisions[2]
    with pytest.raises(IndexError):
        decisions[3]
    joined = Decisions.concatenate([decisions, decisions])
    assert len(joined) == 6
