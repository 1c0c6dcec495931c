"""``nescio info``: what is in a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nescio.cli.console import print_facts, print_json
from nescio.cli.tables import print_promises


def info(
    model: Path,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,  # noqa: ARG001 - accepted everywhere
) -> None:
    """Show what a model file holds, and which error rates it could promise.

    Parameters
    ----------
    model
        The model file.
    as_json
        Print the file's own description as JSON, and the error rates that could be promised.
    quiet
        No progress and no warnings; there are none here.
    """
    from nescio.classifier import describe_model, read_header, read_promises

    promises = read_promises(model)
    if as_json:
        rows = None if promises is None else [row.to_json() for row in promises]
        described = {**read_header(model), "promises": rows}
        print_json(described, indent=2)
        return
    print_facts(str(model), describe_model(model))
    if promises is not None:
        print_promises(promises)
