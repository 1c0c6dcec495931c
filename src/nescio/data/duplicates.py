"""Images that come more than once: across the parts of a split, or with two labels."""

from __future__ import annotations

from nescio.data.images import ImageSet
from nescio.data.split import Splits
from nescio.progress import Reporter


def tell_duplicates(name: str, splits: Splits, reporter: Reporter) -> None:
    """Note how many images are in two parts, and how many have two labels, with the first of each.

    An image is known by the hash of its pixels, after preprocessing.

    Args:
        name: Of the data set.
        splits: Its parts.
        reporter: Told, where there are any.
    """
    seen: dict[int, tuple[ImageSet, int]] = {}
    crossing: list[str] = []
    conflicting: list[str] = []
    for images in (splits.train, splits.calibration, splits.test):
        for place, content in enumerate(images.hashes().tolist()):
            other, where = seen.setdefault(content, (images, place))
            if other is images and where == place:
                continue
            pair = f"{other.image_name(where)} and {images.image_name(place)}"
            if other is not images:
                crossing.append(pair)
            labels = _label(other, where), _label(images, place)
            if labels[0] != labels[1]:
                conflicting.append(f"{pair}, {labels[0]!r} and {labels[1]!r}")
    if crossing:
        reporter.note(
            f"{name}: {len(crossing)} images are in more than one of training, calibration and "
            f"test (the first: {crossing[0]}); figures and promises look better than they are, "
            "so remove the copies"
        )
    if conflicting:
        reporter.note(
            f"{name}: {len(conflicting)} images have two labels (the first: {conflicting[0]}); "
            "correct them"
        )


def _label(images: ImageSet, place: int) -> str | None:
    return None if images.labels is None else images.classes[int(images.labels[place])]
