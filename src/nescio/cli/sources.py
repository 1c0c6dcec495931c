"""What a person names to be answered, image by image: files, folders and data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nescio.cli.options import ColumnOptions, FileOptions, ImageOptions
from nescio.files import parse_bytes
from nescio.progress import SILENT, Reporter

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.data import ImageSet, Reading
    from nescio.scoring import Batch


def read_as(files: FileOptions, images: ImageOptions | None = None) -> Reading:
    """What the options of a command ask of images.

    Raises:
        UsageError: One cannot be used.
    """
    from nescio.data import Reading, parse_size
    from nescio.decode import parse_value_range

    asked = images or ImageOptions()
    return Reading(
        image_size=parse_size(asked.image_size),
        colour=asked.colour,
        fit=asked.fit,
        value_range=parse_value_range(asked.value_range),
        background=asked.background,
        max_pixels=files.max_pixels,
        labels=files.labels,
        skip_unreadable=files.skip_unreadable,
        memory=parse_bytes(files.memory),
        stream=files.stream,
        workers=files.workers,
        shuffle_buffer=files.shuffle_buffer,
        image_column=files.image_column,
        label_column=files.label_column,
    )


SAMPLE = 256
"""Images by which a data set is known again."""

FILES_AT_ONCE = 1024
"""How many image files are in memory at a time."""


@dataclass(frozen=True)
class Source:
    """What one argument names.

    Attributes:
        name: The argument.
        files: Image files, where it names any.
        images: The images of a data set, where it names that.
        held_out: Whether these are the test images of the very set that a model was trained on.
    """

    name: str
    files: Sequence[Path] = ()
    images: ImageSet | None = field(default=None)
    held_out: bool = False

    def __len__(self) -> int:
        return len(self.files) if self.images is None else len(self.images)

    def batches(self, classifier: Classifier) -> Iterator[Batch]:
        """All images in input order, files in bounded memory."""
        from nescio.scoring import batch_of_files

        if self.images is not None:
            yield _of_set(self.images)
        for start in range(0, len(self.files), FILES_AT_ONCE):
            some = self.files[start : start + FILES_AT_ONCE]
            yield batch_of_files(some, classifier.preprocessing, classifier.classes)


def open_source(
    source: str,
    classifier: Classifier,
    reporter: Reporter = SILENT,
    *,
    skip_unreadable: bool = False,
    columns: ColumnOptions = ColumnOptions(),  # noqa: B008 - frozen
) -> Source:
    """Find out what an argument names: an image file, a folder of them, or a data set.

    Args:
        source: The argument.
        classifier: What will decide.
        reporter: Told of progress, and of what is left out of a folder.
        skip_unreadable: Whether to leave out folders that cannot be opened.
        columns: Where a table has its images and labels.

    Raises:
        DataError: It is nothing of the kind, or cannot be used.
    """
    from nescio.data import Reading, all_images, load
    from nescio.scoring import find_image_files

    files = find_image_files(source, reporter, skip_unreadable=skip_unreadable)
    if files:
        return Source(source, files)
    dataset = load(
        source,
        labelled=False,
        preprocessing=classifier.preprocessing,
        seed=classifier.record.seed,
        reading=Reading(
            skip_unreadable=skip_unreadable,
            image_column=columns.image_column,
            label_column=columns.label_column,
        ),
        reporter=reporter,
    )
    held_out = dataset.test is not None and _has_seen(classifier, dataset.train)
    return Source(source, images=all_images(dataset, reporter), held_out=held_out)


def _has_seen(classifier: Classifier, images: ImageSet) -> bool:
    """Whether a model was fitted to such images, by the first of them."""
    import torch

    some = images.subset(torch.arange(min(len(images), SAMPLE)))
    return count_seen(classifier, some) > 0


def count_seen(classifier: Classifier, images: ImageSet) -> int:
    """How many images a model was trained or calibrated on."""
    import torch

    return int(torch.isin(images.hashes(), classifier.record.seen).sum())


def _of_set(images: ImageSet) -> Batch:
    from nescio.scoring import Batch

    labels = [None] * len(images) if images.labels is None else images.labels.tolist()
    return Batch(
        names=[images.image_name(i) for i in range(len(images))],
        errors={},
        images=images.images,
        actual=[None if label is None else images.classes[label] for label in labels],
    )
