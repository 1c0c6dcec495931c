"""Studies: their columns, their file, and what is drawn from them."""

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_studies import CLASSES, SPECIMEN, decisions, make_up

from nescio.errors import DataError, StudyError, UsageError
from nescio.evaluation import (
    Answers,
    Evaluation,
    evaluation_of,
    read_study,
    results_json,
    study_from_json,
    study_to_json,
    summarise,
    write_study,
)
from nescio.evaluation.figures import compact, judged_set, rule_name, studied_rule
from nescio.evaluation.studyfile import FORMAT_VERSION
from nescio.refusal import NeverRefuse, QuantileRule, parse_rule


def same(a: Any, b: Any) -> bool:
    return study_to_json(a) == study_to_json(b)


def test_a_study_comes_back_from_its_file(tmp_path: Path) -> None:
    study = make_up()
    write_study(tmp_path / "s.json", study)
    again = read_study(tmp_path / "s.json")
    assert same(study, again)
    assert again.specimens == (replace(SPECIMEN),) or again.specimens[0].png == SPECIMEN.png
    assert again.model.reference is not None
    assert again.model.reference.tolist() == [0.5, np.inf]
    assert again.test.labels is not None
    assert again.test.labels.dtype == np.int32
    assert again.rules[0].figures.risk_at_coverage.keys() == {0.8, 0.9, 0.95, 0.99}
    assert evaluation_of(again).to_json() == evaluation_of(study).to_json()
    assert (again.confusion() == study.confusion()).all()


