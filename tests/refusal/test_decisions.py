"""A decision as JSON."""

import json
import math

from nescio.refusal import Decision, Reason


def test_a_decision_is_json_whatever_its_scores() -> None:
    decision = Decision(
        label=None,
        accepted=False,
        reason=Reason.UNFAMILIAR,
        forced="a",
        proposed=("a", "b"),
        probability={"a": 0.75, "b": 0.25},
        median={"a": 0.5, "b": 0.5},
        scores={"unfamiliarity": math.inf, "familiarity": 0.25, "odd": math.nan},
        samples=7,
        nearest="a",
        stage="image",
    )
    told = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    assert told == {
        "label": None,
        "accepted": False,
        "reason": "unfamiliar",
        "proposed": ["a", "b"],
        "nearest": "a",
        "stage": "image",
        "probability": {"a": 0.75, "b": 0.25},
        "median": {"a": 0.5, "b": 0.5},
        "scores": {"unfamiliarity": None, "familiarity": 0.25, "odd": None},
        "samples": 7,
    }
