"""The page of refusals as a person meets it, in Chromium."""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from review_support import NASTY, review_of
from tests_support import SIDE

from nescio.data import Preprocessing, read_labels
from nescio.report import Review, write_review

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CLASSES = ("ant", "bee", "Cow", "cat, tabby", "dog")


@dataclass
class Visit:
    """One page in a browser of its own, with all that it asked for or complained of."""

    context: "BrowserContext"
    path: Path
    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def open(self) -> "Page":
        page = self.context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.asked.add(request.url.split(":")[0]))
        page.goto(self.path.as_uri())
        return page


class Open:
    """Opens reviews; what they complain of fails the test."""

    def __init__(self, browser: "Browser", folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self.visits: list[Visit] = []

    def __call__(self, review: Review, **options: Any) -> Visit:
        path = self.folder / "review.html"
        write_review(path, review)
        self.visits.append(Visit(self.browser.new_context(**options), path))
        return self.visits[-1]


@pytest.fixture
def visit(browser: "Browser", tmp_path: Path) -> Iterator[Open]:
    opened = Open(browser, tmp_path)
    yield opened
    for each in opened.visits:
        each.context.close()
        assert each.complaints == []
        assert each.asked <= {"file", "data", "blob"}


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return review_of(tmp_path / "images", CLASSES)


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Ask again and again; a browser's own waiting is code that the page's policy forbids."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def states(page: "Page") -> list[str]:
    return page.locator(".card .state").all_inner_texts()


def count(page: "Page") -> str:
    return page.inner_text("#count")


def saved(page: "Page", path: Path) -> list[list[str]]:
    with page.expect_download() as download:
        page.click("text=Save CSV")
    assert download.value.suggested_filename == "labels.csv"
    download.value.save_as(path)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def proposed(review: Review, card: int, number: int) -> str:
    return review.classes[review.cards[card][0].proposals[number]]


def test_labels_by_click(visit: Open, review: Review) -> None:
    page = visit(review).open()
    assert count(page) == "0 of 6 labelled"
    card = page.locator(".card").nth(2)
    button = card.locator(".choices button").nth(1)
    button.click()
    assert states(page)[2] == f"Labelled {proposed(review, 2, 1)}"
    assert button.get_attribute("aria-pressed") == "true"
    assert count(page) == "1 of 6 labelled"
    card.locator("[data-state=none]").click()
    assert states(page)[2] == "Not any class: left out"
    assert count(page) == "0 of 6 labelled, 1 not any class"
    card.locator("[data-state=none]").click()  # once more takes it away
    assert states(page)[2] == ""
    card.locator("[data-state=skip]").click()
    assert count(page) == "0 of 6 labelled, 1 skipped"


def test_labels_by_key(visit: Open, review: Review) -> None:
    page = visit(review).open()
    for key in ("1", "-", "2", ".", "ArrowRight", "9"):
        page.keyboard.press(key)
    assert states(page) == [
        f"Labelled {proposed(review, 0, 0)}",
        "Not any class: left out",
        f"Labelled {proposed(review, 2, 1)}",
        "Skipped",
        "",
        "",  # there is no ninth proposal
    ]
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused).startswith("Image 6 of 6: ")
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "Delete"):
        page.keyboard.press(key)
    assert page.evaluate(focused).startswith("Image 1 of 6: ")
    assert states(page)[0] == ""
    assert count(page) == "1 of 6 labelled, 1 not any class, 1 skipped"
    # After the last open one it goes on at the beginning, and says when all is done.
    for key in ("1", "1", "1"):
        page.keyboard.press(key)
    assert page.inner_text("#said") == "Every image has been seen to."
    page.click("text=Next")  # what was skipped comes again
    assert page.evaluate(focused).startswith("Image 4 of 6: ")


def test_keys_can_be_switched_off(visit: Open, review: Review) -> None:
    page = visit(review).open()
    page.click("summary")
    page.uncheck("text=Use these keys")
    page.locator(".card").first.focus()
    page.keyboard.press("1")
    assert states(page)[0] == ""


def test_classes_of_one_letter_are_their_own_keys(visit: Open, tmp_path: Path) -> None:
    page = visit(review_of(tmp_path / "images", tuple("0123456789"))).open()
    for digit in "7", "0":
        page.keyboard.press(digit)
    assert states(page)[:2] == ["Labelled 7", "Labelled 0"]
    assert page.locator(".choices kbd").count() == 0


