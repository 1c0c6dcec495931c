"""How pages are made of their templates; all that is not markup is escaped."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from nescio.report.words import percent


def environment() -> Environment:
    """One that knows our templates, and stops at a name that it does not know."""
    found = Environment(
        loader=PackageLoader("nescio.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["percent"] = percent
    return found


def source(name: str) -> str:
    """The text of a file beside the templates, such as a style."""
    return (files("nescio.report") / "templates" / name).read_text("utf-8")
