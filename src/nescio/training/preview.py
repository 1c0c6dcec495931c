"""What a training would be of: data read and split as it would, and nothing trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nescio.data import PARTS, ImageSet, Preprocessing, count_groups
from nescio.progress import SILENT, Reporter
from nescio.training.asked import Asked
from nescio.training.prepare import prepare


@dataclass(frozen=True)
class Preview:
    """What a training would be of.

    Attributes:
        data: The name of the data set.
        network: That of the network.
        preprocessing: What every image is brought to.
        classes: The class names, in the order of the labels.
        counts: For each part, by the names in :data:`nescio.data.PARTS`, how many images there
            are of each class; a test part may have more classes than there are to learn.
        part_names: What the data set itself calls its parts; empty where it has none.
        extra_images: How many of those to train on come from beside the data set.
        groups: How many groups each part has, where it is known which images belong together.
    """

    data: str
    network: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    part_names: Mapping[str, str]
    extra_images: int
    groups: Mapping[str, int] | None = None

    def images(self, part: str) -> int:
        """How many images a part has."""
        return sum(self.counts[part].values())


def preview(asked: Asked, reporter: Reporter = SILENT) -> Preview:
    """Read and split the data and build the network, as a training would, and fit nothing.

    Whatever would stop a training before its first step stops this.

    Args:
        asked: What the training would be asked for, by :func:`nescio.training.ask`.
        reporter: Told of progress, and of what is left out.

    Raises:
        NescioError: As :func:`nescio.fit` does.
    """
    ready = prepare(asked, reporter)
    splits = ready.splits
    parts = dict(zip(PARTS, (splits.train, splits.calibration, splits.test), strict=True))
    grouped = ready.dataset.train.groups is not None
    return Preview(
        data=ready.dataset.name,
        network=ready.spec.name,
        preprocessing=splits.train.preprocessing,
        classes=ready.dataset.classes,
        counts={part: _counts(images) for part, images in parts.items()},
        part_names={} if asked.split_file is not None else ready.dataset.part_names,
        extra_images=0 if ready.joined is None else len(ready.joined),
        groups={part: count_groups(own) for part, own in parts.items()} if grouped else None,
    )


def _counts(images: ImageSet) -> dict[str, int]:
    """How many images there are of each class."""
    counted = images.require_labels().bincount(minlength=len(images.classes)).tolist()
    return dict(zip(images.classes, counted, strict=True))