def test_labels_by_typing(visit: Open, review: Review) -> None:
    page = visit(review).open()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("/")
    page.keyboard.type("cat, tabby")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.type("COW")  # no other differs in case alone
    page.keyboard.press("Enter")
    page.keyboard.press("/")
    page.keyboard.type("1 puma")
    page.keyboard.press("Enter")
    assert states(page)[:3] == ["Labelled cat, tabby", "Labelled Cow", ""]
    assert page.inner_text("#said") == "“1 puma” is none of the 5 classes."
    assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    assert states(page)[2] == f"Labelled {proposed(review, 2, 0)}"
    # Leaving the field takes what it holds, and a choice from the list needs no key.
    field = page.locator(".card input").nth(3)
    field.fill("dog")
    page.locator("h1").click()
    assert states(page)[3] == "Labelled dog"
    page.locator(".card input").nth(4).evaluate(
        "(input) => { input.value = 'bee'; input.dispatchEvent(new Event('input')); }"
    )
    assert states(page)[4] == "Labelled bee"


@pytest.mark.slow
def test_a_reload_loses_nothing_and_other_pages_see_none_of_it(visit: Open, review: Review) -> None:
    opened = visit(review)
    page = opened.open()
    for key in ("1", "-", "."):
        page.keyboard.press(key)
    before, said = states(page), count(page)
    page.reload()
    assert (states(page), count(page)) == (before, said)
    page.keyboard.press("1")  # it goes on where it was left
    assert states(page)[3] != ""
    second = opened.open()
    assert states(second) == states(page)
    second.keyboard.press("1")
    wait_until(lambda: page.locator("[data-kind=label]").count() == 3)
    # Another review in the same browser.
    write_review(opened.path, replace(review, cards=review.cards[:5]))
    page.reload()
    assert count(page) == "0 of 5 labelled"


@pytest.mark.slow
def test_damaged_storage_is_no_failure(visit: Open, review: Review) -> None:
    opened = visit(review)
    page = opened.open()
    key = f"nescio-review-{review.fingerprint}"
    for kept in ("{", "7", '[99, "puma", 1.5, -1, {"a": 1}, 2]'):
        page.evaluate("([key, kept]) => localStorage.setItem(key, kept)", [key, kept])
        page.reload()
        # Chromium tells a new page of what was stored a little later.
        stored = partial(page.evaluate, "([key, kept]) => localStorage.getItem(key) === kept")
        wait_until(partial(stored, [key, kept]))
        page.reload()
    assert states(page) == ["", "", "", "", "", "Labelled Cow"]


def test_without_storage_it_says_so(visit: Open, review: Review) -> None:
    opened = visit(review)
    opened.context.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('no', 'QuotaExceededError'); }"
    )
    page = opened.open()
    page.keyboard.press("1")
    assert "This browser keeps nothing: save before you leave." in page.inner_text("#said")
    assert count(page) == "1 of 6 labelled"


def test_what_is_saved_can_be_read_and_loaded(visit: Open, review: Review, tmp_path: Path) -> None:
    page = visit(review).open()
    page.click("text=Save CSV")
    assert page.inner_text("#said") == "Nothing is labelled yet."
    for key in ("1", "-", "2", ".", "3"):
        page.keyboard.press(key)
    path = tmp_path / "downloads" / "labels.csv"
    rows = saved(page, path)
    names = [question.name for question, _ in review.cards]
    expected = [[names[i], proposed(review, i, n)] for i, n in ((0, 0), (2, 1), (4, 2))]
    assert rows == [["image", "label"], *expected]
    images = read_labels(path, CLASSES, Preprocessing(1, SIDE, SIDE))
    assert [images.classes[label] for label in images.require_labels()] == [r[1] for r in expected]

    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["elsewhere.png", "ant"], [names[5], "puma"]])
    fresh = visit(review).open()
    assert count(fresh) == "0 of 6 labelled"
    fresh.set_input_files("#file", path)
    fresh.wait_for_selector("text=3 labels loaded; 2 lines are of other images or classes.")
    assert states(fresh)[0] == f"Labelled {expected[0][1]}"
    path.write_text("label,image\n")
    fresh.set_input_files("#file", path)
    fresh.wait_for_selector("text=its first line must be image,label")
    assert count(fresh) == "3 of 6 labelled"
    fresh.reload()
    assert count(fresh) == "3 of 6 labelled"


