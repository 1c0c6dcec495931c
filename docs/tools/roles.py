"""Docstrings name other things as ``:class:`nescio.Classifier```; here they become links."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrite the roles in every docstring; a target without a place of its own stays a word."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda m: _link(obj, m[1]), obj.docstring.value)


def _link(obj: griffe.Object, target: str) -> str:
    shown = f"<code>{target.removeprefix('nescio.')}</code>"
    try:
        path = obj.resolve(target)
    except griffe.NameResolutionError:
        path = target
    return f'<autoref identifier="{path}" optional>{shown}</autoref>'