def test_the_file_is_strict_json(tmp_path: Path) -> None:
    write_study(tmp_path / "s.json", make_up())
    text = (tmp_path / "s.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    record = json.loads(text)
    assert (record["format"], record["version"]) == ("nescio study", FORMAT_VERSION)


@pytest.mark.parametrize(
    ("version", "words"),
    [(FORMAT_VERSION + 1, "update nescio"), (0, "make it again"), (None, "make it again")],
)
def test_another_version_says_what_to_do(tmp_path: Path, version: object, words: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(study_to_json(make_up()) | {"version": version}))
    with pytest.raises(StudyError, match=words) as caught:
        read_study(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{}", "NaN", '{"format": "other"}', "\0", "[" * 10**5])
def test_what_is_no_study(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(StudyError, match="this is no study"):
        read_study(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StudyError, match="this is no study"):
        read_study(tmp_path / "bytes.json")


def column(values: np.ndarray, **changes: object) -> dict[str, object]:
    data = base64.b64encode(zlib.compress(values.tobytes())).decode()
    return {"dtype": str(values.dtype), "shape": list(values.shape), "data": data} | changes


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s.pop("forced"),
        lambda s: s.update(samples="5"),
        lambda s: s.update(samples=True),
        lambda s: s["test"].update(labels=None),
        lambda s: s["test"].update(forced=column(np.zeros(3, np.int32))),
        lambda s: s["test"].update(forced=column(np.full(40, 3, np.int32))),
        lambda s: s["test"].update(confidence=column(np.full(40, np.nan, np.float32))),
        lambda s: s["test"].update(confidence=column(np.zeros(40, np.complex128))),
        lambda s: s["test"].update(confidence=column(np.zeros(50, np.float32), shape=[40])),
        lambda s: s["test"].update(confidence=column(np.zeros(40, np.float32), shape=[2**40])),
        lambda s: s["test"].update(confidence=column(np.zeros(40, np.float32), data="!")),
        lambda s: s["test"].update(confidence=column(np.zeros(40, np.float32), data="AAAA")),
        lambda s: s["test"].update(probability=column(np.zeros((40, 2), np.float32))),
        lambda s: s["test"].update(answers=s["test"]["answers"][:1]),
        lambda s: s["test"].update(names=["one"]),
        lambda s: s["rules"][0]["shifted"].clear(),
        lambda s: s["rules"].clear(),
        lambda s: s["forced"]["nll"].update(low=9.0),
        lambda s: s["forced"]["nll"].update(value="nan"),
        lambda s: s["specimens"][0].update(png="x"),
    ],
)
def test_a_damaged_study(spoil: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(json.dumps(study_to_json(make_up())))
    assert same(study_from_json(record), make_up())
    spoil(record["study"])
    with pytest.raises(StudyError, match=r"study: the study is damaged \(.+\); make it again"):
        study_from_json(record)


def test_columns_by_hand() -> None:
    probabilities = torch.tensor([[[0.9, 0.1, 0.0], [0.4, 0.3, 0.3]]])
    rule = QuantileRule(0.5, 0.6)
    judged = judged_set("x", [decisions(probabilities, rule, CLASSES)], labels=torch.tensor([0, 1]))
    assert judged.names == ("x[0]", "x[1]")
    assert judged.answers[0].fate.tolist() == [0, 1]
    assert judged.answers[0].accepted.tolist() == [True, False]
    assert judged.label_probability is not None
    assert judged.label_probability.tolist() == pytest.approx([0.9, 0.3])
    assert judged.brier is not None
    assert judged.brier.tolist() == pytest.approx([0.02, 0.16 + 0.49 + 0.09])
    assert compact(judged, test=False).probability is None


def test_many_probabilities_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_up()
    assert study.test.probability is not None
    monkeypatch.setattr("nescio.evaluation.figures.MOST_PROBABILITIES", 40 * 3 - 1)
    other = make_up()
    assert other.test.probability is None
    assert other.forced == study.forced


def test_confusion_has_a_column_for_refusals() -> None:
    study = make_up()
    table = study.confusion()
    assert table.shape == (3, 4)
    assert table.sum(1).tolist() == [14, 13, 13]
    assert table[:, 3].sum() == study.rules[0].figures.refused
    assert study.confusion(1)[:, 3].sum() == 0


def test_no_answer_is_no_accuracy_and_no_nan() -> None:
    study = make_up(rules=(QuantileRule(0.5, 0.999999),))
    result = results_json(study)
    assert result["refused"] == 40
    assert result["accepted_accuracy"] is None
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("right", [True, False])
def test_one_class_all_alike(right: bool) -> None:
    probabilities = torch.zeros(2, 5, 2)
    probabilities[..., 0] = 1.0
    labels = torch.full((5,), 0 if right else 1)
    result = summarise(
        "x",
        labels,
        decisions(probabilities, NeverRefuse(), ("a", "b")),
        NeverRefuse(),
        {},
        seed=0,
        seconds={},
        resamples=20,
    )
    assert result.forced_accuracy.value == (1.0 if right else 0.0)
    assert result.aurc == (0.0 if right else 1.0)
    assert result.ece == (0.0 if right else 1.0)
    json.dumps(result.to_json(), allow_nan=False)


def test_an_empty_set_is_an_error() -> None:
    empty = decisions(torch.zeros(2, 0, 3), NeverRefuse(), CLASSES)
    with pytest.raises(DataError, match="x: no image to evaluate on"):
        judged_set("x", [empty])


def test_perfect_detection_has_an_interval_all_the_same() -> None:
    study = make_up(rules=(NeverRefuse(),))
    far = replace(
        study.shifted["noise"].answers[0],
        unfamiliarity=np.full(len(study.shifted["noise"]), 5.0, np.float32),
    )
    shifted = {"noise": replace(study.shifted["noise"], answers=(far,))}
    figures = studied_rule(NeverRefuse(), 0, study.test, shifted, resamples=20).shifted["noise"]
    assert figures.auroc.value == figures.auroc.high == 1.0
    assert figures.auroc.low == pytest.approx(0.025 ** (1 / 21))
    assert figures.fpr95.high == pytest.approx(1 - 0.025 ** (1 / 21))


def test_the_json_has_the_old_keys_and_the_new() -> None:
    study = make_up()
    result = results_json(study)
    assert isinstance(evaluation_of(study), Evaluation)
    for key in ("aurc", "augrc", "excess_aurc", "nll", "brier", "ece", "ece_equal_mass"):
        assert isinstance(result[key], float)
        assert result["intervals"][key]["value"] == result[key]
    other = result["ood"]["noise"]
    assert other["intervals"]["auroc"]["low"] <= other["auroc"]
    assert result["risk_at_coverage"].keys() == {"0.8", "0.9", "0.95", "0.99"}
    assert list(result["rules"]) == ["median:0.6", "none"]
    assert result["rules"]["none"]["refused"] == 0
    assert result["corruptions"]["blur"]["grades"][0]["accepted_accuracy"] is None
    assert "rules" not in results_json(make_up(rules=(NeverRefuse(),)))


@pytest.mark.parametrize("name", ["none", "median:0.2", "0.1:0.5"])
def test_a_rule_has_the_name_that_it_was_asked_for_by(name: str) -> None:
    assert rule_name(parse_rule(name)) == name


def test_two_hundred_classes() -> None:
    classes = tuple(f"class {i}" for i in range(200))
    study = make_up(30, classes=classes, rules=(NeverRefuse(),))
    assert study.confusion().shape == (200, 201)
    assert same(study, study_from_json(json.loads(json.dumps(study_to_json(study)))))


def test_resamples_must_be_some() -> None:
    with pytest.raises(UsageError, match="at least 1 resample"):
        make_up(resamples=0)


def test_answers_are_few_bytes() -> None:
    answers = make_up().test.answers[0]
    assert isinstance(answers, Answers)
    assert answers.fate.dtype == np.int8
    assert answers.doubt.dtype == np.float32
