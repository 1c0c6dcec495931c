"""``nescio cache``: decoded images that are kept on the disk."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from nescio.cli.console import print_result


def cache(
    *,
    clear: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,  # noqa: ARG001 - accepted everywhere
) -> None:
    """Show, or remove, decoded images of sets too large for memory; see train --memory.

    Nothing is lost but time: the next command decodes them again.

    Parameters
    ----------
    clear
        Remove them all.
    quiet
        No progress and no warnings; there are none here.
    """
    from nescio.data.store import GIGABYTE, clear_store, store_folder, stored_files

    folder = store_folder()
    if clear:
        print_result(f"{folder}: removed {clear_store() / GIGABYTE:.2f} GB of decoded images")
        return
    files = [path for path in stored_files() if path.suffix == ".images"]
    size = sum(path.stat().st_size for path in files)
    print_result(f"{folder}: {len(files)} sets of decoded images, {size / GIGABYTE:.2f} GB")
