"""A notebook as a page: its words as they are, its code and what that gave as blocks."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any


def as_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Turn a notebook that was run into Markdown.

    Args:
        path: The ``.ipynb`` file.

    Returns:
        The page, and the pictures that it shows, by file name.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            parts.append(_shown(output, path.stem, pictures))
    title, *rest = parts
    download = f"[Download this notebook]({path.name}). What it shows was made by running it."
    return "\n\n".join([title, download, *rest]) + "\n", pictures


def _shown(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    """One output; a picture goes into ``pictures``."""
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        words = output.get("metadata", {}).get("image/png", {}).get("alt", "What the code draws")
        return f"![{words}]({name})"
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```"
