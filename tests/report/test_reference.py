"""Where one image stands among the calibration images."""

import math
from dataclasses import replace

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tests_support import calibrated_rule

import nescio
from nescio.refusal import Decision, NeverRefuse, Reason
from nescio.report import Reference, draw_answer
from nescio.report.picture import FEWEST_COLUMNS
from nescio.report.reference import BINS, ROOM

FAMILIAR = torch.tensor([0.0, 1.0, 1.0, 2.0])
GREY_IMAGE = torch.zeros(1, 5, 5, dtype=torch.uint8)


def draw(reference: Reference | None, value: float | None, classes: int = 3) -> Figure:
    names = tuple(f"class {n}" for n in range(classes))
    share = dict.fromkeys(names, 1 / classes)
    scores = {} if value is None else {"unfamiliarity": value, "familiarity": 0.004}
    decision = Decision(
        None, False, Reason.UNFAMILIAR, names[0], (), share, share, scores, 4, names[0], "output"
    )
    logs = torch.full((4, classes), -3.0)
    return draw_answer(logs, decision, names, image=GREY_IMAGE, reference=reference)


def words(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts if text.get_text()]


def test_bars_line_and_mark_by_hand() -> None:
    axis = draw(Reference(FAMILIAR, 5.0), 6.0).axes[-1]
    assert axis.get_xlim() == (0.0, ROOM * 5.0)
    heights = [bar.get_height() for bar in axis.patches[:BINS]]
    assert [h for h in heights if h] == [1, 2, 1]  # bins of 0.2 nats
    assert [heights[0], heights[5], heights[10]] == [1, 2, 1]
    assert [line.get_xdata()[0] for line in axis.lines] == [5.0, 6.0]
    assert words(axis) == [
        "refused beyond", "unfamiliarity (nats)", "4 calibration images", "this image: 6",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [50.0, math.inf])
def test_far_outside_is_an_arrow_at_the_edge(value: float) -> None:
    axis = draw(Reference(FAMILIAR, 5.0), value).axes[-1]
    assert [line.get_xdata()[0] for line in axis.lines] == [5.0]
    assert any(getattr(text, "arrow_patch", None) is not None for text in axis.texts)
    told = "50" if math.isfinite(value) else "no number"
    assert words(axis)[-1] == f"this image: {told} \u2192"


def test_no_gate_and_a_gate_for_each_class() -> None:
    axis = draw(Reference(FAMILIAR, math.inf), 1.0).axes[-1]
    assert axis.get_xlim() == (0.0, ROOM * 2.0)
    assert len(axis.lines) == 1
    assert "refused" not in " ".join(words(axis))
    axis = draw(Reference(FAMILIAR, 5.0, partly=True), 1.0).axes[-1]
    assert words(axis)[0] == "always refused beyond"
    nothing = draw(Reference(torch.zeros(3), math.inf), 0.0).axes[-1]
    assert nothing.get_xlim()[1] > 0


def test_drawn_only_where_it_is_known() -> None:
    assert len(draw(Reference(FAMILIAR, 5.0), 1.0).axes) == 1 + 3 + 1
    assert len(draw(None, 1.0).axes) == 1 + 3
    assert len(draw(Reference(FAMILIAR, 5.0), None).axes) == 1 + 3


def test_what_a_rule_holds_images_against(classifier: nescio.Classifier) -> None:
    reference = Reference.of(classifier, classifier.rule)
    assert reference is not None
    assert classifier.calibrated is not None
    assert (reference.threshold,) == classifier.calibrated.unfamiliar
    assert len(reference.unfamiliarity) == 60
    assert Reference.of(classifier, NeverRefuse()) is None
    assert Reference.of(replace(classifier, reference=None), classifier.rule) is None
    several = replace(calibrated_rule(), unfamiliar=(1.0, 3.0, 2.0))
    own = Reference.of(classifier, several)
    assert own is not None
    assert (own.threshold, own.partly) == (3.0, True)


@pytest.mark.parametrize(
    ("classes", "count"),
    [
        (1, 4),
        (FEWEST_COLUMNS, 12_345),
        (10, 4),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((15, 12_345), (60, 4))),
    ],
)
def test_nothing_overlaps(classes: int, count: int) -> None:
    strange = 123.456
    figure = draw(Reference(torch.linspace(0, 4, count), 5.0, partly=True), strange, classes)
    figure.draw_without_rendering()
    canvas = figure.bbox
    axes = [axis for axis in figure.axes if axis.get_visible()]
    boxes = [axis.get_tightbbox() for axis in axes]
    boxes += [text.get_window_extent() for text in figure.texts]
    for place, box in enumerate(boxes):
        assert box is not None
        assert canvas.x0 <= box.x0
        assert box.x1 <= canvas.x1
        assert canvas.y0 <= box.y0
        assert box.y1 <= canvas.y1
        for other in boxes[place + 1 :]:
            assert other is not None
            apart = (
                box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0
            )
            # Neighbouring histograms may touch by the half width of a tick's number.
            near = min(box.x1, other.x1) - max(box.x0, other.x0) < 12
            assert apart or near
