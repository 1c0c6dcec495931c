"""Comparisons: paired differences, and what cannot be compared."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_studies import CLASSES, card, make_up
from scipy import optimize, stats

from nescio.errors import StudyError
from nescio.evaluation import Study, compare, judged_by
from nescio.evaluation.bootstrap import resampled
from nescio.evaluation.compare import FIGURES, SHIFTED_FIGURES
from nescio.evaluation.paired import mcnemar, paired_shares, score_interval
from nescio.refusal import NeverRefuse, QuantileRule


def named(study: Study, name: str) -> Study:
    return replace(study, model=replace(study.model, name=name))


def test_a_study_does_not_differ_from_itself() -> None:
    study = make_up()
    result = compare([study, study], resamples=30)
    assert result.names == ("m", "m-2")
    assert {f.name for f in result.figures if f.set is None} == {
        "forced_accuracy",
        "coverage",
        *FIGURES,
    }
    assert {f.name for f in result.figures if f.set == "noise"} == {
        "refusal_rate",
        *SHIFTED_FIGURES,
    }
    for figure in result.figures:
        assert figure.differences[0] is None
        difference = figure.differences[1]
        assert difference is not None
        assert difference.value == 0.0
        assert figure.p_values[1] in {None, 1.0}


def test_differences_are_paired() -> None:
    first, second = make_up(60, seed=1), make_up(60, seed=2, name="n")
    result = compare([first, second], resamples=200, seed=4)
    (nll,) = (f for f in result.figures if f.name == "nll")
    assert nll.values == (first.forced.nll, second.forced.nll)
    losses = [
        -np.log(study.test.label_probability.astype(float))  # type: ignore[union-attr]
        for study in (first, second)
    ]
    gaps = resampled(
        lambda w: {"gap": w @ (losses[1] - losses[0]) / 60}, 60, resamples=200, seed=4
    )["gap"]
    difference = nll.differences[1]
    assert difference is not None
    assert difference.value == pytest.approx((losses[1] - losses[0]).mean(), abs=1e-6)
    assert difference.low == pytest.approx(np.quantile(gaps, 0.025), abs=1e-6)
    assert difference.high == pytest.approx(np.quantile(gaps, 0.975), abs=1e-6)
    json.dumps(result.to_json(), allow_nan=False)


def test_the_json_of_three() -> None:
    result = compare([make_up(seed=s, name=f"s{s}") for s in range(3)], resamples=20).to_json()
    assert [model["name"] for model in result["models"]] == ["s0", "s1", "s2"]
    entries = result["figures"]["forced_accuracy"]
    assert [entry["difference"] is None for entry in entries] == [True, False, False]
    assert 0 <= entries[2]["p"] <= 1
    assert result["ood"]["noise"]["n"] == 21
    assert len(result["ood"]["noise"]["auroc"]) == 3


def test_no_answer_has_no_difference() -> None:
    silent = make_up(rules=(QuantileRule(0.5, 0.999999),))
    result = compare([silent, make_up(rules=(NeverRefuse(),), name="n")], resamples=20)
    (accuracy,) = (f for f in result.figures if f.name == "accepted_accuracy")
    assert accuracy.values[0] is None
    assert accuracy.differences == (None, None)
    json.dumps(result.to_json(), allow_nan=False)


def test_without_probabilities_the_classwise_error_has_no_difference() -> None:
    study = make_up()
    lacking = replace(study, test=replace(study.test, probability=None))
    result = compare([study, lacking], resamples=20)
    (classwise,) = (f for f in result.figures if f.name == "classwise_ece")
    assert classwise.values == (study.forced.classwise_ece,) * 2
    assert classwise.differences == (None, None)


def test_sets_that_only_some_have_are_left_out() -> None:
    result = compare([make_up(), make_up(shifted=("noise", "letters"), name="n")], resamples=20)
    assert (list(result.sizes), result.left_out) == (["noise"], ("letters",))
    alone = compare([make_up(shifted=()), make_up(shifted=(), name="n")], resamples=20)
    assert {f.set for f in alone.figures} == {None}


def test_one_is_no_comparison() -> None:
    with pytest.raises(StudyError, match="at least two"):
        compare([make_up()])


def test_unlike_classes() -> None:
    other = make_up(classes=(*CLASSES[:2], "x"), name="n")
    with pytest.raises(StudyError, match="only models of the same classes") as caught:
        compare([make_up(), other])
    assert "\n" not in str(caught.value)


def test_unlike_images() -> None:
    with pytest.raises(StudyError, match=r"m and n were not .* images of made \(40 and 39\)"):
        compare([make_up(40), make_up(39, name="n")])
    study = make_up()
    shifted = {"noise": replace(study.shifted["noise"], fingerprint="another")}
    with pytest.raises(StudyError, match="not judged on the same images of noise"):
        compare([study, named(replace(study, shifted=shifted), "n")])


def test_models_of_unlike_image_shapes_are_compared_by_names_and_labels() -> None:
    study = make_up()
    other = replace(
        study,
        model=card("n", images=(3, 32, 32)),
        test=replace(study.test, fingerprint="in colour"),
        shifted={"noise": replace(study.shifted["noise"], fingerprint="in colour")},
    )
    assert compare([study, other], resamples=5).n == 40
    renamed = replace(other, test=replace(other.test, names=("x",) * 40))
    with pytest.raises(StudyError, match="same images of made"):
        compare([study, renamed])


def test_another_rule_of_a_study() -> None:
    study = make_up()
    other = judged_by(study, "none")
    assert [rule.name for rule in other.rules] == ["none"]
    assert other.test.answers == (study.test.answers[1],)
    assert compare([judged_by(study, "none"), other], resamples=5).rules == ("none", "none")
    with pytest.raises(StudyError, match=r"no rule 'calibrated' \(it has median:0.6, none\)"):
        judged_by(study, "calibrated")


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 0), (7, 4), (0, 9)])
def test_mcnemar_by_coin_tosses(gained: int, lost: int) -> None:
    tosses = gained + lost
    tail = sum(math.comb(tosses, k) for k in range(min(gained, lost) + 1)) / 2**tosses
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail))


def restricted_score(gained: int, lost: int, total: int, delta: float) -> float:
    """The score statistic with the chances of a gain and a loss found by a search."""

    def unlikely(loss: float) -> float:
        gain = loss + delta
        rest = 1 - gain - loss
        terms = ((gained, gain), (lost, loss), (total - gained - lost, rest))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in terms if k)

    bounds = max(0.0, -delta), (1 - delta) / 2
    loss = optimize.minimize_scalar(
        unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    ).x
    variance = (2 * loss + delta - delta**2) / total
    return ((gained - lost) / total - delta) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("gained", "lost", "total"), [(0, 0, 50), (1, 0, 50), (9, 4, 60), (3, 15, 300), (20, 0, 30)]
)
def test_the_score_interval_ends_where_its_test_does(gained: int, lost: int, total: int) -> None:
    interval = score_interval(gained, lost, total)
    quantile = stats.norm.ppf(0.975)
    assert restricted_score(gained, lost, total, interval.low) == pytest.approx(quantile, abs=2e-3)
    assert restricted_score(gained, lost, total, interval.high) == pytest.approx(
        -quantile, abs=2e-3
    )


def test_the_score_interval_of_no_difference() -> None:
    """With nothing seen, delta = q^2 / (n + q^2) in closed form."""
    square = stats.norm.ppf(0.975) ** 2
    interval = score_interval(0, 0, 200)
    assert interval.high == pytest.approx(square / (200 + square))
    assert interval.low == pytest.approx(-interval.high)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 30))
def test_the_score_interval_is_symmetric_and_in_range(gained: int, lost: int, more: int) -> None:
    total = max(1, gained + lost + more)
    one, other = score_interval(gained, lost, total), score_interval(lost, gained, total)
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


@pytest.mark.parametrize("chances", [(0.03, 0.01), (0.2, 0.2), (0.004, 0.002)])
def test_the_score_interval_covers_a_known_truth(chances: tuple[float, float]) -> None:
    gain, loss = chances
    rng = np.random.default_rng(0)
    covered = 0
    for gained, lost, _ in rng.multinomial(300, [gain, loss, 1 - gain - loss], 300):
        interval = score_interval(int(gained), int(lost), 300)
        covered += interval.low <= gain - loss <= interval.high
    assert covered >= 273  # 95 % of 300, less 3 deviations


def test_paired_shares_count_the_images_that_differ() -> None:
    first = np.array([True, True, False, False, True])
    second = np.array([True, False, True, True, True])
    difference, p = paired_shares(first, second)
    assert difference == score_interval(2, 1, 5)
    assert difference.value == pytest.approx(0.2)
    assert p == 1.0
