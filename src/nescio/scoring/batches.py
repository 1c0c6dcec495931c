"""Images that go through the networks together, and those that could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nescio.data import NOTHING, Preprocessing, Remarks, Stack, list_images, read_images
from nescio.data.idx_names import IdxName
from nescio.data.walk import SUFFIXES
from nescio.names import name_of, printable
from nescio.progress import Reporter


@dataclass(frozen=True)
class Batch:
    """Images that go through the networks together, and those that could not be read.

    Attributes:
        names: Of all images, in input order.
        errors: Why an image could not be read, by its place in ``names``.
        images: ``(n, K, H, W)`` uint8, those that could, in order.
        actual: The true label of each name, where known; empty where nobody asked.
        files: Where each was read from; empty for a data set.
        left: How many things of each kind beside them are no images.
        remarks: What should be said of how they were decoded.
    """

    names: Sequence[str]
    errors: Mapping[int, str]
    images: Stack
    actual: Sequence[str | None] = ()
    files: Sequence[Path] = ()
    left: Mapping[str, int] = field(default_factory=dict)
    remarks: Remarks = NOTHING

    @property
    def readable(self) -> list[int]:
        """The place in ``names`` of each image."""
        return [place for place in range(len(self.names)) if place not in self.errors]


def batch_of_files(
    files: Sequence[Path], preprocessing: Preprocessing, classes: Sequence[str] = ()
) -> Batch:
    """Read image files; a file's folder is its label where it is named as a class.

    Args:
        files: The files.
        preprocessing: What every image is brought to.
        classes: The names of the classes.
    """
    result = read_images(files, preprocessing)
    known, folders = set(classes), [printable(file.parent.name) for file in files]
    return Batch(
        names=[name_of(file) for file in files],
        errors={failure.index: failure.error for failure in result.failures},
        images=result.images,
        actual=[folder if folder in known else None for folder in folders],
        files=files,
        remarks=result.remarks,
    )


def find_image_files(
    source: str, reporter: Reporter, *, skip_unreadable: bool = False
) -> list[Path]:
    """The image files that an argument names: itself, or those of a folder; none of a data set.

    Args:
        source: The argument.
        reporter: Told of what is left out of a folder.
        skip_unreadable: Whether to leave out folders that cannot be opened.

    Raises:
        DataError: A folder cannot be opened, and none may be skipped.
    """
    path = Path(source)
    if is_image_file(path):
        return [path]
    return list_images(path, reporter, skip_unreadable=skip_unreadable) if path.is_dir() else []


def is_image_file(path: Path) -> bool:
    """Whether to read this path as one image: any file that is not a data set.

    A file that is not there is an image that cannot be read, if it is named as one: the others are
    still answered.
    """
    name = path.name.lower()
    if not path.exists():
        return path.suffix.lower() in SUFFIXES
    holds_many = name.endswith((".npz", ".tar", ".parquet")) or IdxName.of(path)
    return path.is_file() and not holds_many
