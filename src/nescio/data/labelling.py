"""Labels of the image files of a folder in a CSV file, ``image,label``, where no folders tell them.

An image is its path relative to the folder, or to the file's own folder, or absolute; what is not
printable in it is escaped, see :mod:`nescio.names`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nescio.data.class_numbers import label_text, number_texts
from nescio.data.table import read_records
from nescio.data.walk import Tree
from nescio.errors import DataError
from nescio.names import path_of

HEADER = ("image", "label")


@dataclass(frozen=True)
class FileLabels:
    """What a file says of the images of a folder.

    Attributes:
        labels: The label of each image that has one.
        notes: What is to be told of the others.
    """

    labels: Mapping[Path, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    label: str | None


def read_file_labels(path: Path, tree: Tree, *, skip_missing: bool = False) -> FileLabels:
    """The labels that a file gives to images of a folder.

    Args:
        path: UTF-8, RFC 4180, with the header ``image,label``. An image without a label, or with
            -1 beside class numbers that are all at least 0, has none.
        tree: What lies below the folder.
        skip_missing: Whether to leave out lines that name no image of the folder.

    Raises:
        DataError: The file is missing, empty or no such table; it names an image that is not
            there, or one image twice with two labels. The message has the line's number.
    """
    known = {_absolute(image): image for image in tree.images}
    rows: dict[Path, _Row] = {}
    missing: list[_Row] = []
    for row in _rows(path):
        places = (_absolute(folder / path_of(row.image)) for folder in (tree.root, path.parent))
        image = next((known[place] for place in places if place in known), None)
        if image is None:
            missing.append(row)
            continue
        before = rows.setdefault(image, row)
        if before.label != row.label:
            raise DataError(
                f"{path}, line {row.line}: {row.image} is labelled {row.label!r} here, and "
                f"{before.label!r} on line {before.line}; keep one of them"
            )
    if missing and (not skip_missing or not rows):
        more = f" (and so it is on {len(missing) - 1} more lines)" if len(missing) > 1 else ""
        slashes = " (folders are parted by /)" if "\\" in missing[0].image else ""
        raise DataError(
            f"{path}, line {missing[0].line}: there is no image {missing[0].image!r} in "
            f"{tree.root}{more}; correct it{slashes}, or leave out all such with --skip-unreadable"
        )
    if not rows:
        raise DataError(f"{path}: there are no labels in it; expected {','.join(HEADER)} and rows")
    numbers, _ = number_texts([row.label for row in rows.values()], str(path))
    labels = {
        image: str(row.label)
        for (image, row), number in zip(rows.items(), numbers.tolist(), strict=True)
        if number >= 0
    }
    return FileLabels(labels, _notes(path, tree, rows, labels, missing))


def _notes(
    path: Path,
    tree: Tree,
    rows: Mapping[Path, _Row],
    labels: Mapping[Path, str],
    missing: list[_Row],
) -> tuple[str, ...]:
    unlisted = [image for image in tree.images if image not in rows]
    blank = [row.image for image, row in rows.items() if image not in labels]
    kinds = {
        f"of {len(tree.images)} images of {tree.root} are not in it": [
            str(image.relative_to(tree.root)) for image in unlisted
        ],
        f"of {len(rows)} images have no label in it": blank,
        f"of its {len(missing) + len(rows)} lines name no image of {tree.root}": [
            row.image for row in missing
        ],
    }
    return tuple(
        f"{path}: {len(names)} {what}, and are left out (the first is {names[0]})"
        for what, names in kinds.items()
        if names
    )


def _rows(path: Path) -> list[_Row]:
    rows = []
    for line, fields in read_records(path, HEADER):
        if len(fields) != len(HEADER) or not fields[0]:
            raise DataError(
                f"{path}, line {line}: expected an image and a label, got {len(fields)} "
                f"{'field' if len(fields) == 1 else 'fields'}; quote what has commas in it"
            )
        rows.append(_Row(line, fields[0], label_text(fields[1].strip())))
    return rows


def _absolute(path: Path) -> str:
    """Without links resolved: an image is called as it is listed."""
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
