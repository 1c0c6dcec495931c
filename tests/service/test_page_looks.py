"""The page of the service at every width and scheme, and for those who do not see it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_support import (
    Serving,
    Visit,
    model_json,
    page_alone,
    prediction_json,
    sampled_around,
    tell,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("fastapi", reason="the extra serve is not installed")

NARROW, WIDE = {"width": 320, "height": 700}, {"width": 1280, "height": 900}
STRANGE = prediction_json(
    sampled_around({8: 0.7, 4: 0.3}),
    strange=True,
    unfamiliarity=9.0,
    familiarity=1 / 401,
    nearest=8,
)
GRAVE = (
    "(await axe.run()).violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html.slice(0, 99))])"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    serving = Serving(page_alone())
    yield serving.url
    serving.close()


@pytest.fixture
def visit(browser: "Browser", url: str) -> Iterator[Callable[..., Visit]]:
    opened: list[Visit] = []

    def begin(**options: Any) -> Visit:
        context = browser.new_context(reduced_motion="reduce", **options)
        opened.append(Visit(context, url, model_json()))
        return opened[-1]

    yield begin
    for each in opened:
        each.context.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script: of $AXE_CORE, or of a node_modules folder above."""
    named = os.environ.get("AXE_CORE")
    places = [Path(named)] if named else []
    places += [p / "node_modules/axe-core/axe.min.js" for p in Path(__file__).resolve().parents]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        npm = "npm install axe-core" if shutil.which("npm") else "with npm"
        pytest.skip(
            f"axe-core is not there: install it ({npm}), or name its axe.min.js in AXE_CORE"
        )
    return found.read_text(encoding="utf-8")


def open_all(visit: Visit) -> None:
    """Show what can be unfolded and chosen."""
    page = visit.page
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    page.click("text=By vote")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("state", ["answer", "refusal", "error", "empty", "key"])
def test_axe_finds_no_grave_fault(
    visit: Callable[..., Visit], axe: str, state: str, size: Any, scheme: str
) -> None:
    opened = visit(viewport=size, color_scheme=scheme)
    opened.models = ("first", "second")
    if state == "refusal":
        opened.prediction = STRANGE
    page = opened.open()
    opened.says("I say 3." if state != "refusal" else "I don't know: unfamiliar, nearest to 8.")
    if state == "error":
        opened.answer = lambda route: tell(route, {}, 500)
        page.click("text=Noise")
        opened.says("No answer.")
    elif state == "key":
        opened.answer = lambda route: tell(route, {}, 401)
        page.click("text=Noise")
        opened.until(lambda: page.is_visible("#key"))
    elif state == "empty":
        page.click("#clear")
        opened.says("Nothing is drawn yet.")
    else:
        open_all(opened)
    page.evaluate(axe)
    faults = page.evaluate(f"(async () => {GRAVE})()")
    assert [fault for fault in faults if fault[0] in ("serious", "critical")] == []


@pytest.mark.parametrize(
    "width", [320, *(pytest.param(width, marks=pytest.mark.slow) for width in (360, 768, 1280))]
)
def test_nothing_sticks_out(visit: Callable[..., Visit], width: int) -> None:
    opened = visit(viewport={"width": width, "height": 800})
    opened.prediction = STRANGE
    opened.models = ("a model with a rather long name, as files have", "second")
    page = opened.open()
    opened.says("I don't know: unfamiliar, nearest to 8.")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    open_all(opened)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    pad, verdict = (page.locator(s).bounding_box() for s in ("#pad", "#verdict"))
    assert pad is not None
    assert verdict is not None
    if width < 500:  # both are in sight together
        assert verdict["y"] > pad["y"] + pad["height"]
        assert verdict["y"] + 30 < pad["y"] + 640
    else:
        assert verdict["y"] < pad["y"] + pad["height"]


@pytest.mark.slow
def test_dark_and_light(visit: Callable[..., Visit]) -> None:
    papers = []
    for scheme in ("light", "dark"):
        opened = visit(color_scheme=scheme)
        page = opened.open()
        opened.says("I say 3.")
        papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.bar')).transitionDuration")
            == "0s"
        )
    assert papers == ["rgb(255, 255, 255)", "rgb(20, 23, 26)"]


def test_it_can_be_heard(visit: Callable[..., Visit]) -> None:
    opened = visit()
    page = opened.open()
    opened.says("I say 3.")
    for role, name in [
        ("application", "Drawing pad"),
        ("button", "Undo"),
        ("button", "A letter"),
        ("checkbox", "Centre and scale it"),
        ("radio", "By vote"),
        ("radio", "logarithmic"),
        ("region", "What the networks say"),
        ("region", "Is it like what it was trained on?"),
        ("heading", "I say 3."),
        ("img", "What the network sees: 28 by 28 pixels"),
    ]:
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name  # type: ignore[arg-type]
    page.click("text=By vote")
    for name in ("Quantile of the networks", "Threshold of probability"):
        assert page.get_by_role("slider", name=name, exact=True).count() == 1, name
    assert page.get_by_label("Choose an image").count() == 1
    spoken = page.locator("#said[role=status][aria-live=polite]")
    opened.until(lambda: spoken.text_content() == "I say 3.")
    opened.prediction = STRANGE
    page.click("text=Its own rule")
    page.click("text=Noise")
    opened.until(lambda: "nearest to 8" in str(spoken.text_content()))
