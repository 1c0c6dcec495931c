"""What ``nescio train --dry-run`` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from nescio.cli.console import print_facts, print_result, print_table

if TYPE_CHECKING:
    from nescio.training import Preview


def print_preview(found: Preview, *, as_json: bool) -> None:
    """What a training would be of, as a table or as one JSON object."""
    if as_json:
        print_result(json.dumps(asdict(found), ensure_ascii=False, allow_nan=False))
        return
    print_facts(
        f"{found.data}: nothing was trained (--dry-run)",
        {
            "network": found.network,
            "images": found.preprocessing.describe(),
            **found.preprocessing.decoding.describe(),
            **{part: _part(found, part) for part in found.counts},
        },
    )
    names = list(dict.fromkeys(name for own in found.counts.values() for name in own))
    print_table(
        f"{len(found.classes)} classes",
        ["class", *found.counts],
        [[n, *(f"{own.get(n, 0):,}" for own in found.counts.values())] for n in names],
    )


def _part(found: Preview, part: str) -> str:
    """How many images a part has, and where they come from."""
    called = found.part_names.get(part)
    extra = f" ({found.extra_images:,} of them extra)" * (
        part == "train" and found.extra_images > 0
    )
    groups = "" if found.groups is None else f" of {found.groups[part]:,} groups"
    return f"{found.images(part):,} images{extra}{groups}" + (f" from {called}" if called else "")
