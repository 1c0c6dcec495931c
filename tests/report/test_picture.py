from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from nescio.refusal import Decision, Reason
from nescio.report import answer_png, draw_answer, save_answer
from nescio.report.colours import BLUE, GREY
from nescio.report.picture import LOWEST


def decision(classes: tuple[str, ...], proposed: tuple[str, ...], label: str | None) -> Decision:
    share = {name: 1 / len(classes) for name in classes}
    reason = Reason.AMBIGUOUS if label is None else None
    return Decision(
        label, label is not None, reason, classes[0], proposed, share, share, {}, samples=4
    )


GREY_IMAGE = torch.zeros(1, 5, 5, dtype=torch.uint8)


def test_histograms_by_hand() -> None:
    # Eight bins of one nat each from -8 to 0.
    logs = torch.tensor([[-0.5, -7.5], [-0.4, -7.9], [-1.5, -0.1], [-0.2, -8.0]])
    figure = draw_answer(logs, decision(("a", "b"), ("a",), "a"), ("a", "b"), image=GREY_IMAGE)
    _, first, second = figure.axes
    heights = [[bar.get_height() for bar in axis.patches] for axis in (first, second)]
    assert heights[0] == [0, 0, 0, 0, 0, 0, 1, 3]
    assert heights[1] == [3, 0, 0, 0, 0, 0, 0, 1]
    assert first.get_ylim() == second.get_ylim()
    assert first.get_title() == "a\n(0.50)"
    colours = [axis.patches[0].get_facecolor()[:3] for axis in (first, second)]
    expected = [tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in (BLUE, GREY)]
    assert colours == [pytest.approx(c) for c in expected]


def test_minus_infinity_counts_in_the_first_bin() -> None:
    logs = torch.tensor([[0.0, -torch.inf]] * 3)
    figure = draw_answer(logs, decision(("a", "b"), ("a",), "a"), ("a", "b"), image=GREY_IMAGE)
    assert figure.axes[2].patches[0].get_height() == 3
    assert figure.axes[2].patches[0].get_x() == LOWEST


@pytest.mark.parametrize(
    ("label", "actual", "words"),
    [
        ("a", "a", "Correct\na"),
        ("a", "b", "Incorrect\na"),
        (None, "b", "Undecided\nI don't know: ambiguous"),
        ("a", None, "a"),
    ],
)
def test_verdicts_in_words(label: str | None, actual: str | None, words: str) -> None:
    answer = decision(("a", "b"), ("a",), label)
    figure = draw_answer(torch.zeros(3, 2), answer, ("a", "b"), image=GREY_IMAGE, actual=actual)
    assert figure.axes[0].get_title() == words
    known = "real label not known" if actual is None else f"real label: {actual}"
    assert figure.axes[0].get_xlabel().startswith(known)


@pytest.mark.parametrize(
    "classes", [2, 10, *(pytest.param(n, marks=pytest.mark.slow) for n in (26, 100))]
)
def test_many_classes_and_long_names(tmp_path: Path, classes: int) -> None:
    names = tuple(f"a rather long name of class number ${i}_$" for i in range(classes))
    answer = decision(names, names[:6], names[0])
    image = torch.randint(0, 256, (3, 8, 12), dtype=torch.uint8)
    path = tmp_path / "deep" / "picture.png"
    save_answer(path, torch.randn(20, classes).log_softmax(-1), answer, names, image=image)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > 300
    figure = draw_answer(torch.zeros(2, classes), answer, names, image=image)
    assert sum(axis.get_visible() for axis in figure.axes) == 1 + min(classes, 40)


def test_png_of_an_answer() -> None:
    answer = decision(("a", "b"), (), None)
    content = answer_png(torch.zeros(3, 2), answer, ("a", "b"), image=GREY_IMAGE)
    with Image.open(BytesIO(content)) as picture:
        picture.verify()
