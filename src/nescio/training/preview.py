"""What a training would be of: data read and split as it would, and nothing trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nescio.classifier import CONFIDENCE, Promises
from nescio.data import PARTS, Dataset, Grouping, ImageSet, Preprocessing, Reading, count_groups
from nescio.inference import Recipe
from nescio.network import NetworkLike
from nescio.progress import SILENT, Reporter
from nescio.training.fitting import TEST_FRACTION, find_recipe
from nescio.training.prepare import Asked, prepare


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


def preview(
    network: NetworkLike,
    data: Dataset | ImageSet | str | Path,
    *,
    extra: ImageSet | str | Path | None = None,
    recipe: Recipe | str = "default",
    max_refusal: float | None = None,
    max_risk: float | None = None,
    confidence: float = CONFIDENCE,
    per_class: bool = False,
    stages: Sequence[str] | None = None,
    test: float = TEST_FRACTION,
    weights: str | Path | None = None,
    normalise: str = "auto",
    reading: Reading | None = None,
    split_file: str | Path | None = None,
    write_split_to: str | Path | None = None,
    group_by: str | None = None,
    groups: str | Path | None = None,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> Preview:
    """Read and split the data and build the network, as :func:`fit` would, and fit nothing.

    Whatever would stop a training before its first step stops this. All arguments are those of
    :func:`fit`.

    Raises:
        NescioError: As :func:`fit` does.
    """
    asked = Asked(
        network=network,
        data=data,
        extra=extra,
        recipe=find_recipe(recipe),
        promises=Promises(max_refusal, max_risk, confidence, per_class),
        stages=stages,
        reading=reading or Reading(),
        test=test,
        weights=weights,
        normalise=normalise,
        split_file=split_file,
        write_split_to=None if write_split_to is None else Path(write_split_to),
        grouping=Grouping.of(group_by, groups),
        seed=seed,
    )
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
        part_names={} if split_file is not None else ready.dataset.part_names,
        extra_images=0 if ready.joined is None else len(ready.joined),
        groups={part: count_groups(own) for part, own in parts.items()} if grouped else None,
    )


def _counts(images: ImageSet) -> dict[str, int]:
    """How many images there are of each class."""
    counted = images.require_labels().bincount(minlength=len(images.classes)).tolist()
    return dict(zip(images.classes, counted, strict=True))
