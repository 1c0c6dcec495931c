"""What a person names to be answered, image by image: files, folders and data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nescio.cli.options import FileOptions, ImageOptions
from nescio.files import parse_bytes
from nescio.progress import SILENT, Reporter

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.data import ImageSet, Reading, Stack


def read_as(files: FileOptions, images: ImageOptions | None = None) -> Reading:
    """What the options of a command ask of images.

    Raises:
        UsageError: One cannot be used.
    """
    from nescio.data import Reading, parse_size

    asked = images or ImageOptions()
    return Reading(
        image_size=parse_size(asked.image_size),
        colour=asked.colour,
        fit=asked.fit,
        skip_unreadable=files.skip_unreadable,
        memory=parse_bytes(files.memory),
        stream=files.stream,
        workers=files.workers,
        shuffle_buffer=files.shuffle_buffer,
    )


FILES_AT_ONCE = 1024
"""How many image files are in memory at a time."""


@dataclass(frozen=True)
class Batch:
    """Images that go through the networks together, and those that could not be read.

    Attributes:
        names: Of all images, in input order.
        errors: Why an image could not be read, by its place in ``names``.
        images: ``(n, K, H, W)`` uint8, those that could, in order.
        actual: The true label of each name, where known.
        files: Where each was read from; empty for a data set.
    """

    names: Sequence[str]
    errors: Mapping[int, str]
    images: Stack
    actual: Sequence[str | None]
    files: Sequence[Path] = ()

    @property
    def readable(self) -> list[int]:
        """The place in ``names`` of each image."""
        return [place for place in range(len(self.names)) if place not in self.errors]


@dataclass(frozen=True)
class Source:
    """What one argument names.

    Attributes:
        name: The argument.
        files: Image files, where it names any.
        images: The images of a data set, where it names that.
    """

    name: str
    files: Sequence[Path] = ()
    images: ImageSet | None = field(default=None)

    def __len__(self) -> int:
        return len(self.files) if self.images is None else len(self.images)

    def batches(self, classifier: Classifier) -> Iterator[Batch]:
        """All images in input order, files in bounded memory."""
        if self.images is not None:
            yield _of_set(self.images)
        for start in range(0, len(self.files), FILES_AT_ONCE):
            yield _of_files(self.files[start : start + FILES_AT_ONCE], classifier)


def open_source(source: str, classifier: Classifier, reporter: Reporter = SILENT) -> Source:
    """Find out what an argument names: an image file, a folder of them, or a data set.

    Raises:
        DataError: It is nothing of the kind, or cannot be used.
    """
    from nescio.data import all_images, list_images, load

    path = Path(source)
    files = [path] if _is_image_file(path) else list_images(path) if path.is_dir() else []
    if files:
        return Source(source, files)
    dataset = load(
        source,
        labelled=False,
        preprocessing=classifier.preprocessing,
        seed=classifier.record.seed,
        reporter=reporter,
    )
    return Source(source, images=all_images(dataset))


def _of_set(images: ImageSet) -> Batch:
    labels = [None] * len(images) if images.labels is None else images.labels.tolist()
    return Batch(
        names=[images.image_name(i) for i in range(len(images))],
        errors={},
        images=images.images,
        actual=[None if label is None else images.classes[label] for label in labels],
    )


def _of_files(files: Sequence[Path], classifier: Classifier) -> Batch:
    from nescio.data import read_images

    result = read_images(files, classifier.preprocessing)
    classes = set(classifier.classes)
    return Batch(
        names=[str(file) for file in files],
        errors={failure.index: failure.error for failure in result.failures},
        images=result.images,
        actual=[file.parent.name if file.parent.name in classes else None for file in files],
        files=files,
    )


def _is_image_file(path: Path) -> bool:
    """Whether to read this path as one image: any file that is not a data set.

    A file that is not there is an image that cannot be read, if it is named as one: the others are
    still answered.
    """
    from nescio.data.folders import SUFFIXES

    name = path.name.lower()
    if not path.exists():
        return path.suffix.lower() in SUFFIXES
    return path.is_file() and not name.endswith((".npz", ".tar")) and "-ubyte" not in name
