"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
from tests_support import QUICK, stripes

import nescio
from nescio.data import Dataset


@pytest.fixture(scope="session")
def data() -> Dataset:
    return Dataset("stripes", stripes(600, 0), stripes(150, 1))


@pytest.fixture(scope="session")
def classifier(data: Dataset) -> nescio.Classifier:
    return nescio.fit("mlp", data, recipe=QUICK, max_refusal=0.05, samples=20)


@pytest.fixture(scope="session")
def model_file(classifier: nescio.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "stripes.nescio"
    classifier.save(path)
    return path


@pytest.fixture
def own_data() -> Path:
    """The folder that NESCIO_DATA names, with mnist and notmnist in it."""
    folder = os.environ.get("NESCIO_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("NESCIO_DATA names no folder with mnist in it")
    return Path(folder)
