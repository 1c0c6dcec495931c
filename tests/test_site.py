"""The site: it builds strictly, asks nothing of others, and its gate sees what is broken."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent

SMALL = f"""
INHERIT: {ROOT}/mkdocs.yml
docs_dir: pages
site_dir: site
extra_css: []
hooks: []
plugins: []
nav: [index.md, other.md]
"""
"""The settings of the site, for a few pages of which none is made."""


def build(folder: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    """What ``make docs`` runs, to the letter, in another folder."""
    pytest.importorskip("mkdocs", reason="the site's tools are not installed (make docs)")
    line = re.search(r"^\t.*\$\(BIN\)/mkdocs (build .*)$", (ROOT / "Makefile").read_text(), re.M)
    assert line is not None
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *shlex.split(line[1]), *more],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


def test_it_builds_and_asks_nothing_of_others(tmp_path: Path) -> None:
    done = build(ROOT, "--site-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    asked = r"<(?:script|img|iframe|source)[^>]+src=\"?https?:|<link[^>]+href=\"?https?:"
    built = sorted(tmp_path.rglob("*.html"))
    assert len(built) > 25
    for page in built:
        html = page.read_text(encoding="utf-8")
        assert not re.search(asked, html), page
        assert not re.search(r":(?:class|func|meth|mod|data):", html), page


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("other.md#there", None),
        ("missing.md", "'missing.md', but the target is not found"),
        ("other.md#nowhere", "does not contain an anchor '#nowhere'"),
        ("/other.md", "absolute link '/other.md'"),
    ],
)
def test_a_link_that_leads_nowhere_fails(tmp_path: Path, link: str, words: str | None) -> None:
    (tmp_path / "mkdocs.yml").write_text(SMALL)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "other.md").write_text("# Other\n\n## There\n")
    (tmp_path / "pages" / "index.md").write_text(f"# Start\n\n[go]({link})\n")
    done = build(tmp_path)
    if words is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0
        assert words in done.stderr


def test_a_page_that_no_one_can_find_fails(tmp_path: Path) -> None:
    (tmp_path / "mkdocs.yml").write_text(SMALL)
    (tmp_path / "pages").mkdir()
    for name in ("index", "other", "lost"):
        (tmp_path / "pages" / f"{name}.md").write_text("# Page\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert "lost.md" in done.stderr
