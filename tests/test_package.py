"""The package as a whole: its public names, its documents, its files."""

import os
import re
import shlex
import tomllib
from pathlib import Path

import made_pages
import pytest

import nescio
from nescio import files
from nescio.cli.app import app
from nescio.errors import NescioError, UsageError

ROOT = Path(__file__).parent.parent
MADE = {(ROOT / "docs" / name).resolve() for name in made_pages.generated()}
"""The pages of the site that nobody writes."""


def test_public_names_exist_and_are_sorted() -> None:
    for name in nescio.__all__:
        assert getattr(nescio, name) is not None
    assert set(nescio.__all__) <= set(dir(nescio))
    with pytest.raises(AttributeError):
        nescio.nothing  # noqa: B018
    public = {
        "ARTICLE", "DEFAULT", "Classifier", "Decision", "Decisions", "Evaluation", "fit", "load",
        "load_model", "Recipe",
    }  # fmt: skip
    assert public <= set(nescio.__all__)


def test_every_error_is_in_the_drawing() -> None:
    from nescio import errors

    drawn = set(re.findall(r"^\s*[│├└─ ]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE))
    defined = {
        name for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, NescioError)
    }  # fmt: skip
    assert defined <= drawn
    assert defined <= set(nescio.__all__)


def test_version_equals_changelog() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert nescio.__version__ == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def commands_in(document: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(\w+=\S+ )*nescio ", line)]


@pytest.mark.parametrize("command", commands_in(ROOT / "README.md"))
def test_commands_in_the_readme_parse(command: str) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"^[A-Z_]+=", word)]
    assert words[0] == "nescio"
    app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_every_name_is_in_the_help_and_in_the_readme() -> None:
    from nescio.data import NAMES, SHIFTS

    readme = (ROOT / "README.md").read_text()
    for name in (*NAMES, *SHIFTS):
        assert re.search(rf"\b{name}\b", str(app.help_epilogue)), name
        assert f"`{name}`" in readme or f"@{name}:" in readme, name


@pytest.mark.parametrize("target", re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text()))
def test_make_targets_in_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", *map(str, (ROOT / "docs").rglob("*.md"))]
)
def test_links_in_documents_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not link.startswith("http"):
            target = (path.parent / link).resolve()
            assert target.exists() or target in MADE, link


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    files.write_text(target, "first")

    def fail_half_way() -> None:
        with files.atomic_path(target) as temporary:
            temporary.write_text("second, half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "first"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask


def test_unwritable_targets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        files.check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        files.check_writable(tmp_path / "file" / "below")
    with pytest.raises(UsageError, match="exists; name another file"):
        files.check_output(tmp_path / "file", force=False)
    files.check_output(tmp_path / "file", force=True)
    files.check_output(tmp_path / "new", force=False)


def test_random_streams_are_independent_and_repeatable() -> None:
    from nescio.randomness import Stream, derive

    seeds = [derive(seed, stream, i) for seed in range(4) for stream in Stream for i in range(9)]
    assert len(set(seeds)) == len(seeds)
    assert derive(3, Stream.START) == derive(3, Stream.START)
    with pytest.raises(UsageError, match="--seed must be at least 0"):
        derive(-1, Stream.SPLIT)
