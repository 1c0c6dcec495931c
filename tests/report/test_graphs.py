"""The graphs of the report, by hand."""

import itertools
import math
import re
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import curve, interval, made_study

from nescio.evaluation import ReliabilityBin, exact_share
from nescio.evaluation.study import RiskCurve
from nescio.report.curves import corruption_graph, reliability_graph, risk_graph, training_graph
from nescio.report.histograms import Scores, familiarity_strip, score_graph, votes
from nescio.report.svg import Scale, apart, bars, round_ticks, short, text
from nescio.report.words import listed, percent, rate


def numbers(markup: str, pattern: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, markup)]


def test_a_scale_by_hand() -> None:
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert [scale(0), scale(5), scale(10), scale(20), scale(-math.inf)] == [100, 50, 0, 0, 100]


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.integers(2, 9),
)
def test_ticks_are_round_and_few(low: float, span: float, most: int) -> None:
    high = low + span
    if high - low < 1e-3 * abs(low):
        return
    ticks = round_ticks(low, high, most)
    assert len(ticks) <= most
    slack = 1e-6 * span
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    steps = np.diff(ticks)
    if len(steps):
        lead = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
        assert min(abs(lead - 1), abs(lead - 2), abs(lead - 5)) < 1e-6
        assert steps == pytest.approx(steps[0])


def test_ticks_by_hand() -> None:
    assert round_ticks(0, 1, 5) == pytest.approx([0, 0.5, 1])
    assert round_ticks(0.95, 1.0, 4) == pytest.approx([0.96, 0.98, 1.0])


