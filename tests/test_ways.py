"""The script that tries the article's four ways to do better."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import QUICK, stripes
from ways import STRICTER, TINY, Sizes, Training, Way, main, measure, table, ways

import nescio
from nescio import ARTICLE, DEFAULT
from nescio.data import Dataset
from nescio.progress import SILENT


def test_rows_are_the_article_its_four_ways_and_ours() -> None:
    rows = ways(Sizes())
    assert len(rows) == len(set(rows)) == 13
    article, convolutions, longer, more, stricter, together = rows[:6]
    assert article == Way("article's recipe", Training("mlp", ARTICLE), 100, "median:0.2")
    assert convolutions.training.network == together.training.network == "cnn"
    assert longer.training.recipe.epochs == together.training.recipe.epochs == 20
    assert (more.samples, together.samples) == (500, 500)
    assert stricter.rule == together.rule == STRICTER
    # Samples and rules need no training of their own.
    assert article.training == more.training == stricter.training
    assert len({way.training for way in rows}) == 9
    for way, other in zip(rows[:6], rows[6:12], strict=True):
        assert not way.training.recipe.scale_likelihood
        assert other.training.recipe.scale_likelihood
        assert other.training.recipe.engine == "torch"
        assert (way.samples, way.rule) == (other.samples, other.rule)
        assert way.training.recipe.epochs == other.training.recipe.epochs
        assert way.training.recipe.initial_scale is None
    assert rows[-1].training == Training("cnn", DEFAULT)
    assert rows[-1].rule == "calibrated"


def test_the_engine_is_a_choice() -> None:
    assert {way.training.recipe.engine for way in ways(Sizes(), "pyro")[:12]} == {"pyro"}


def test_rows_that_share_a_fit_are_measured_as_if_alone(data: Dataset) -> None:
    recipe = replace(QUICK, epochs=3)
    training = Training("mlp", recipe)
    rows = [
        Way("a", training, 5, "median:0.2"),
        Way("b", training, 9, "0.1:0.5"),
        Way("c", training, 5, "calibrated"),
    ]
    strange = [Dataset("strange", stripes(20, 4, "strange"))]
    (found,) = measure(rows, data, strange, seed=0, device="cpu", reporter=SILENT)
    alone = nescio.fit("mlp", data, recipe=recipe, samples=5)
    for way in rows:
        expected = alone.evaluate(data, ood=strange, rule=way.rule, samples=way.samples).to_json()
        for name in ("forced_accuracy", "coverage", "accepted_accuracy", "rule", "ood", "samples"):
            assert found[way]["evaluation"][name] == expected[name]
    lines = table({"rows": [found[way] for way in rows]}).splitlines()
    assert len(lines) == 2 + 3
    assert lines[0].count("|") == lines[1].count("|") == lines[-1].count("|") == 8
    assert "strange refused" in lines[0]
    assert lines[2].startswith("| a | ")


def test_a_way_that_diverges_is_told(data: Dataset) -> None:
    wild = Way("wild", Training("mlp", replace(QUICK, learning_rate=1e30)), 2, "none")
    (found,) = measure([wild], data, [], seed=0, device="cpu", reporter=SILENT)
    assert "diverged in the first pass" in table({"rows": [found[wild]]})


@pytest.mark.slow
def test_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ways.json"
    main(["--data", "digits", "--ood", "noise", "--tiny", "--quiet", "--out", str(out)])
    record = json.loads(out.read_text())
    assert [row["name"] for row in record["rows"]] == [way.name for way in ways(TINY)]
    assert table(record) in capsys.readouterr().out
    assert record["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
