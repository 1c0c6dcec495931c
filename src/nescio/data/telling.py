"""Notes on what of a set does not count: parts without labels, classes without images, the rest.

Whatever is left out is counted, so that what is used and what is told add up to what was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nescio.progress import Reporter

LISTED = 8
"""Classes, or parts, that a note names."""


def tell_others(
    name: str, counted: str, left: Mapping[str, int], mend: str, reporter: Reporter
) -> None:
    """Note the images of other parts, where one part alone counts.

    Args:
        name: Of the set.
        counted: What the part that counts is called.
        left: What the others are called, and how many images each has.
        mend: How to have them counted.
        reporter: Told of it.
    """
    if left:
        reporter.note(
            f"{name}: the images in {counted} alone count here; {sum(left.values()):,} others are "
            f"left out ({_counts(left)}); {mend}"
        )


def tell_no_parts(name: str, left: Mapping[str, int], reporter: Reporter) -> None:
    """Note what is called like no part of a set, beside parts, with its number of images."""
    if left:
        reporter.note(
            f"{name}: {sum(left.values()):,} images are left out: they are in no part for "
            f"training, validation or test ({_counts(left)})"
        )


def tell_unlabelled(name: str, part: str, images: int, reporter: Reporter) -> None:
    """Note a part that has no labels, where others have."""
    count = "1 image" if images == 1 else f"{images:,} images"
    reporter.note(f"{name}: its {part} part has no labels and is left out ({count})")


def tell_absent(
    name: str, names: Sequence[str], classes: Sequence[str], reporter: Reporter
) -> None:
    """Note names of classes that no image is of: only ``classes`` are."""
    absent = [each for each in names if each not in classes]
    if absent and classes:
        more = ", ..." if len(absent) > LISTED else ""
        count = "1 class" if len(absent) == 1 else f"{len(absent)} classes"
        reporter.note(
            f"{name}: {count} named in it without an image: {', '.join(absent[:LISTED])}{more}"
        )


def tell_differing(
    name: str, train: Sequence[str], test: Sequence[str], reporter: Reporter
) -> None:
    """Note classes that the training part or the test part lacks."""
    own = [each for each in test if each not in train]
    missing = [each for each in train if each not in test]
    if own:
        reporter.note(
            f"{name}: class {own[0]!r} is in the test part alone; evaluate counts its images as "
            "to be refused with --unknown-classes unfamiliar"
        )
    if missing:
        reporter.note(
            f"{name}: class {missing[0]!r} has no images in the test part; add some, or nothing is "
            "measured of it"
        )


def _counts(left: Mapping[str, int]) -> str:
    shown = [f"{name}: {count:,}" for name, count in [*left.items()][:LISTED]]
    return ", ".join([*shown, *["..."] * (len(left) > LISTED)])