def test_bars_and_words_by_hand() -> None:
    assert (
        bars([0, 10, 20], [5, 8], 8, "blue") == '<path d="M0 8V5H10V8Z" class="area blue"></path>'
    )
    assert short(1.25) == "1.2"
    assert short(3.0) == "3"
    assert text(0, 0, "<&>") == '<text x="0" y="0">&lt;&amp;&gt;</text>'


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_are_kept_apart(places: list[float]) -> None:
    moved = apart(places, 10, 0, 100)
    ordered = sorted(moved)
    assert all(b - a >= 10 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 100 + 1e-9
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert all(moved[a] < moved[b] for a, b in itertools.pairwise(order))
    if all(b - a >= 10 for a, b in zip(sorted(places), sorted(places)[1:], strict=False)):
        assert moved == places


def test_risk_by_hand() -> None:
    risk = np.array([0.0, 0.0, 0.0, 0.0, 0.1])
    made = RiskCurve(np.arange(1, 6) / 5, risk, risk * 0.5, risk * 1.5)
    graph = str(risk_graph(made, 0.8, exact_share(0, 4)))
    assert "The rule in force answers 80.0\u00a0%, of which 0\u00a0% are wrong" in graph
    assert "80.0\u00a0% answered, 0\u00a0% wrong" in graph
    assert "answering all: 10.0\u00a0%" in graph
    # The chosen point: 0.8 of an axis from 0.5 to 1 that is 340 units long, and at the base.
    cx, cy = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="5"', graph)[0]
    assert (float(cx), float(cy)) == (48 + 0.6 * 340, 224)
    nothing = str(risk_graph(made, 0.0, None))
    assert "this rule" not in nothing
    everything = str(risk_graph(made, 1.0, exact_share(1, 10)))
    assert "answering all" not in everything


def test_the_line_of_risk_is_thinned_and_keeps_its_end() -> None:
    n = 10_000
    risk = np.linspace(0.0, 0.1, n)
    made = RiskCurve(np.arange(1, n + 1) / n, risk, risk, risk)
    graph = str(risk_graph(made, 0.9, interval(0.05)))
    assert len(graph) < 20_000
    line = re.findall(r'<path d="([^"]*)" class="line blue">', graph)[0]
    x, y = line.rsplit("L", 1)[1].split()
    assert float(x) == 388
    assert float(y) == pytest.approx(26 + 0.2 * 198, abs=0.2)


def test_reliability_by_hand() -> None:
    accuracy = exact_share(3, 4)
    assert accuracy is not None
    graph = str(reliability_graph([ReliabilityBin(0.4, 0.5, 4, 0.45, accuracy)]))
    assert "Of 4 images with a confidence near 45.0\u00a0% 75.0\u00a0% were right." in graph
    cx, cy = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', graph)[0]
    assert (float(cx), float(cy)) == (48 + 0.45 * 340, 224 - 0.75 * 198)


def test_scores_by_hand() -> None:
    rows = [
        Scores("familiar", np.array([0.0, 1.0, 2.0, 2.0], np.float32), familiar=True),
        Scores("strange", np.array([2.5, 6.0, np.inf], np.float32), familiar=False),
    ]
    graph = str(score_graph(rows, 2.0, "nats"))
    assert "familiar: 0\u00a0% of 4 images beyond 2." in graph
    assert "strange: 100\u00a0% of 3 images beyond 2." in graph
    # The axis ends at 6, so the threshold is at a third of 400 units.
    assert 'd="M133.3 12L133.3 136" class="threshold"' in graph
    without = str(score_graph(rows, None, "nats"))
    assert "threshold" not in without
    assert "beyond" not in without


def test_what_is_far_beyond_counts_in_the_last_bar() -> None:
    rows = [Scores("s", np.array([0.5, 1e30, np.inf], np.float32), familiar=False)]
    graph = str(score_graph(rows, 1.0, "nats"))
    assert "66.7\u00a0% of 3 images beyond 1." in graph
    last = re.findall(r'class="area orange"', graph)
    assert len(last) == 1
    assert "H399.2V" in graph


def test_shares_are_seen_by_their_magnitude() -> None:
    rows = [Scores("s", np.array([0.0, 1e-9, 1e-3, 1.0], np.float32), familiar=True)]
    graph = str(score_graph(rows, 0.01, "doubt", logarithmic=True))
    assert "25.0\u00a0% of 4 images beyond 0.01." in graph
    assert 'd="M266.7 12' in graph  # four of six magnitudes


def test_votes_by_hand() -> None:
    specimen = made_study().specimens[0]
    found = votes(specimen)
    assert [vote.name for vote in found] == ["left", "right", "top"]
    heights = re.findall(r"M([\d.]+) 39V([\d.]+)H", str(found[0].drawing))
    assert heights == [("24", "1"), ("56", "1")]  # 10 networks each, in bins 3 and 7 of 8
    assert sum(vote.proposed for vote in found) == len(specimen.proposed)


def test_one_image_among_the_calibration_images() -> None:
    reference = np.array([0.0, 1.0, 1.0, 2.0], np.float32)
    strip = str(familiarity_strip(reference, 5.0, 6.0, refused=True))
    assert "Unfamiliarity 6 nats: more than that of 4 of 4 calibration images." in strip
    assert "this image: 6" in strip
    assert 'd="M300 18L300 56" class="mark orange"' in strip  # 6 of 8 nats
    far = str(familiarity_strip(reference, 5.0, math.inf, refused=True))
    assert "this image: no number" in far
    assert "mark" not in far
    ungated = str(familiarity_strip(reference, math.inf, 1.0, refused=False))
    assert "refused beyond" not in ungated
    nothing = str(familiarity_strip(np.zeros(3, np.float32), math.inf, 0.0, refused=False))
    assert "NaN" not in nothing


def test_corruption_and_training_in_words() -> None:
    words = str(corruption_graph(curve("blur")))
    assert "right if forced: 100\u00a0% at 0, 95.0\u00a0% at 1" in words
    assert "right if answered: 100\u00a0% at 0, 100\u00a0% at 1" in words
    assert words.count("at 5") == 2  # at severity 5 nothing is answered, so there is no accuracy
    graph = str(training_graph("KL", [1, 2, 3], [5.0, 5.0, 5.0]))
    assert "KL: 5 after pass 1, 5 after pass 3" in graph
    big = str(training_graph("ELBO", [1, 2], [-2104.0, -96.25]))
    assert "\u22122,104 after pass 1, \u221296.2 after pass 2" in big


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0\u00a0%"),
        (1.0, "100\u00a0%"),
        (0.985, "98.5\u00a0%"),
        (0.9996, "99.96\u00a0%"),
        (0.0004, "0.04\u00a0%"),
    ],
)
def test_percentages(share: float, words: str) -> None:
    assert percent(share) == words


def test_small_rates_and_lists() -> None:
    assert rate(0.00091) == "0.091\u00a0%"
    assert rate(0.0) == "0\u00a0%"
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c"], most=2) == "a, b and 1 more"
    assert listed(["x" * 500, "y"]) == "x" * 500 + " and 1 more"


def contrast(first: str, second: str) -> float:
    """As WCAG 2 defines it, of two colours ``#rrggbb``."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def test_contrast_in_light_dark_and_print() -> None:
    style = (files("nescio.report") / "templates" / "report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for paper in (colours["paper"], colours["raised"]):
            for words in ("ink", "soft", "blue-ink", "orange-ink"):
                assert contrast(colours[words], paper) >= 4.5, (words, paper)
            for mark in ("blue", "orange"):
                assert contrast(colours[mark], paper) >= 3, (mark, paper)
        # A cell of the confusion matrix: half its colour over the paper.
        for name in ("blue-rgb", "orange-rgb"):
            mixed = re.search(rf"--{name}: (\d+), (\d+), (\d+)", block)
            assert mixed
            under = [int(colours["paper"][i : i + 2], 16) for i in (1, 3, 5)]
            cell = [round((int(a) + b) / 2) for a, b in zip(mixed.groups(), under, strict=True)]
            assert contrast("#" + "".join(f"{c:02x}" for c in cell), colours["ink"]) >= 4.5
