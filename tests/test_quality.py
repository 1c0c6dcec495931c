"""Quality beyond MNIST: the arithmetic of its figures, and a guard on them."""

import json
import math
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
import quality
import quality_tables
import torch
from quality import FIRST_SEED, GUARD, case_of, recalibrated, repeat, shapes_world, some_of_each
from quality_tables import DOCS, mean_and_half, mean_share
from scipy import stats
from tests_support import stripes

from nescio.data import shapes
from nescio.evaluation.intervals import exact_share
from nescio.refusal import CalibrationScores


def test_a_share_of_one_training_set_has_the_exact_interval() -> None:
    found = mean_share([(7, 10)])
    assert found == exact_share(7, 10)
    # Sets that are alike by chance are no better known than all their images.
    assert mean_share([(5, 10)] * 4) == exact_share(20, 40)
    assert mean_share([(0, 0)]) is None


def test_a_share_over_training_sets_that_differ_has_students_interval() -> None:
    shares = [0.2, 0.5, 0.9]
    found = mean_share([(round(1000 * s), 1000) for s in shares])
    assert found is not None
    half = float(stats.t.ppf(0.975, 2)) * float(np.std(shares, ddof=1)) / math.sqrt(3)
    assert found.value == pytest.approx(sum(shares) / 3)
    assert (found.low, found.high) == (0.0, 1.0)  # wider than what there is
    assert mean_and_half(shares) == (pytest.approx(sum(shares) / 3), pytest.approx(half))


def test_so_many_of_each_class() -> None:
    chosen = some_of_each(stripes(300, 1), 7, seed=3)
    assert torch.bincount(chosen.require_labels()).tolist() == [7, 7, 7]
    assert len(set(chosen.names)) == 21
    assert chosen.names == some_of_each(stripes(300, 1), 7, seed=3).names
    assert chosen.names != some_of_each(stripes(300, 1), 7, seed=4).names


def test_work_goes_on_where_it_was_left() -> None:
    done = {"data": "shapes", "each": 5, "repeats": [{"seed": 1}]}
    record = {"cases": [done]}
    assert case_of(record, "shapes", 5) is done
    assert case_of(record, "shapes", None)["repeats"] == []
    assert len(record["cases"]) == 2


def test_repeated_calibrations_keep_the_budget_on_a_known_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    strange, doubt = torch.rand(2, 3000, generator=generator)
    wrong = torch.rand(3000, generator=generator) < 0.02
    labels = torch.zeros(3000, dtype=torch.int64)
    pool = CalibrationScores(strange[:, None], 0.4 * doubt, wrong.long(), labels)
    found = recalibrated(pool, 49, None, 300, generator)
    # The k-th of n uniform numbers: on average 1/50 lie above the largest of 49.
    assert found["max_refusal"] == 0.02
    assert found["refused"] == pytest.approx(0.02, abs=4 * found["refused_error"])
    risky = recalibrated(pool, 400, 0.05, 100, generator)
    assert risky["promised"] > 20
    assert risky["broken"] == 0


def test_the_page_is_what_the_script_draws_of_the_figures() -> None:
    record = json.loads((DOCS / "quality.json").read_text())
    assert quality_tables.page(record) == (DOCS / "quality.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_script(tmp_path: Path) -> None:
    out = tmp_path / "quality.json"
    main = quality.main
    main(["--data", "shapes", "--tiny", "--quiet", "--out", str(out)])
    record = json.loads(out.read_text())
    assert [len(case["repeats"]) for case in record["cases"]] == [2]
    again = out.read_text()
    main(["--data", "shapes", "--tiny", "--quiet", "--out", str(out)])
    assert out.read_text() == again
    assert "| shapes, 5 a class | 2 | 32 + 8 |" in quality_tables.page(record)


@pytest.mark.slow
def test_pixels_alone_do_not_tell_shapes() -> None:
    from sklearn.linear_model import RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier

    train, test = shapes(2400, quality.COLOUR, FIRST_SEED), shapes(400, quality.COLOUR, 0)
    x, y = (s.images.flatten(1).numpy() / 255.0 for s in (train, test))
    for oracle in (RidgeClassifier(alpha=100.0), KNeighborsClassifier(1)):
        oracle.fit(x, train.require_labels().numpy())
        assert oracle.score(y, test.require_labels().numpy()) < 0.5


FALSE_ALARM = 0.001
"""How often a figure of the guard fails by chance, were its spread Normal."""


def least(known: list[float], noise: float) -> float:
    """What the figure of one more training set falls below that seldom: a prediction interval.

    Sets differ by what was measured on those known (Student's t), and the figure of one set by
    the noise of its images.
    """
    n = len(known)
    spread = float(np.std(known, ddof=1)) * math.sqrt(1 + 1 / n)
    between = float(stats.t.ppf(1 - FALSE_ALARM, n - 1)) * spread
    return float(np.mean(known)) - math.hypot(between, float(stats.norm.isf(FALSE_ALARM)) * noise)


def binomial_noise(shares: list[float], images: int) -> float:
    share = min(max(float(np.mean(shares)), 1 / images), 1 - 1 / images)
    return math.sqrt(share * (1 - share) / images)


@pytest.mark.xfail(
    reason="a network of twelve passes is right on 95 % when forced, where planes made it 99.9 %: "
    "how familiarity is told to the networks is being worked on"
)
@pytest.mark.slow
def test_quality_on_shapes_is_what_it_was() -> None:
    record = json.loads((DOCS / "quality-guard.json").read_text())
    known = record["cases"][0]["repeats"]
    assert (len(known) >= 3, len(record["cases"])) == (True, 1)
    sizes = replace(GUARD, test=500, strange=200, recalibrations=10)
    found = repeat(shapes_world(sizes), 300, FIRST_SEED + len(known), sizes)

    def shares(of: str, whole: str, *path: str) -> tuple[list[float], float, int]:
        """Of the training sets known, and of this one; and the images of this one."""
        groups = [reduce(getitem, path, each) for each in (*known, found)]
        values = [group[of] / group[whole] for group in groups]
        return values[:-1], values[-1], groups[-1][whole]

    for of, whole, *path in (
        ("right_forced", "images", "test"),
        ("right_answered", "answered", "test"),
        ("answered", "images", "test"),
        ("refused", "images", "strange", "noise"),
        ("refused", "images", "strange", "letters"),
        ("right_answered", "answered", "others", "shapes-striped"),
    ):
        before, now, images = shares(of, whole, *path)
        assert now > least(before, binomial_noise(before, images)), (of, path, now, before)
    *aurocs, now = (each["strange"]["shapes-novel"]["auroc"] for each in (*known, found))
    # Of 200 strange images: Hanley & McNeil 1982 give no more than the binomial's.
    assert now > least(aurocs, binomial_noise(aurocs, 200))
    # The promises: refusals at most the budget, but for the noise of ten calibrations.
    for promise in found["promises"]:
        assert promise["refused"] < promise["max_refusal"] + 4 * promise["refused_error"]
