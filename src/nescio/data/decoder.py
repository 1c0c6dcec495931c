"""One encoded image after another, many at a time: bounded by bytes, with what is to be said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from nescio.data.images import Preprocessing
from nescio.data.preprocess import adapt
from nescio.decode import Opened, bytes_of, finish, name_of, open_image, to_channels
from nescio.progress import Reporter

MOST_BYTES = 2**28
"""That images in the making may take together; one that takes more is made alone."""

SMALL = 2**20
"""Bytes of images that are not counted."""


class Budget:
    """Bytes for what several threads make at once.

    Args:
        most: Of all together.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._held, self._changed = most, 0, Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait until there is room for so many; more than there are take all of them."""
        if count < SMALL:
            yield
            return
        count = min(count, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._held + count <= self._most)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()


@dataclass(frozen=True)
class Remarks:
    """What should be said of images that were decoded.

    Attributes:
        outside: How many had values outside the range.
        first_outside: The first of them.
        emptied: How many show nothing on their background.
        first_emptied: The first of them.
    """

    outside: int = 0
    first_outside: str = ""
    emptied: int = 0
    first_emptied: str = ""

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(
            self.outside + other.outside,
            self.first_outside or other.first_outside,
            self.emptied + other.emptied,
            self.first_emptied or other.first_emptied,
        )

    def tell(self, preprocessing: Preprocessing, reporter: Reporter) -> None:
        """Note each kind once."""
        decoding = preprocessing.decoding
        if self.outside and decoding.value_range is not None:
            low, high = decoding.value_range
            reporter.note(
                f"{_count(self.outside)} values outside {low:g} to {high:g}, which were cut; the "
                f"first is {self.first_outside}. A model is trained for another range with "
                "--value-range LOW:HIGH"
            )
        if self.emptied:
            reporter.note(
                f"{_count(self.emptied)} transparent parts and nothing to be seen once laid on "
                f"{name_of(decoding.background)}; the first is {self.first_emptied}. A model is "
                "trained for another background with --background"
            )


NOTHING = Remarks()
"""Where there is nothing to be said."""


@dataclass(frozen=True)
class Adapted:
    """An image in a model's shape.

    Attributes:
        image: ``(K, H, W)`` uint8.
        remarks: What should be said of it.
    """

    image: Tensor
    remarks: Remarks = NOTHING


def decode_one(
    source: Path | BinaryIO, name: str, preprocessing: Preprocessing, budget: Budget
) -> Adapted:
    """One image in a model's shape.

    Args:
        source: The file, or its content.
        name: What to call it.
        preprocessing: What it is brought to.
        budget: Of the bytes that it takes meanwhile.

    Raises:
        UnreadableImage: It cannot be decoded.
        OutOfMemoryError: The memory does not hold it.
    """
    decoding = preprocessing.decoding
    with (
        open_image(source, name, decoding=decoding) as opened,
        budget.hold(bytes_of(opened.facts, decoding)),
    ):
        return decode_opened(opened, name, preprocessing)


def decode_opened(opened: Opened, name: str, preprocessing: Preprocessing) -> Adapted:
    """What :func:`decode_one` gives, of a file opened with the decoding of ``preprocessing``."""
    decoded = finish(opened, preprocessing.decoding)
    pixels = to_channels(decoded.pixels, preprocessing.channels)
    planes = torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
    image = adapt(planes[None], preprocessing)[0]
    if not (decoded.outside or decoded.emptied):
        return Adapted(image)
    outside, emptied = int(decoded.outside), int(decoded.emptied)
    return Adapted(image, Remarks(outside, name * outside, emptied, name * emptied))


def _count(images: int) -> str:
    return "1 image has" if images == 1 else f"{images:,} images have"
