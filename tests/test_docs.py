"""The documents: what they show runs, what they list is there, what is made is whole."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made_pages
import notebooks
import pytest
from tests_support import made_once

import nescio
from nescio.classifier.modelfile import FORMAT_VERSION
from nescio.cli.app import app, main
from nescio.inference import Recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
WRITTEN = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))

BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>.*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    The comment before it, if any, is its mark: ``slow``, ``file: NAME`` for what is
    to be written to a file, or ``not run: WHY``.
    """

    language: str
    text: str
    mark: str
    line: int


def blocks_of(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(m["language"], m["text"], m["mark"] or "", text.count("\n", 0, m.start("text")))
        for m in BLOCK.finditer(text)
    ]


RUNNING = [page for page in WRITTEN if any(b.language in ("python", "sh") for b in blocks_of(page))]
HEAVY = {
    *("faq.md", "first-ten-minutes.md"),
    *(
        f"how-to/{name}.md"
        for name in (
            *("backbone", "images", "network", "plot", "promise", "reports", "reproduce"),
            *("scikit-learn", "score-many", "strictness", "train-long"),
        )
    ),
}
"""Pages that take more than a second even without the blocks that are marked slow."""
LONG = [page for page in RUNNING if page in HEAVY or any(b.mark == "slow" for b in blocks_of(page))]


@pytest.fixture(scope="session")
def digits_file(shared_folder: Path) -> Path:
    """A model of digits after two passes: it answers badly, but with all of its parts."""

    def train(path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            shorten_training(patch)
            nescio.fit("cnn", "digits").save(path)

    return made_once(shared_folder / "digits.nescio", train)


def shorten_training(patch: pytest.MonkeyPatch) -> None:
    """Whatever a page trains is trained for two passes at most."""
    patch.setattr(Recipe, "passes", lambda self, _: min(2, self.epochs))


@pytest.mark.parametrize("page", [page for page in RUNNING if page not in HEAVY])
def test_what_a_page_shows_runs(
    page: str, digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(digits_file, tmp_path)
    shorten_training(monkeypatch)
    run_page(page, tmp_path, monkeypatch, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", LONG)
def test_what_a_page_shows_runs_in_full(
    page: str, digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page != "first-ten-minutes.md":  # that one is run as a reader runs it
        shutil.copy(digits_file, tmp_path)
        shorten_training(monkeypatch)
    run_page(page, tmp_path, monkeypatch, slow=True)


def run_page(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, slow: bool) -> None:
    """Run the blocks of a page from top to bottom; they share a folder and a namespace."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    namespace: dict[str, Any] = {"__name__": page}
    for block in blocks_of(page):
        if block.language not in ("python", "sh"):
            continue
        if block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.text)
        elif block.mark.startswith("not run: "):
            check_commands_parse(block)
        elif block.mark == "" or (block.mark == "slow" and slow):
            run_block(page, block, namespace)
        else:
            assert block.mark == "slow", f"{page}:{block.line}: unknown mark {block.mark!r}"
    for name in [n for n, m in sys.modules.items() if is_below(m, folder)]:
        monkeypatch.delitem(sys.modules, name)


def run_block(page: str, block: Block, namespace: dict[str, Any]) -> None:
    if block.language == "python":
        code = compile("\n" * block.line + block.text, str(DOCS / page), "exec")
        exec(code, namespace)  # noqa: S102 - the project's own documents
        return
    for line in block.text.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "nescio", f"{page}:{block.line}: only nescio can be run here: {line}"
        assert main(arguments) == 0, f"{page}:{block.line}: {line}"


def check_commands_parse(block: Block) -> None:
    for line in block.text.splitlines():
        if line.startswith("nescio "):
            app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def is_below(module: object, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(folder)


def test_the_json_that_is_shown_has_the_fields_of_the_json_that_is_printed(
    digits_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [json.loads(b.text) for b in blocks_of("how-to/json.md") if b.language == "json"]
    commands = (
        ["predict", str(digits_file), "letters:1"],
        ["evaluate", str(digits_file), "digits", "--ood", "noise:20"],
    )
    printed = []
    for command in commands:
        assert main([*command, "--json", "--quiet"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    of_classes = {"probability", "median", "seconds", "classes"}
    for example, real in zip(shown, printed, strict=True):
        assert list(example) == list(real)
        for name, value in example.items():
            if isinstance(value, dict) and name not in (*of_classes, "rule"):
                assert list(value) == list(real[name]), name
    assert list(shown[1]["ood"]["noise"]) == list(printed[1]["ood"]["noise"])
    assert list(shown[1]["classes"]["0"]) == list(printed[1]["classes"]["0"])
    fields = re.findall(r"^\| `?([\w.`, ]+?)`? \|", (DOCS / "how-to/json.md").read_text(), re.M)
    named = {name for field in fields for name in re.findall(r"[\w.]+", field)}
    assert set(printed[0]) - {"scores"} <= named
    assert {f"scores.{name}" for name in printed[0]["scores"]} <= named


def test_the_page_on_the_model_file_is_about_the_format_that_is_written() -> None:
    text = (DOCS / "reference/model-file.md").read_text()
    assert f"This page is format {FORMAT_VERSION};" in text
    assert f"| `format` | {FORMAT_VERSION} |" in text


def test_every_public_name_is_in_the_python_reference_once() -> None:
    listed = re.findall(r"^::: nescio\.(\w+)$", (DOCS / "reference/python.md").read_text(), re.M)
    assert sorted(listed) == sorted(nescio.__all__)


def test_the_made_pages_have_every_command_option_and_package() -> None:
    made = made_pages.generated()
    commands = str(made["reference/commands.md"])
    for name in app.resolved_commands():
        if name.startswith("-"):
            continue
        assert f"## nescio {name}\n" in commands
        assert str(app[name].help).splitlines()[0] in commands
    for option in ("--max-risk", "--ood", "--samples-fixed", "--out, -o", "--per-class"):
        assert f"`{option}" in commands
    inside = str(made["reference/packages.md"])
    assert "::: nescio.refusal.certify\n" in inside
    assert "::: nescio.Classifier" not in inside
    assert "](docs/" not in str(made["contributing.md"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_becomes_a_page(path: Path) -> None:
    text, pictures = notebooks.as_page(path)
    assert text.startswith("# ")
    assert f"({path.name})" in text
    assert pictures
    for name, content in pictures.items():
        assert f"]({name})" in text
        assert content.startswith(b"\x89PNG")
    assert sum(map(len, pictures.values())) < 300_000
    # What it shows was made by running it, on no machine in particular.
    assert str(ROOT) not in path.read_text()
    assert "site-packages" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_is_said_to_show(path: Path, tmp_path: Path) -> None:
    from run_notebooks import execute

    committed = json.loads(path.read_text())
    ran = execute(path, tmp_path)
    for before, after in zip(committed["cells"], ran.cells, strict=True):
        if after.cell_type == "code":
            kinds = [sorted(o.get("data", {o.get("name"): ""})) for o in before["outputs"]]
            assert [sorted(o.get("data", {o.get("name"): ""})) for o in after.outputs] == kinds
