"""``nescio info``: what is in a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nescio.cli.console import print_facts, print_result


def info(
    model: Path,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,  # noqa: ARG001 - accepted everywhere
) -> None:
    """Show what a model file holds: network, recipe, data, rule, promises, versions.

    Parameters
    ----------
    model
        The model file.
    as_json
        Print the file's own description as JSON.
    quiet
        No progress and no warnings; there are none here.
    """
    from nescio.classifier import describe_model, read_header

    if as_json:
        print_result(json.dumps(read_header(model), indent=2, ensure_ascii=False))
        return
    print_facts(str(model), describe_model(model))
