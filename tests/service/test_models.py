"""The models that are served, and how they are read anew."""

import logging
from pathlib import Path

import pytest

import nescio
from nescio.service.models import Models, Source


def test_names_are_given_or_come_from_files() -> None:
    assert Source.parse("a=models/m.nescio") == Source("a", Path("models/m.nescio"))
    assert Source.parse("models/m.nescio") == Source("m", Path("models/m.nescio"))
    assert Source.parse("models/x=y.nescio") == Source("x=y", Path("models/x=y.nescio"))


def test_what_cannot_be_served_is_refused(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(nescio.UsageError, match="at least one"):
        Models([])
    with pytest.raises(nescio.UsageError, match="'a'"):
        Models([Source("a", model_file), Source("a", model_file)])
    with pytest.raises(nescio.ModelFileError):
        Models([Source("a", tmp_path / "missing.nescio")])


def test_the_first_is_the_default(model_file: Path) -> None:
    models = Models([Source("a", model_file), Source("b", model_file)])
    assert models.default == "a"
    assert models.names == ("a", "b")
    assert models.get(None) is models.get("a")
    assert models.get("b") is not models.get("a")
    assert models.get("c") is None
    assert models.get("") is None


def test_a_reload_replaces_what_is_served_and_leaves_what_is_held(model_file: Path) -> None:
    models = Models([Source("a", model_file), Source("b", model_file)])
    held = models.get("a")
    assert models.reload() == []
    assert models.get("a") is not held
    assert held is not None
    assert held.classifier.classes == ("left", "right", "top")


def test_a_bad_file_leaves_its_model_and_the_others_are_read(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "a.nescio"
    own.write_bytes(model_file.read_bytes())
    models = Models([Source("a", own), Source("b", model_file)])
    old, other = models.get("a"), models.get("b")
    for spoil in (lambda: own.write_bytes(b"rubbish"), own.unlink):
        spoil()
        with caplog.at_level(logging.ERROR):
            assert models.reload() == ["a"]
        assert "model a is left as it was" in caplog.text
        assert models.get("a") is old
        assert models.get("b") is not other


def test_promises_are_told_where_the_model_keeps_its_calibration(
    classifier: nescio.Classifier,
) -> None:
    models = Models([Source("a", Path("a"))], lambda _: classifier)
    served = models.get("a")
    assert served is not None
    assert served.promises == [row.to_json() for row in classifier.promises()]


def test_a_file_that_is_there_may_have_an_equals_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=0.1.nescio").touch()
    assert Source.parse("lr=0.1.nescio") == Source("lr=0.1", Path("lr=0.1.nescio"))
    assert Source.parse("lr=other.nescio") == Source("lr", Path("other.nescio"))
    assert Source.parse("a=lr=0.1.nescio") == Source("a", Path("lr=0.1.nescio"))
