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
class Some:
    """How many images something holds for, and the first of them."""

    count: int = 0
    first: str = ""

    def __add__(self, other: Some) -> Some:
        return Some(self.count + other.count, self.first or other.first)

    def __str__(self) -> str:
        """For a person: ``3 images have``."""
        return "1 image has" if self.count == 1 else f"{self.count:,} images have"


@dataclass(frozen=True)
class Remarks:
    """What should be said of images that were decoded.

    Attributes:
        outside: Those that had values outside the range.
        emptied: Those that show nothing on their background.
        assumed: Deep ones, where no range is known.
    """

    outside: Some = Some()
    emptied: Some = Some()
    assumed: Some = Some()

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(
            self.outside + other.outside,
            self.emptied + other.emptied,
            self.assumed + other.assumed,
        )

    def tell(self, preprocessing: Preprocessing, reporter: Reporter) -> None:
        """Note each kind once."""
        decoding = preprocessing.decoding
        if self.outside.count and decoding.value_range is not None:
            low, high = decoding.value_range
            reporter.note(
                f"{self.outside} values outside {low:g} to {high:g}, which were cut; the "
                f"first is {self.outside.first}. A model is trained for another range with "
                "--value-range LOW:HIGH"
            )
        if self.emptied.count:
            reporter.note(
                f"{self.emptied} transparent parts and nothing to be seen once laid on "
                f"{name_of(decoding.background)}; the first is {self.emptied.first}. A model is "
                "trained for another background with --background"
            )
        if self.assumed.count:
            reporter.note(
                f"{self.assumed} more than 8 bits, for which no range is known; black and white "
                "are taken as their files have them (65535 is white in 16 bits, 1 in floats); the "
                f"first is {self.assumed.first}. A model is trained with a range by --value-range "
                "LOW:HIGH"
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
    if not (decoded.outside or decoded.emptied or decoded.assumed):
        return Adapted(image)
    one = Some(1, name)
    return Adapted(
        image,
        Remarks(
            one if decoded.outside else Some(),
            one if decoded.emptied else Some(),
            one if decoded.assumed else Some(),
        ),
    )
