"""The page of the service as a person meets it, in Chromium."""

import base64
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from page_support import (
    DIGITS,
    EXPECTED,
    Serving,
    Visit,
    model_json,
    page_alone,
    prediction_json,
    promise,
    sampled_around,
    tell,
)
from PIL import Image

from nescio.refusal import QuantileRule, p_value, quantile_probability
from nescio.refusal.calibrated import CalibratedOn, CalibratedRule
from nescio.refusal.scores import (
    SHARED,
    between_classes,
    class_unfamiliarity,
    joint_probability,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page, Route

pytest.importorskip("fastapi", reason="the extra serve is not installed")

FOUR_AND_NINE = sampled_around({4: 0.52, 9: 0.48})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    serving = Serving(page_alone())
    yield serving.url
    serving.close()


@pytest.fixture
def visit(browser: "Browser", url: str) -> "Iterator[Callable[..., Visit]]":
    """Opens the page; what it complains of, and whom else it asks, fails the test."""
    opened: list[Visit] = []

    def begin(model: dict[str, Any] | None = None, **options: Any) -> Visit:
        context = browser.new_context(reduced_motion="reduce", **options)
        opened.append(Visit(context, url, model or model_json()))
        return opened[-1]

    yield begin
    for each in opened:
        each.context.close()
        assert [words for words in each.complaints if not words.startswith(EXPECTED)] == []
        assert all(host.startswith(url) for host in each.hosts)


def sent(visit: Visit) -> Image.Image:
    """The image of the last question."""
    body = visit.asked[-1].post_data_buffer
    assert body is not None
    return Image.open(io.BytesIO(body))


def png(*size: int, colour: Any = 128, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def slide(page: "Page", name: str, value: float) -> None:
    page.locator(f"#{name}").fill(str(value))


# What is said.


def test_it_opens_with_an_example_and_its_answer(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    assert page.inner_text("#why") == (
        "All 100 networks say 3, and it is no stranger than many calibration images."
    )
    assert page.inner_text("#effort") == "100 networks asked; 16 would have been enough."
    assert page.locator(".histograms li").count() == 10
    assert page.inner_text(".histograms .proposed .class") == "3"


def test_refusals_in_words(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.prediction = prediction_json(FOUR_AND_NINE, rule=QuantileRule(0.1, 0.5))
    page.click("text=A letter")
    # The article's stricter rule proposes nothing here.
    opened.says("I don't know: perhaps 4.")
    assert page.inner_text("#why") == "The networks disagree: 52 of 100 say 4, 48 say 9."
    both = prediction_json(FOUR_AND_NINE) | {"label": None, "reason": "ambiguous"}
    opened.prediction = both | {"proposed": ["4", "9"], "accepted": False}
    page.click("text=A clear digit")
    opened.says("I don't know: between 4 and 9.")
    strange = sampled_around({8: 1.0})
    opened.prediction = prediction_json(
        strange, strange=True, unfamiliarity=9.0, familiarity=1 / 401, nearest=8
    )
    page.click("text=Noise")
    opened.says("I don't know: unfamiliar, nearest to 8.")
    assert page.inner_text("#why") == (
        "It is stranger than every one of 400 calibration images; "
        "that all 100 networks say 8 counts for nothing."
    )
    assert page.locator("#familiarity .strange").count() == 1
    # It is spoken once nothing more changes.
    said = page.locator("#said")
    opened.until(lambda: "unfamiliar, nearest to 8." in str(said.text_content()))


def test_the_picture_and_its_table_tell_the_same(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    opened.prediction = prediction_json(FOUR_AND_NINE)
    page = opened.open()
    opened.says("I say 4.")
    page.click("text=The same as a table")
    rows = page.locator("#histograms-table tr").all_inner_texts()
    assert rows[4].split() == ["4", "49.7", "%", "95", "%", "52"]
    assert rows[0].split() == ["0", "0.56", "%", "0.56", "%", "0"]
    bars = page.locator(".histograms li:nth-child(5) rect")
    heights = [float(bars.nth(i).get_attribute("height") or 0) for i in range(8)]
    assert heights[1:7] == [0.0] * 6
    assert heights[7] / (heights[0] + heights[7]) == pytest.approx(0.52, abs=0.01)
    page.click("text=logarithmic")
    low = [float(bars.nth(i).get_attribute("height") or 0) for i in range(8)]
    assert low[0] == 0.0  # half a percent is not at the left end of that scale
    assert sum(low) == pytest.approx(sum(heights), abs=0.2)


def test_what_the_network_saw_is_shown(visit: "Callable[..., Visit]") -> None:
    seen = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    opened = visit(model_json(preprocessing={"channels": 3, "height": 4, "width": 5, "fit": "pad"}))
    opened.prediction = prediction_json(sampled_around({3: 1.0}), image=seen)
    page = opened.open()
    opened.says("I say 3.")
    shown = page.evaluate(
        "[...document.querySelector('#seen').getContext('2d').getImageData(0, 0, 5, 4).data]"
    )
    pixels = np.array(shown).reshape(4, 5, 4)
    assert np.array_equal(pixels[..., :3], seen.transpose(1, 2, 0))
    label = page.get_attribute("#seen", "aria-label")
    assert label == "What the network sees: 5 by 4 pixels in colour"


# Drawing.


def test_a_drawing_is_sent_as_the_training_images_are(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    opened.open()
    opened.says("I say 3.")
    opened.draw([(0.1, 0.1), (0.2, 0.1), (0.2, 0.35)])  # small, and in a corner

    def pixels_sent() -> np.ndarray:
        return np.asarray(sent(opened).convert("L"), dtype=float)

    def longest() -> int:
        rows, columns = np.nonzero(pixels_sent() > 128)
        return int(max(np.ptp(rows), np.ptp(columns))) + 1

    # 20 of 28 pixels; the answers before the last are of the growing stroke.
    opened.until(lambda: longest() == pytest.approx(200, abs=4))
    request = opened.asked[-1]
    assert request.headers["content-type"] == "image/png"
    assert "detail=true" in request.url
    pixels = pixels_sent()
    assert pixels.shape == (280, 280)
    centre = [(pixels.sum(1 - axis) * np.arange(280)).sum() / pixels.sum() for axis in (0, 1)]
    assert centre == pytest.approx([139.5, 139.5], abs=4)


@pytest.mark.slow
def test_a_drawing_is_sent_as_it_is_where_that_is_asked(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    page.uncheck("#centre")
    opened.draw([(0.1, 0.1), (0.2, 0.1)])

    def middle() -> list[float]:
        rows, columns = np.nonzero(np.asarray(sent(opened).convert("L")) > 128)
        # Of an empty drawing, before the stroke is there, there is no middle.
        return [rows.mean(), columns.mean()] if len(rows) else []

    # The answers before the last are of the growing stroke.
    opened.until(lambda: middle() == pytest.approx([28, 42], abs=1))


@pytest.mark.slow
def test_a_drawing_for_scikit_learns_digits_is_as_coarse_as_they_are(
    visit: "Callable[..., Visit]",
) -> None:
    opened = visit(model_json(trained_on="digits"))
    opened.open()
    opened.says("I say 3.")
    pixels = np.asarray(sent(opened).convert("L"))
    assert pixels.shape == (28, 28)
    assert pixels[:4].max() == pixels[24:].max() == pixels[:, :4].max() == 0
    assert pixels.max() > 150


@pytest.mark.slow
def test_models_of_other_images_get_drawings_as_they_are(visit: "Callable[..., Visit]") -> None:
    opened = visit(model_json(trained_on="my digits"))
    page = opened.open()
    opened.says("I say 3.")
    assert page.is_hidden("#centre-label")


@pytest.mark.slow
def test_undo_and_clear(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    opened.draw()
    opened.draw([(0.6, 0.2), (0.8, 0.2)])
    page.click("#clear")
    opened.says("Nothing is drawn yet.")
    assert page.is_disabled("#clear")
    # Nothing of the last answer stays.
    assert set(page.locator(".histograms .number").all_inner_texts()) == {"\u2013"}
    assert page.locator("#familiarity .pointer").count() == 0
    for strokes in (2, 1):
        page.click("#undo")
        opened.says("I say 3.")
        assert page.evaluate("document.querySelector('#pad').toDataURL().length") > 1000
        assert strokes
    page.keyboard.press("Control+z")  # the example
    page.keyboard.press("Control+z")  # nothing
    opened.says("Nothing is drawn yet.")
    assert page.is_disabled("#undo")


def test_by_finger(visit: "Callable[..., Visit]") -> None:
    opened = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = opened.open()
    opened.says("I say 3.")
    asked = len(opened.asked)
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 100, box["y"] + 100)
    opened.until(lambda: len(opened.asked) > asked)
    opened.says("I say 3.")


@pytest.mark.slow
def test_no_answer_overtakes_a_later_one(visit: "Callable[..., Visit]") -> None:
    from playwright.sync_api import Error

    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    held: list[Route] = []
    opened.answer = held.append
    page.click("text=A letter")
    opened.until(lambda: len(held) == 1)
    opened.answer = None
    opened.prediction = prediction_json(sampled_around({7: 1.0}))
    page.click("text=Noise")
    opened.says("I say 7.")
    late = {"predictions": [prediction_json(sampled_around({5: 1.0}))]}
    with suppress(Error):  # the browser may have taken the question back
        tell(held[0], late)
    page.wait_for_timeout(200)
    assert opened.verdict == "I say 7."


@pytest.mark.slow
def test_while_a_stroke_grows_one_question_waits_for_the_next(
    visit: "Callable[..., Visit]",
) -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    held: list[Route] = []
    opened.answer = held.append
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 250, steps=20)
    opened.until(lambda: len(held) == 1)
    page.wait_for_timeout(200)
    assert len(held) == 1  # whatever was drawn meanwhile
    tell(held[0], {"predictions": [prediction_json(sampled_around({7: 1.0}))]})
    opened.until(lambda: len(held) == 2)
    opened.says("I say 7.")
    opened.answer = None
    page.mouse.up()
    opened.says("I say 3.")


@pytest.mark.slow
def test_the_example_between_a_four_and_a_nine_is_where_the_model_is_least_certain(
    visit: "Callable[..., Visit]",
) -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    answers = [{"probability": {"4": 0.99 - i / 50, "9": 0.01}, "reason": None} for i in range(21)]
    ask = "async (told) => (await import('/page/examples.js')).leastCertain(told)"
    assert page.evaluate(ask, answers) == 1
    answers[7]["reason"] = "ambiguous"
    assert page.evaluate(ask, answers) == 0.35
    assert page.evaluate(ask, [{"error": "x"}] * 21) == 0
    assert page.evaluate(ask, []) == 0.52

    def told(route: Any) -> None:
        several = len(route.request.post_data_buffer or b"") and "detail" not in route.request.url
        tell(route, {"predictions": answers if several else [opened.prediction]})

    opened.answer = told
    page.click("text=A 4 or a 9")
    opened.until(lambda: page.get_attribute("#way", "aria-valuetext") == "35 % of the way")


@pytest.mark.slow
def test_the_way_from_a_four_to_a_nine(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    assert page.is_hidden("#way-there")
    page.click("text=A 4 or a 9")
    page.wait_for_selector("#way-there:not([hidden])")
    page.locator("#way").focus()
    page.keyboard.press("Home")
    four = page.evaluate("document.querySelector('#pad').toDataURL()")
    page.keyboard.press("End")
    assert page.get_attribute("#way", "aria-valuetext") == "100 % of the way"
    nine = page.evaluate("document.querySelector('#pad').toDataURL()")
    assert four != nine
    page.click("#undo")  # the whole way is one step
    assert page.is_hidden("#way-there")


# By keyboard.


def focused(page: "Page") -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.innerText"))


def test_all_of_it_by_keyboard(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    places = []
    outlined = (
        "(() => { const e = document.activeElement.closest('label') ?? document.activeElement; "
        "return [document.activeElement, e, ...e.querySelectorAll('span'), "
        "...(e.parentElement?.children ?? [])].some(x => { const s = getComputedStyle(x); "
        "return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; }); })()"
    )
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement !== document.body"):
        places.append(focused(page))
        assert page.evaluate(outlined), places[-1]
        page.keyboard.press("Tab")
    order = ["pad", "undo", "clear", "centre", "A clear digit", "Noise", "file", "summary"]
    seen = [
        next((i for i, p in enumerate(places) if p.startswith(name)), -1) for name in order[:-1]
    ]
    assert seen == sorted(seen)
    assert min(seen) >= 0
    page.locator("#pad").focus()
    before = len(opened.asked)
    for key in ("ArrowRight", "Space", "ArrowRight", "ArrowRight", "Shift+ArrowDown", "Space"):
        page.keyboard.press(key)
    opened.until(lambda: len(opened.asked) > before)
    opened.says("I say 3.")
    opened.until(lambda: page.text_content("#said") == "I say 3.")
    page.uncheck("#centre")

    def size() -> list[float]:
        rows, columns = np.nonzero(np.asarray(sent(opened).convert("L")) > 128)
        return [np.ptp(columns), np.ptp(rows)]

    # Two steps of a fortieth to the right of the middle, then one of a tenth down.
    opened.until(lambda: size() == pytest.approx([14 + 21, 28 + 21], abs=3))
    page.locator("#pad").focus()
    page.keyboard.press("Delete")
    opened.says("Nothing is drawn yet.")
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    opened.says("I say 3.")
    page.locator("[name=rule][value=own]").focus()
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#share")


# Files.


def test_a_file_goes_to_the_model_as_it_is(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    content = png(60, 40, colour=(200, 10, 10), mode="RGB")
    asked = len(opened.asked)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": content})
    opened.until(lambda: len(opened.asked) > asked)
    assert opened.asked[-1].post_data_buffer == content
    assert opened.asked[-1].headers["content-type"] == "image/png"
    middle = page.evaluate(
        "[...document.querySelector('#pad').getContext('2d').getImageData(340, 340, 1, 1).data]"
    )
    assert middle == [200, 10, 10, 255]


HAND_OVER = """([kind, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "given", { type }));
  const event = kind === "drop"
    ? new DragEvent("drop", { dataTransfer: files, cancelable: true, bubbles: true })
    : new ClipboardEvent("paste", { clipboardData: files, cancelable: true, bubbles: true });
  document.body.dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", pytest.param("paste", marks=pytest.mark.slow)])
def test_dropped_and_pasted(visit: "Callable[..., Visit]", kind: str) -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    asked = len(opened.asked)
    content = base64.b64encode(png(28, 28)).decode()
    page.evaluate(HAND_OVER, [kind, "image/png", content])
    opened.until(lambda: len(opened.asked) > asked)
    assert opened.asked[-1].post_data_buffer == png(28, 28)
    page.evaluate(HAND_OVER, [kind, "text/plain", content])
    opened.until(lambda: page.is_visible("#trouble"))
    assert page.inner_text("#trouble-words") == "\u201cgiven\u201d is not an image."
    assert opened.verdict == "I say 3."  # of what is still on the pad
    assert len(opened.asked) == asked + 1


@pytest.mark.slow
def test_a_file_that_no_one_can_read(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    opened.answer = lambda route: tell(route, {"title": "?"}, 422)
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"not a picture"}
    page.set_input_files("#file", bad)
    opened.says("No answer.")
    assert page.inner_text("#trouble-words") == "This file cannot be read as an image."
    assert page.is_hidden("#again")
    assert page.locator(".histograms .proposed").count() == 0
    opened.until(lambda: page.text_content("#said") == "This file cannot be read as an image.")
    opened.answer = None
    page.click("text=A clear digit")
    opened.says("I say 3.")
    assert page.is_hidden("#trouble")


# What goes wrong.


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(413, "This image is too large for the server.", marks=pytest.mark.slow),
        pytest.param(
            415,
            "This is not a kind of image that the server reads; PNG, JPEG and WebP will do.",
            marks=pytest.mark.slow,
        ),
        (500, "The server could not answer; its log says why."),
        pytest.param(504, "The server took too long.", marks=pytest.mark.slow),
        pytest.param(
            0, "The server does not answer; it may have been stopped.", marks=pytest.mark.slow
        ),
    ],
)
def test_errors_in_plain_words(visit: "Callable[..., Visit]", status: int, words: str) -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    opened.answer = (
        (lambda route: tell(route, {"title": "?", "status": status}, status))
        if status
        else (lambda route: route.abort())
    )
    page.click("text=Noise")
    opened.says("No answer.")
    assert page.inner_text("#trouble-words") == words
    if status not in (413, 415):
        opened.answer = None
        page.click("#again")
        opened.says("I say 3.")


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_it_asks_again_when_it_was_told_to_wait(visit: "Callable[..., Visit]", status: int) -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    opened.answer = lambda route: tell(route, {}, status, **{"Retry-After": "1"})
    page.click("text=Noise")
    opened.says("No answer.")
    assert "asked again in a second" in page.inner_text("#trouble-words")
    opened.answer = None
    opened.says("I say 3.")


@pytest.mark.slow
def test_a_server_that_is_gone_at_the_start(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    opened.context.route("**/v1/**", lambda route: route.abort())
    page = opened.page = opened.context.new_page()
    page.goto(opened.url)
    opened.until(lambda: "does not answer" in page.inner_text("#loading"))
    opened.context.unroute("**/v1/**")
    page.route("**/v1/**", opened.answered)
    opened.says("I say 3.")  # it asks again by itself


def test_a_key(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    refused: list[str] = []

    def guard(route: "Route") -> None:
        if route.request.headers.get("authorization") == "Bearer secret":
            route.fallback()
        else:
            refused.append(route.request.url)
            tell(route, {}, 401 if "authorization" not in route.request.headers else 403)

    page = opened.open()
    page.route("**/v1/**", guard)
    page.reload()
    opened.until(lambda: page.is_visible("#key"))
    assert page.evaluate("document.activeElement.id") == "key-words"
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    opened.until(lambda: page.inner_text("#key-note") == "The server does not take this key.")
    page.fill("#key-words", "secret")
    page.keyboard.press("Enter")
    opened.says("I say 3.")
    assert page.is_hidden("#key")
    assert "secret" not in page.url
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert page.evaluate("document.cookie") == ""


@pytest.mark.slow
def test_several_models(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    opened.models = ("first", "second")
    page = opened.open()
    opened.says("I say 3.")
    assert page.locator("#model option").all_inner_texts() == ["first", "second"]
    opened.prediction = prediction_json(sampled_around({5: 1.0}))
    page.select_option("#model", "second")
    opened.says("I say 5.")  # of what was on the pad
    assert "model=second" in opened.asked[-1].url


# The rule.


def test_the_sliders_decide_as_python_does_and_ask_nobody(visit: "Callable[..., Visit]") -> None:
    generator = np.random.default_rng(3)
    sampled = torch.from_numpy(generator.dirichlet([0.5, 0.4, 0.3] + [0.05] * 7, (100, 1)))
    sampled = (sampled * 1e4).round() / 1e4
    opened = visit()
    opened.prediction = prediction_json(sampled)
    page = opened.open()
    opened.says("I say 0.")
    asked = len(opened.asked)
    page.click("text=By vote")
    verdicts = set()
    for share, threshold in ((0.5, 0.2), (0.5, 0.6), (0.1, 0.05), (0.9, 0.5), (0.95, 0.95)):
        slide(page, "share", share)
        slide(page, "threshold", threshold)
        rule = QuantileRule(share, threshold)(sampled)
        proposed = [DIGITS[c] for c in rule.proposed[0].nonzero().flatten().tolist()]
        assert page.locator(".histograms .proposed .class").all_inner_texts() == proposed
        answered = not bool(rule.ambiguous[0])
        assert opened.verdict == (
            f"I say {int(rule.top[0])}."
            if answered
            else f"I don't know: perhaps {int(rule.top[0])}."
        )
        verdicts.add(opened.verdict)
    assert len(verdicts) > 1
    assert page.get_attribute("#share", "aria-valuetext") == "0.95"
    page.click("#article")
    assert page.get_attribute("#share", "aria-valuetext") == "0.5, the median"
    assert page.get_attribute("#threshold", "aria-valuetext") == "20 %"
    assert "about 51 of 100 networks give it more than 20 %" in page.inner_text("#rule-words")
    page.click("text=Its own rule")
    opened.says("I say 0.")
    assert len(opened.asked) == asked


def test_the_promised_risk(visit: "Callable[..., Visit]") -> None:
    opened = visit()
    opened.prediction = prediction_json(sampled_around({3: 1.0}), unfamiliarity=2.2, doubt=0.1)
    page = opened.open()
    opened.says("I say 3.")
    page.click("text=By promise")
    verdicts = []
    for row in (0, 1, 2):
        slide(page, "risk", row)
        verdicts.append(opened.verdict)
        assert "90 % are answered, and of these at most" in page.inner_text("#rule-words")
    assert verdicts == [
        "I don't know: unfamiliar, nearest to 4.",
        "I say 3.",
        "I say 3.",
    ]
    assert page.get_attribute("#risk", "aria-valuetext") == "at most 10 %"
    assert page.locator("#familiarity .threshold").count() == 0  # nothing is too strange


def test_without_promises_it_says_so(visit: "Callable[..., Visit]") -> None:
    opened = visit(model_json(promises=None))
    page = opened.open()
    opened.says("I say 3.")
    assert page.is_hidden("#promise-label")
    assert "without a table of promises" in page.inner_text("#without-promise")


@pytest.mark.slow
def test_a_promise_that_no_threshold_keeps(visit: "Callable[..., Visit]") -> None:
    opened = visit(model_json(promises=[promise(0.001, 2.0, "none")]))
    page = opened.open()
    opened.says("I say 3.")
    page.click("text=By promise")
    opened.says("I don't know: perhaps 3.")
    assert "nothing is answered" in page.inner_text("#rule-words")


RULES = """async ([sampled, share, threshold]) => {
  const rules = await import("/page/rules.js");
  return { heights: rules.quantiles(sampled, share),
    decision: rules.byQuantile(sampled, share, threshold) };
}"""


def test_javascript_knows_the_articles_rule(visit: "Callable[..., Visit]") -> None:
    page = visit().open()
    generator = np.random.default_rng(0)
    for networks, classes in ((1, 2), (2, 3), (7, 4), (20, 10), (99, 10), (100, 10)):
        for _ in range(10):
            share, threshold = generator.uniform(0.01, 0.99, 2)
            sampled = generator.dirichlet([0.4] * classes, (networks, 1))
            given = [sampled[:, 0].tolist(), share, threshold]
            told = page.evaluate(RULES, given)
            tensor = torch.from_numpy(sampled)
            expected = QuantileRule(share, threshold)(tensor)
            heights = quantile_probability(tensor, share)[0].tolist()
            assert told["heights"] == pytest.approx(heights, abs=1e-9)
            assert told["decision"]["top"] == int(expected.top[0])
            proposed = expected.proposed[0].nonzero().flatten().tolist()
            assert told["decision"]["proposed"] == proposed
            reason = "ambiguous" if bool(expected.ambiguous[0]) else None
            assert told["decision"]["reason"] == reason


def rivals_of(mean: "torch.Tensor") -> list[int]:
    return [c for c, p in enumerate(mean.tolist()) if p >= 0.5 * float(mean.max()) or p > SHARED]


PROMISE = """async ([scores, limits]) =>
  (await import("/page/rules.js")).byPromise(scores, limits)"""


def test_javascript_knows_the_promised_rule(visit: "Callable[..., Visit]") -> None:
    page = visit().open()
    generator = np.random.default_rng(1)
    on = CalibratedOn("", 1, "", "", 1, 0, "float32")
    ends = {"all": torch.inf, "none": -torch.inf}
    reasons = set()
    for unfamiliar in (1.0, 2.0, "all"):
        for doubtful in (0.05, 0.4, "all", "none"):
            limits = {"unfamiliar": unfamiliar, "doubtful": doubtful}
            bounds = [ends.get(v, v) if isinstance(v, str) else v for v in limits.values()]
            rule = CalibratedRule(
                (bounds[0],),
                (bounds[1],),
                "error_probability",
                None,
                0.01,
                0.1,
                0.95,
                (1,),
                (0,),
                on,
            )
            for _ in range(5):
                sampled = torch.from_numpy(generator.dirichlet([0.3] * 4, (20, 1))).float()
                evidence = torch.from_numpy(generator.gamma(1.5, 1.0, (1, 3, 4))).float()
                verdicts = rule(sampled, evidence)
                joint = joint_probability(sampled, class_unfamiliarity(evidence))
                unlike = float(verdicts.unfamiliarity[0])
                scores = {
                    "unfamiliarity": unlike,
                    "doubt": float(verdicts.ambiguity[0]),
                    "top": int(verdicts.top[0]),
                    "proposed": rivals_of(joint.mean(0)[0]),
                    "between": bool(between_classes(sampled)[0]),
                }
                told = page.evaluate(PROMISE, [scores, limits])
                reason = "unfamiliar" if bool(verdicts.unfamiliar[0]) else None
                reason = "ambiguous" if bool(verdicts.ambiguous[0]) else reason
                assert told["reason"] == reason
                assert told["proposed"] == verdicts.proposed[0].nonzero().flatten().tolist()
                reasons.add(reason)
    assert reasons == {None, "ambiguous", "unfamiliar"}


def test_javascript_counts_as_numpy_does(visit: "Callable[..., Visit]") -> None:
    page = visit().open()
    generator = np.random.default_rng(2)
    values = np.concatenate([generator.uniform(0, 1, 500), [0.0, 1.0]])
    call = "async ([v, n]) => (await import('/page/rules.js')).histogram(v, 0, 1, n)"
    assert page.evaluate(call, [values.tolist(), 8]) == np.histogram(values, 8, (0, 1))[0].tolist()
    reference = np.sort(generator.gamma(2, 1, 50))
    call = "async ([r, s]) => (await import('/page/rules.js')).pValue(r, s)"
    for score in (-1.0, float(reference[7]), 2.0, 99.0):
        expected = p_value(torch.from_numpy(reference), torch.tensor([score], dtype=torch.float64))
        assert page.evaluate(call, [reference.tolist(), score]) == pytest.approx(float(expected[0]))


# Other models.


@pytest.mark.slow
def test_a_model_of_colour_with_many_classes(visit: "Callable[..., Visit]") -> None:
    names = [f"a kind of bird, number {i}" for i in range(60)]
    shape = {"channels": 3, "height": 32, "width": 48, "fit": "pad"}
    model = model_json(classes=names, preprocessing=shape, trained_on="birds", reference=None)
    model |= {"rule": {"kind": "quantile", "quantile": 0.5, "threshold": 0.2, "description": "By."}}
    opened = visit(model, viewport={"width": 360, "height": 740})
    opened.prediction = prediction_json(
        sampled_around({7: 0.9, 8: 0.1}, classes=60), names, familiarity=None, unfamiliarity=None
    )
    page = opened.open()
    opened.until(lambda: page.is_visible("#main"))
    assert opened.verdict == "Nothing is drawn yet."
    assert page.inner_text("h1") == "Show it an image, any image."
    assert page.locator("#examples button").all_inner_texts() == ["Noise", "Nothing"]
    page.click("#examples button")
    opened.says("I say a kind of bird, number 7.")
    image = sent(opened)
    assert image.size == (48, 32)
    channels = np.asarray(image.convert("RGB")).reshape(-1, 3).std(0)
    assert channels.min() > 60
    assert page.locator(".histograms li").count() == 20
    assert "The 20 most probable of 60 classes" in page.inner_text("#histograms-note")
    assert "does not judge how familiar" in page.inner_text("#familiar-words")
    assert page.is_hidden("#familiarity")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    # Its own rule has a threshold for these probabilities, so it is drawn.
    assert page.locator(".histograms .threshold").first.get_attribute("visibility") == "visible"


def test_class_names_are_only_words(visit: "Callable[..., Visit]") -> None:
    names = ["<img src=x onerror=alert(1)>", "${1}", *DIGITS[2:]]
    opened = visit(model_json(classes=names))
    opened.prediction = prediction_json(sampled_around({0: 1.0}), names)
    page = opened.open()
    opened.until(lambda: page.is_visible("#main"))
    assert opened.verdict == "Nothing is drawn yet."
    page.click("text=Noise")
    opened.says(f"I say {names[0]}.")
    assert page.locator("img").count() == 0
