from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests_support import calibrated_rule, stripes

import nescio
from nescio.classifier import judge
from nescio.data import Dataset, ImageSet
from nescio.refusal import Decision, QuantileRule, Reason
from nescio.report import (
    answer_png,
    compose_report,
    confusion_with_refusal,
    draw_answer,
    image_png,
    render_report,
    save_answer,
    write_report,
)
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


@pytest.mark.parametrize("classes", [2, 10, 26, 100])
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


def test_images_are_enlarged_without_smoothing() -> None:
    image = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    with Image.open(BytesIO(image_png(image, side=10))) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (5, 10)
    assert np.unique(pixels[:, :5]).tolist() == [0]
    assert np.unique(pixels[:, 5:]).tolist() == [255]


def test_confusion_by_hand() -> None:
    p = torch.tensor([[[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.2, 0.8]]])
    rule = QuantileRule(0.5, 0.6)
    from nescio.refusal import Decisions

    decisions = Decisions(("a", "b"), rule(p), p[0].argmax(-1), p[0], p[0], {}, 1)
    labels = torch.tensor([0, 0, 1, 1])
    assert confusion_with_refusal(labels, decisions).tolist() == [[1, 1, 0], [0, 1, 1]]


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(classifier: nescio.Classifier, data: Dataset) -> Page:
    assert data.test is not None
    shifted = {"<b>noise</b>": stripes(40, 4), "noise": noise_set()}
    judgement = judge(classifier, data.test, shifted, samples=10)
    return Page(render_report(compose_report(classifier, judgement, "nescio evaluate <x>")))


def noise_set() -> ImageSet:
    from nescio.data import Preprocessing, noise

    return noise(30, Preprocessing(1, 6, 6))


def test_the_report_needs_nothing_else(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/png;base64,")
        assert not any(name.startswith("on") for name in attributes)
    policies = [a for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert policies[0]["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_report_can_be_heard(page: Page) -> None:
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) >= 10
    assert all(attributes.get("alt") for attributes in images)
    assert ("html", {"lang": "en"}) in page.tags
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_the_report_says_the_figures(page: Page) -> None:
    assert "Of 150 images of stripes that it had never seen" in page.text
    assert "I don't know" in page.text.replace("\u2019", "'")
    assert "<b>noise</b>" in page.text
    assert "nescio evaluate <x>" in page.text
    assert "expected log-likelihood" in page.text


def test_a_report_with_little_to_tell(
    classifier: nescio.Classifier, data: Dataset, tmp_path: Path
) -> None:
    few = stripes(6, 3)
    refuse_all = calibrated_rule(-1.0)
    judgement = judge(classifier, few, {}, samples=4, rule=refuse_all)
    path = tmp_path / "report.html"
    write_report(path, compose_report(classifier, judgement, "none"))
    text = Page(path.read_text()).text
    assert "As it answered none, there is no accuracy to tell." in text
    assert "nothing was answered" in text
    assert "nan" not in text.lower().split()


def test_many_classes_list_their_confusions(classifier: nescio.Classifier) -> None:
    from dataclasses import replace

    judgement = judge(classifier, stripes(30, 3), {}, samples=4)
    report = compose_report(classifier, judgement, "none")
    names = tuple(f"<i>{n}" for n in range(50))
    confusion = torch.zeros(50, 51, dtype=torch.int64)
    confusion[3, 7] = 5
    wide = replace(report, classes=names, confusion=confusion)
    html = render_report(wide)
    assert "<i>" not in html
    assert "&lt;i&gt;3" in html
    assert "50 classes; the commonest confusions" in Page(html).text


def test_png_of_an_answer() -> None:
    answer = decision(("a", "b"), (), None)
    content = answer_png(torch.zeros(3, 2), answer, ("a", "b"), image=GREY_IMAGE)
    with Image.open(BytesIO(content)) as picture:
        picture.verify()
