"""Quality beyond MNIST: the arithmetic of its figures, and a guard on them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import quality
import quality_tables
import torch
from quality import FIRST_SEED, case_of, recalibrated, some_of_each
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
