"""Labels in a CSV file, ``image,label``: images beside a data set, as ``nescio review`` saves them.

An image is the path of a file, relative to the CSV's folder unless it is absolute; or one of
a data set, ``DATA[NUMBER]``, such as ``set.npz[17]`` or ``digits[17]``: counted from 0 among those
that ``nescio predict DATA`` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nescio.data.encoded import read_images
from nescio.data.images import ImageSet, Preprocessing
from nescio.data.load import COUNTS, all_images, load
from nescio.data.rows import read_all
from nescio.data.shifts import split_source
from nescio.data.table import read_records
from nescio.errors import DataError, NescioError, UnreadableImage
from nescio.names import path_of
from nescio.progress import SILENT, Reporter

HEADER = ("image", "label")
"""The first line, and no more columns: a table of answers must not pass for one of labels."""

NUMBERED = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)
"""``DATA[NUMBER]``."""

LISTED = 12
"""How many classes a message names."""


@dataclass(frozen=True)
class _Row:
    """One record of the file, with the line that it begins on."""

    line: int
    image: str
    label: int


def read_labels(
    path: Path,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    reporter: Reporter = SILENT,
) -> ImageSet:
    """Read images and their labels as a CSV file names them.

    Args:
        path: UTF-8, RFC 4180, with the header ``image,label``.
        classes: The ``C`` class names; no others are made.
        preprocessing: What every image is brought to.
        reporter: Told of progress, and of images that come twice.

    Returns:
        The images ``(n, K, H, W)``, each once, in the order of the file.

    Raises:
        DataError: The file is missing, empty or no such table, or names an unknown class, or
            gives one image two labels; the message has the line's number.
        UnreadableImage: An image is missing or cannot be decoded.
    """
    rows = list(_rows(path, {name: number for number, name in enumerate(classes)}))
    if not rows:
        raise DataError(f"{path}: there are no labels in it; expected {','.join(HEADER)} and rows")
    images = _read(path, rows, preprocessing, reporter)
    read = ImageSet(
        path.name,
        images,
        torch.tensor([row.label for row in rows]),
        tuple(classes),
        tuple(row.image for row in rows),
        preprocessing.fit,
        preprocessing.decoding,
    )
    kept = _once(path, rows, read)
    if len(kept) < len(rows):
        reporter.note(f"{path}: {len(rows) - len(kept)} images come more than once, and count once")
    return read.subset(torch.tensor(kept))


def _rows(path: Path, numbers: dict[str, int]) -> Iterator[_Row]:
    """The labelled images, in the order of the file."""
    for line, fields in read_records(path, HEADER):
        if len(fields) != len(HEADER):
            raise DataError(
                f"{path}, line {line}: expected an image and a label, got {len(fields)} "
                f"{'field' if len(fields) == 1 else 'fields'}; quote what has commas in it"
            )
        image, label = fields
        if not image:
            raise DataError(f"{path}, line {line}: the image is not named")
        if label not in numbers:
            more = ", ..." if len(numbers) > LISTED else ""
            raise DataError(
                f"{path}, line {line}: {label!r} is not one of the {len(numbers)} classes "
                f"({', '.join([*numbers][:LISTED])}{more}); correct it, or take the line out"
            )
        yield _Row(line, image, numbers[label])


def _read(
    path: Path, rows: Sequence[_Row], preprocessing: Preprocessing, reporter: Reporter
) -> Tensor:
    """The images ``(n, K, H, W)`` of the rows."""
    images = torch.empty(len(rows), *preprocessing.shape, dtype=torch.uint8)
    files: list[tuple[int, Path]] = []
    members: dict[str, list[tuple[int, int]]] = {}
    for place, row in enumerate(rows):
        image = path_of(row.image)
        file, numbered = path.parent / image, NUMBERED.fullmatch(image)
        if numbered and not file.exists():
            members.setdefault(numbered[1], []).append((place, int(numbered[2])))
        else:
            files.append((place, file))
    result = read_images([file for _, file in files], preprocessing, reporter)
    result.remarks.tell(preprocessing, reporter)
    if result.failures:
        failure = result.failures[0]
        line = rows[files[failure.index][0]].line
        raise UnreadableImage(f"{path}, line {line}: {failure.error}; correct or take it out")
    images[[place for place, _ in files]] = read_all(result.images)
    for source, wanted in members.items():
        where = f"{path}, line {rows[wanted[0][0]].line}"
        found = _load(where, path.parent / source, source, preprocessing, reporter)
        for place, number in wanted:
            if number >= len(found):
                raise DataError(
                    f"{path}, line {rows[place].line}: {source} has {len(found)} images, none of "
                    f"number {number}"
                )
            images[place] = found.images[number]
    return images


def _load(
    where: str, beside: Path, source: str, preprocessing: Preprocessing, reporter: Reporter
) -> ImageSet:
    """The images of a data set that the file names, which may lie beside it."""
    if source.partition(":")[0] in COUNTS or split_source(source):
        raise DataError(f"{where}: {source} is made at run time, never trained on; take it out")
    found = beside if beside.exists() else source
    try:
        return all_images(
            load(found, labelled=False, preprocessing=preprocessing, reporter=reporter)
        )
    except NescioError as error:
        raise DataError(f"{where}: {error}") from error


def _once(path: Path, rows: Sequence[_Row], read: ImageSet) -> list[int]:
    """The places of images that did not come before.

    Raises:
        DataError: One came with another label.
    """
    first: dict[int, int] = {}
    for place, content in enumerate(read.hashes().tolist()):
        before = rows[first.setdefault(content, place)]
        if before.label != rows[place].label:
            raise DataError(
                f"{path}, line {rows[place].line}: {rows[place].image} is labelled "
                f"{read.classes[rows[place].label]!r} here, and the same image "
                f"{read.classes[before.label]!r} on line {before.line}; keep one of them"
            )
    return [*first.values()]
