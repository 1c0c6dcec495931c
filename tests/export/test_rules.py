"""Every rule in the graph against the rule itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_support import Piece
from tests_support import calibrated_rule
from torch import Tensor

from nescio.errors import RuleError
from nescio.export.graph import Graph, Value
from nescio.export.rules import Sampled, any_of, verdict
from nescio.refusal import NeverRefuse, QuantileRule, Rule
from nescio.refusal.frontier import Frontier
from nescio.refusal.scores import DOUBTS

SAMPLES, IMAGES, CLASSES, STAGES = 7, 40, 4, 3
FRONTIER = Frontier((0.5, 1.2, 2.0), (0.6, 0.4, 0.1), (40, 9, 3), 60)

RULES: dict[str, Rule] = {
    "none": NeverRefuse(),
    **{f"{q}:{t}": QuantileRule(q, t) for q in (0.1, 0.5, 0.77) for t in (0.2, 0.5)},
    **{name: replace(calibrated_rule(1.2, 0.3), doubt=name) for name in DOUBTS},
    "frontier": replace(calibrated_rule(2.5, 0.5), frontier=FRONTIER),
    "classes": replace(
        calibrated_rule(),
        unfamiliar=(1.0, 0.2, math.inf, 0.6),
        doubtful=(0.1, -math.inf, 0.7, 0.4),
    ),
    "open": calibrated_rule(math.inf, -math.inf),
}


def piece_of(rule: Rule) -> Piece:
    def write(graph: Graph, p: Value, known: Value) -> dict[str, tuple[Value, str]]:
        finite = ~any_of(graph, graph.op("IsNaN", p), [0, 2])
        said = verdict(graph, rule, Sampled(p, finite, SAMPLES), known)
        results = {
            "top": (said.top, "int64"),
            "proposed": (said.proposed, "bool"),
            "ambiguous": (said.ambiguous, "bool"),
            "unfamiliar": (said.unfamiliar, "bool"),
            "ambiguity": (said.doubt, "float32"),
            # So that both inputs are used, whatever the rule.
            "given": (known * 1.0, "float32"),
        }
        if said.unfamiliarity is not None and said.nearest is not None and said.stage is not None:
            results["unfamiliarity"] = (said.unfamiliarity, "float32")
            results["nearest"] = (said.nearest, "int64")
            results["stage"] = (said.stage, "int64")
        return results

    return Piece(write, p=(3, "float32"), known=(3, "float32"))


@pytest.fixture(scope="module")
def pieces() -> dict[str, Piece]:
    return {name: piece_of(rule) for name, rule in RULES.items()}


def sampled(seed: int) -> tuple[Tensor, Tensor]:
    """Probabilities that agree more or less, and evidence that does."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(1, IMAGES, CLASSES, generator=generator)
    logits = logits + torch.randn(SAMPLES, IMAGES, CLASSES, generator=generator)
    evidence = torch.rand(IMAGES, STAGES, CLASSES, generator=generator) * 4
    evidence *= torch.rand(IMAGES, 1, 1, generator=generator)
    return logits.softmax(-1), evidence


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_the_graph_says_what_the_rule_says(pieces: dict[str, Piece], seed: int) -> None:
    probabilities, evidence = sampled(seed)
    for name, rule in RULES.items():
        own = rule(probabilities, evidence if rule.needs_evidence else None)
        theirs = pieces[name](p=probabilities, known=evidence)
        for what in ("top", "ambiguous", "unfamiliar", "proposed", "nearest", "stage"):
            if what in theirs:
                assert torch.equal(theirs[what], getattr(own, what)), (name, what)
        assert torch.allclose(theirs["ambiguity"], own.ambiguity, atol=1e-6), name
        if "unfamiliarity" in theirs:
            assert torch.allclose(theirs["unfamiliarity"], own.unfamiliarity, atol=1e-6), name


def test_the_cases_are_of_every_kind() -> None:
    probabilities, evidence = sampled(0)
    kinds = {name: rule(probabilities, evidence) for name, rule in RULES.items()}
    assert bool(kinds["frontier"].ambiguous.any())
    assert bool(kinds["frontier"].unfamiliar.any())
    assert not bool((kinds["frontier"].ambiguous | kinds["frontier"].unfamiliar).all())
    assert bool(kinds["classes"].unfamiliar.any() or kinds["classes"].ambiguous.any())
    assert bool(kinds["0.5:0.5"].ambiguous.any())


def test_what_is_infinitely_far_or_not_a_number_is_refused(pieces: dict[str, Piece]) -> None:
    probabilities, evidence = sampled(1)
    evidence[0] = torch.inf
    own = RULES["frontier"](probabilities, evidence)
    theirs = pieces["frontier"](p=probabilities, known=evidence)
    assert bool(theirs["unfamiliar"][0])
    assert torch.equal(theirs["top"], own.top)
    probabilities[2, 3] = torch.nan
    for name in ("frontier", "open", "0.5:0.2"):
        theirs = pieces[name](p=probabilities, known=evidence)
        assert bool(theirs["unfamiliar"][3] | theirs["ambiguous"][3]), name


def test_a_rule_of_another_kind_is_not_exported() -> None:
    graph = Graph()
    x = Value(graph, "x")
    with pytest.raises(RuleError, match="str cannot be exported"):
        verdict(graph, "median", Sampled(x, x, 1), None)  # type: ignore[arg-type]
