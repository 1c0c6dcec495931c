"""The pages that nobody writes: made from the code when the site is built, so never stale."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from notebooks import as_page

import nescio

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = ROOT / "docs" / "notebooks"

NO_VALUES = "    options:\n      show_attribute_values: false\n"
"""Tables of constants are told by their docstrings; the values are in the code."""

PICTURE = re.compile(r'(<img [^>]*src="([^"]+\.png)"[^>]*>)')

PACKAGES = (
    "data", "network", "inference", "prediction", "familiarity", "refusal", "evaluation",
    "classifier", "training", "estimator", "report", "export", "scoring",
)  # fmt: skip
"""In the order in which they build on one another."""

COMMANDS = """# Commands

Made from the program itself; `nescio COMMAND --help` says the same. Results go to stdout, all else
to stderr. Exit status: 0 when done; 2 for bad usage or bad input, with one line on stderr that
names the thing and the mend; 130 after Ctrl-C; 1 for an unexpected failure.

"""

INSIDE = """# Inside the packages

What each package offers beyond [the public names](python.md): pure functions, protocols and the
records that they exchange. `S` sampled networks, `N` images, `C` classes, `K` colour channels,
`H`, `W`, `L` stages. These names may change between minor versions; those of `nescio` itself will
not without a word in the [changes](../changelog.md). [Architecture](../architecture.md) is the map.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages to those that were written."""
    from mkdocs.structure.files import File

    for path, content in generated().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Pictures are wide: each leads to itself in full size, and may be scrolled on a phone."""
    return PICTURE.sub(r'<a class="picture" href="\2">\1</a>', html)


def generated() -> dict[str, str | bytes]:
    """Each made page, and each picture of a notebook, by its path."""
    pages: dict[str, str | bytes] = {
        "reference/commands.md": commands(),
        "reference/packages.md": packages(),
        "changelog.md": from_root("CHANGELOG.md"),
        "contributing.md": from_root("CONTRIBUTING.md"),
    }
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        text, pictures = as_page(notebook)
        pages[f"notebooks/{notebook.stem}.md"] = text
        pages |= {f"notebooks/{name}": content for name, content in pictures.items()}
    return pages


def commands() -> str:
    """Every command with every option, as cyclopts tells them."""
    from nescio.cli.app import app

    made = app.generate_docs(heading_level=1)
    # Its title and table of contents are the page's; each command is a section.
    sections = made[made.index("\n## nescio ") :]
    return f"{COMMANDS}{app.help_epilogue}\n{sections}"


def packages() -> str:
    """What each package names as public, but for what `nescio` itself does."""
    text = INSIDE
    for package in PACKAGES:
        module = importlib.import_module(f"nescio.{package}")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        names = getattr(module, "__all__", ())
        # Names of names ("image", "output") are told where they are used.
        inner = [
            name for name in names
            if name not in nescio.__all__ and not isinstance(getattr(module, name), str)
        ]  # fmt: skip
        if inner:
            text += f"## nescio.{package}\n\n{summary}\n\n"
            text += "".join(f"::: nescio.{package}.{name}\n{NO_VALUES}\n" for name in inner)
    return text


def from_root(name: str) -> str:
    """A document of the project's root; its links into docs/ are links beside it here."""
    return re.sub(r"\]\(docs/", "](", (ROOT / name).read_text(encoding="utf-8"))
