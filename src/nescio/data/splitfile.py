"""A split that is fixed in a CSV file, ``image,part``, so that two people use the same one.

A part is ``train``, ``calibration`` or ``test``. An image is its path relative to the data set's
folder, with slashes, or ``SET[NUMBER]`` where it has no file of its own.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nescio.data.images import Dataset, ImageSet
from nescio.data.split import PARTS, Splits, split_by
from nescio.data.table import read_records
from nescio.errors import DataError
from nescio.files import write_text
from nescio.names import name_of, path_of

HEADER = ("image", "part")


def read_split(path: Path, dataset: Dataset) -> tuple[Splits, Tensor]:
    """Split a data set as a file says.

    Args:
        path: UTF-8, RFC 4180, with the header ``image,part``.
        dataset: Labelled. Every image of it stands in the file, once; those of a test split of
            its own may, as ``test``.

    Returns:
        The parts; and ``(N,)`` uint8, for each training image of the set its place in
        :data:`nescio.data.split.PARTS`.

    Raises:
        DataError: The file is missing or no such table; an image is unknown, comes twice or
            not at all; or a part lacks a class. The message has the line's number.
    """
    places = _places(dataset.train, dataset.root)
    own_test = {} if dataset.test is None else _places(dataset.test, dataset.root)
    lines: dict[str, int] = {}
    parts = torch.full((len(dataset.train),), len(PARTS), dtype=torch.uint8)
    for line, fields in read_records(path, HEADER):
        where = f"{path}, line {line}"
        image, part = _row(where, fields)
        if image in lines:
            raise DataError(f"{where}: {image} is there already, on line {lines[image]}")
        lines[image] = line
        if image in own_test:
            _require_part(where, image, part, ("test",), "it lies in the test folder")
        elif image in places:
            allowed = PARTS if dataset.test is None else PARTS[:2]
            why = "the set has a test folder of its own"
            _require_part(where, image, part, allowed, why)
            parts[places[image]] = PARTS.index(part)
        else:
            raise DataError(f"{where}: {dataset.name} has no image {image!r}; take the line out")
    left = (parts == len(PARTS)).nonzero().flatten()
    if len(left):
        first = image_key(dataset.train, int(left[0]), dataset.root)
        raise DataError(
            f"{path}: {len(left)} images of {dataset.name} are not in it (the first is {first}); "
            "give each a line with its part"
        )
    return split_by(dataset, parts), parts


def write_split(path: Path, dataset: Dataset, splits: Splits) -> None:
    """Write a split so that :func:`read_split` finds it again, whole or not at all."""
    write_text(path, render_split(dataset, splits))


def split_fingerprint(dataset: Dataset, splits: Splits) -> str:
    """SHA-256 of what :func:`write_split` writes, in hexadecimal."""
    return hashlib.sha256(render_split(dataset, splits).encode()).hexdigest()


def render_split(dataset: Dataset, splits: Splits) -> str:
    """The split as CSV, in the order of the data set."""
    part_of = dict.fromkeys(splits.train_indices.tolist(), "train")
    part_of |= dict.fromkeys(splits.calibration_indices.tolist(), "calibration")
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(HEADER)
    for i in range(len(dataset.train)):
        writer.writerow((image_key(dataset.train, i, dataset.root), part_of.get(i, "test")))
    for i in range(0 if dataset.test is None else len(dataset.test)):
        assert dataset.test is not None  # noqa: S101 - it has images
        writer.writerow((image_key(dataset.test, i, dataset.root), "test"))
    return written.getvalue()


def _row(where: str, fields: list[str]) -> tuple[str, str]:
    if len(fields) != len(HEADER):
        raise DataError(f"{where}: expected an image and a part, got {len(fields)} fields")
    image, part = fields
    image = name_of(path_of(image))  # also where it was written by hand
    if part not in PARTS:
        raise DataError(f"{where}: the part must be {', '.join(PARTS)}, got {part!r}")
    return image.removeprefix("./"), part


def _require_part(where: str, image: str, part: str, allowed: tuple[str, ...], why: str) -> None:
    if part not in allowed:
        raise DataError(f"{where}: {image} must be in {' or '.join(allowed)}, for {why}")


def _places(images: ImageSet, root: str) -> Mapping[str, int]:
    return {image_key(images, i, root): i for i in range(len(images))}


def image_key(images: ImageSet, index: int, root: str) -> str:
    """What an image is called on every machine: its path below ``root``, or its name."""
    name = images.image_name(index)
    if not root:
        return name
    path = Path(path_of(name))
    return name_of(path.relative_to(root).as_posix()) if path.is_relative_to(root) else name
