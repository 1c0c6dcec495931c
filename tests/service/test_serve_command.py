"""``nescio serve`` before it serves: what it takes, refuses and warns of."""

from importlib.util import find_spec as real_find_spec
from pathlib import Path
from typing import Any

import pytest

from nescio.cli import serve as command
from nescio.cli.app import main
from nescio.service import serve as serving
from nescio.service.settings import Settings


class Served:
    """Takes what would be served."""

    settings: Settings

    def __call__(self, settings: Settings, *_: Any) -> int:
        self.settings = settings
        return 0


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.delenv("NESCIO_API_KEY", raising=False)
    served = Served()
    monkeypatch.setattr(serving, "serve", served)
    return served


def test_the_defaults_are_for_this_machine_alone(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "m.nescio"]) == 0
    settings = served.settings
    assert settings.host == "127.0.0.1"
    assert settings.security.api_key is None
    assert settings.security.hosts == ("localhost", "127.0.0.1", "[::1]")
    assert settings.security.origins == ()
    assert settings.limits.body_bytes == 10 * 2**20
    assert settings.limits.rate is None
    assert "anyone" not in capsys.readouterr().err


def test_limits_are_set_by_options(served: Served) -> None:
    options = (
        "--max-body 500K --max-pixels 1000 --max-images 3 --max-samples 7 --rate 0.5 --burst 2"
    )
    options += " --timeout 5 --queue 9 --batch-delay 1.5"
    assert main(["serve", "m.nescio", *options.split()]) == 0
    limits = served.settings.limits
    assert (limits.body_bytes, limits.pixels, limits.request_pixels) == (500 * 1024, 1000, 4000)
    assert (limits.images, limits.samples, limits.rate, limits.burst) == (3, 7, 0.5, 2)
    assert limits.seconds == 5
    assert (served.settings.queue_images, served.settings.batch_delay_ms) == (9, 1.5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--max-body", "lots"], "--max-body"),
        (["--max-images", "0"], "images"),
        (["--timeout", "nan"], "seconds"),
        (["--rate", "-1"], "rate"),
    ],
)
def test_limits_without_sense_are_refused(
    served: Served, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert main(["serve", "m.nescio", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error


def test_whoever_opens_it_to_all_is_told(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    anywhere = "0.0.0.0"  # noqa: S104 - nothing is bound
    assert main(["serve", "m.nescio", "--host", anywhere]) == 0
    assert "anyone who reaches 0.0.0.0 may ask" in capsys.readouterr().err
    assert served.settings.security.hosts is None
    monkeypatch.setenv("NESCIO_API_KEY", "k" * 20)
    assert main(["serve", "m.nescio", "--host", anywhere, "--allow-host", "a.example"]) == 0
    assert "anyone" not in capsys.readouterr().err
    assert served.settings.security.hosts == ("a.example",)


def test_the_key_is_read_and_never_shown(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NESCIO_API_KEY", "of-the-environment")
    assert main(["serve", "m.nescio"]) == 0
    assert served.settings.security.api_key == "of-the-environment"
    file = tmp_path / "key"
    file.write_text("of-the-file\n")
    assert main(["serve", "m.nescio", "--api-key-file", str(file)]) == 0
    assert served.settings.security.api_key == "of-the-file"
    assert "of-the-file" not in repr(served.settings)


@pytest.mark.parametrize("content", ["", "\n", "two words", "schlüssel", "a\nb"])
def test_a_key_that_no_header_can_carry(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "key"
    file.write_text(content, encoding="utf-8")
    assert main(["serve", "m.nescio", "--api-key-file", str(file)]) == 2
    assert "openssl rand" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> Any:
        return None if name in ("fastapi", "uvicorn") else real_find_spec(name)

    monkeypatch.setattr(command, "find_spec", find_spec)
    assert main(["serve", "m.nescio"]) == 2
    told = capsys.readouterr().err
    assert told == (
        "error: serving needs fastapi, uvicorn; install it with pip install 'nescio[serve]'\n"
    )
