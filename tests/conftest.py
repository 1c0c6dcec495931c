"""Fixtures that all tests share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before PyTorch is imported, and for what tests start: several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from made_models import made_classifier
from tests_support import made_once, stripes

import nescio
from nescio.data import Dataset

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def data() -> Dataset:
    return Dataset("stripes", stripes(600, 0), stripes(150, 1))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same one in all of its processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def model_file(data: Dataset, shared_folder: Path) -> Path:
    """A calibrated classifier of stripes; its weights are no training's, see ``made_models``."""
    return made_once(
        shared_folder / "stripes.nescio", lambda path: made_classifier(data).save(path)
    )


@pytest.fixture(scope="session")
def classifier(model_file: Path) -> nescio.Classifier:
    return nescio.load_model(model_file)


@pytest.fixture
def own_data() -> Path:
    """The folder that NESCIO_DATA names, with mnist and notmnist in it."""
    folder = os.environ.get("NESCIO_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("NESCIO_DATA names no folder with mnist in it")
    return Path(folder)


# Not for the session: while it lives, its event loop is the only one of this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The Chromium of this machine, without a window."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
        yield opened
        opened.close()
