"""Pictures of the page of `nescio serve`, from a server that runs.

    python docs/pictures/make_page_pictures.py http://127.0.0.1:8000/

It needs Playwright and Chromium.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
PICTURES = {"ambiguous": "A 4 or a 9", "letter": "A letter"}
LONGEST = 30_000
"""Milliseconds to wait for an answer."""

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
    page = browser.new_page(viewport={"width": 1240, "height": 900}, reduced_motion="reduce")
    page.goto(sys.argv[1])
    page.locator("body.answered").wait_for(timeout=LONGEST)
    for name, example in PICTURES.items():
        with page.expect_response("**/v1/predict*", timeout=LONGEST):
            page.get_by_role("button", name=example).click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        box = page.locator("main").bounding_box()
        height = box["y"] + box["height"] + 16
        shot = page.screenshot(
            full_page=True, clip={"x": 24, "y": 0, "width": 1192, "height": height}
        )
        Image.open(io.BytesIO(shot)).save(HERE / f"page-{name}.webp", quality=85, method=6)
    browser.close()
