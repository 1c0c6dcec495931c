"""The page and a model that was trained: what is drawn is answered, or refused."""

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from page_support import PATIENCE, Serving, Visit
from PIL import Image

import nescio

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # it trains for a minute or more


@pytest.fixture(scope="module")
def digits() -> nescio.Classifier:
    return nescio.fit("cnn", "digits", seed=0)


@pytest.fixture(scope="module")
def url(digits: nescio.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from nescio.service.app import create_app
    from nescio.service.models import Models, Source

    path = tmp_path_factory.mktemp("model") / "digits.nescio"
    digits.save(path)
    serving = Serving(create_app(Models([Source("digits", path)])))
    yield serving.url
    serving.close()


@pytest.fixture
def page(browser: "Browser", url: str) -> Iterator[Visit]:
    context = browser.new_context(reduced_motion="reduce")
    visit = Visit(context, url)
    visit.page = context.new_page()
    visit.page.set_default_timeout(PATIENCE)
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.goto(url)
    visit.says("I say 3.")  # of the example that it opens with
    yield visit
    context.close()
    assert visit.complaints == []


def turn(x: float, y: float, radius: float, first: int, last: int) -> list[tuple[float, float]]:
    """Points on a circle, by degrees, clockwise from the right."""
    angles = [math.radians(a) for a in range(first, last + 1, 15)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def test_a_drawn_three_is_a_three(page: Visit) -> None:
    page.page.click("#clear")
    page.says("Nothing is drawn yet.")
    page.draw([*turn(0.47, 0.34, 0.145, 210, 450), *turn(0.47, 0.65, 0.17, 270, 510)])
    page.says("I say 3.")
    assert page.page.inner_text(".histograms .proposed .class") == "3"


def test_a_drawn_letter_is_refused(page: Visit) -> None:
    page.draw([(0.2, 0.8), (0.2, 0.2), (0.5, 0.6), (0.8, 0.2), (0.8, 0.8)])  # M
    page.until(lambda: page.verdict.startswith("I don't know: unfamiliar"))


@pytest.mark.parametrize("name", ["A letter", "Noise", "Nothing"])
def test_examples_that_are_no_digits_are_refused(page: Visit, name: str) -> None:
    page.page.get_by_role("button", name=name).click()
    page.until(lambda: page.verdict.startswith("I don't know: unfamiliar"))


def test_an_image_of_a_seven_is_a_seven(page: Visit, digits: nescio.Classifier) -> None:
    data = nescio.load("digits").train
    assert data.labels is not None
    sevens = data.images[data.labels == 7]
    decided = digits.decide(sevens[:20, 0].numpy())
    place = next(i for i in range(20) if decided[i].label == "7")
    buffer = io.BytesIO()
    Image.fromarray(sevens[place, 0].numpy()).save(buffer, "PNG")
    file = {"name": "7.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.page.set_input_files("#file", file)
    page.says("I say 7.")


def test_the_articles_rule_answers_noise(page: Visit) -> None:
    page.page.get_by_role("button", name="Noise").click()
    page.until(lambda: page.verdict.startswith("I don't know: unfamiliar"))
    page.page.click("text=By vote")
    page.page.locator("#threshold").fill("0.05")
    # A vote knows nothing of familiarity.
    page.until(lambda: "unlike" not in page.verdict)