def test_nasty_names_stay_names(visit: Open, tmp_path: Path) -> None:
    review = review_of(tmp_path / "images", NASTY)
    names = [f"/{name}.png" for name in (*NASTY, "\r\n \t.png ", '"')]
    cards = tuple((replace(q, name=n), t) for (q, t), n in zip(review.cards, names, strict=True))
    review = replace(review, cards=cards, title=NASTY[0], failures=((NASTY[0], NASTY[1]),))
    page = visit(review).open()
    assert NASTY[0] in page.inner_text("h1")
    assert page.locator("datalist option").count() == len(NASTY)
    for i in range(6):
        page.locator(".card").nth(i).locator(".choices button").nth(i % 3).click()
    path = tmp_path / "labels.csv"
    rows = saved(page, path)
    expected = [[name, proposed(review, i, i % 3)] for i, name in enumerate(names)]
    assert rows == [["image", "label"], *expected]
    fresh = visit(review).open()
    fresh.set_input_files("#file", path)
    fresh.wait_for_selector("text=6 labels loaded.")
    assert states(fresh) == states(page)


def test_a_foreign_script_does_not_run(browser: "Browser", review: Review, tmp_path: Path) -> None:
    path = tmp_path / "review.html"
    write_review(path, review)
    html = path.read_text(encoding="utf-8")
    path.write_text(html.replace("</h1>", "</h1><script>document.title = 'in'</script>"))
    opened = Visit(browser.new_context(), path)
    assert opened.open().title() == "Review of some <i>images</i>"
    assert "Content Security Policy" in opened.complaints[0]
    opened.context.close()


def many(tmp_path: Path) -> Review:
    classes = [f"class {i}, with a rather long name that goes on and on" for i in range(199)]
    review = review_of(tmp_path / "images", (*classes, "x" * 200))
    failures = (("/a/broken.png", "/a/broken.png: not an image, or its beginning is damaged"),)
    return replace(review, failures=failures, wanted=900, looked=2000)


CONTRAST = """
(selectors) => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const ratios = [];
  for (const element of document.querySelectorAll(selectors)) {
    if (!element.innerText && element.tagName !== "INPUT") continue;
    const pair = [numbers(getComputedStyle(element).color), behind(element)].map(light).sort();
    const [low, high] = pair[0] < pair[1] ? pair : pair.reverse();
    ratios.push([(high + 0.05) / (low + 0.05), element.outerHTML.slice(0, 60)]);
  }
  return ratios;
}
"""


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (320, "dark"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in product((320, 768, 1280), ("light", "dark"))
            if case != (320, "dark")
        ),
    ],
)
def test_every_width_and_scheme(visit: Open, tmp_path: Path, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    page = visit(many(tmp_path), viewport=size, color_scheme=scheme).open()
    page.click("summary")
    for key in ("ArrowDown", "1", "-", "."):
        page.keyboard.press(key)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ratios: Sequence[tuple[float, str]] = page.evaluate(
        CONTRAST, "h1, h2, p, button, button span, button small, kbd, code, summary, dd, li, input"
    )
    assert len(ratios) > 50
    assert min(ratios)[0] >= 4.5, min(ratios)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    # The current image is in sight, below the bar that stays.
    box, bar = (page.locator(s).bounding_box() for s in (".card:focus", ".tools"))
    assert box is not None
    assert bar is not None
    assert bar["y"] + bar["height"] <= box["y"] < 800


@pytest.mark.slow
def test_two_hundred_classes(visit: Open, tmp_path: Path) -> None:
    page = visit(many(tmp_path)).open()
    assert page.locator("datalist option").count() == 200
    page.keyboard.press("/")
    page.keyboard.type("x" * 200)
    page.keyboard.press("Enter")
    assert states(page)[0] == "Labelled " + "x" * 200
    assert "6 of them are on this page" in page.inner_text("header")


def test_it_can_be_heard_and_walked_by_keyboard(visit: Open, review: Review) -> None:
    page = visit(review).open()
    names = page.evaluate(
        "[...document.querySelectorAll('button, input:not([hidden]), article, progress, img, "
        "[role=group], [role=region]')].map(e => e.getAttribute('aria-label') || e.alt || "
        "e.getAttribute('aria-labelledby') || e.closest('label')?.textContent || e.innerText)"
    )
    assert len(names) > 60
    assert [name for name in names if not (name and name.strip())] == []
    assert page.locator("h1").count() == 1
    assert page.locator("#said[role=status]").count() == 1
    outlined = (
        "(() => { const s = getComputedStyle(document.activeElement); "
        "return document.activeElement.matches(':focus-visible') && s.outlineStyle !== 'none' && "
        "parseFloat(s.outlineWidth) >= 2; })()"
    )
    for _ in range(9):
        page.keyboard.press("Tab")
        assert page.evaluate(outlined)
    page.locator(".choices button").first.focus()
    page.keyboard.press("Space")
    assert states(page)[0] == f"Labelled {proposed(review, 0, 0)}"
