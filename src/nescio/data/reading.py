"""How data that a name or a path stands for are to be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from nescio.data.images import FITS, Fit, Preprocessing
from nescio.data.preprocess import choose_preprocessing
from nescio.decode import DEFAULT, MOST_PIXELS, Decoding, ValueRange, parse_background
from nescio.errors import UsageError

Colour = Literal["auto", "grey", "rgb"]


MEMORY = 2**30
"""Bytes of decoded images that are held in memory; more are mapped from the disk."""

WORKERS = 2
"""Processes that read streamed images ahead."""

MOST_WORKERS = 256
"""More are taken for a mistake."""

OVERSAMPLING = 2
"""An image that is reduced while it is decoded keeps at least so many pixels a side for each of
those that it is brought to."""

SHUFFLE_BUFFER = 16_384
"""By how many places a streamed image may leave those that it lies with."""


@dataclass(frozen=True)
class Reading:
    """What a user asks of the images; the rest is chosen from the images themselves.

    Attributes:
        preprocessing: What a model brings every image to; ``None`` to choose it by what follows.
        image_size: A square of this side, or ``(H, W)``; ``None`` to choose it from the images.
        colour: ``grey``, ``rgb``, or ``auto``: colour if any image has it.
        fit: What becomes of an image of another size, see :class:`nescio.data.Preprocessing`.
        value_range: What becomes black and white in images of more than 8 bits; ``None`` to find it
            from all of them, see :func:`nescio.data.ranges.find_decoding`.
        background: What transparent parts are laid on: ``auto`` to find it likewise, ``black``,
            ``white`` or ``#RRGGBB``.
        max_pixels: An image of more is refused. [that of the model, or of
            :class:`nescio.data.Decoding`]
        labelled: ``False`` where labels and a second class are not needed: for
            out-of-distribution sets and for prediction.
        labels: A CSV file, ``image,label``, that labels the image files of a folder, see
            :func:`nescio.data.labelling.read_file_labels`; ``None`` where folders do.
        drop_rare: Whether training leaves out classes with too few images to be split.
        skip_unreadable: Whether to leave out, and list, files that cannot be decoded.
        memory: Bytes of decoded images to hold in memory. A larger folder is decoded once into
            a file of the user's cache folder, and read from there batch by batch.
        stream: Whether to hold none and write none: images of folders, shards and the like are
            decoded each time that they are needed.
        workers: Processes that decode streamed images ahead of training; 0 for none.
        shuffle_buffer: By how many places a streamed image may leave those of its shard when a
            pass is shuffled.
        image_column: The column of images, in Parquet and ``hf:``; ``None`` to find it.
        label_column: Likewise of labels.

    Raises:
        UsageError: A value is none of these.
    """

    preprocessing: Preprocessing | None = None
    image_size: int | tuple[int, int] | None = None
    colour: Colour = "auto"
    fit: Fit = "pad"
    value_range: ValueRange | None = None
    background: str = "auto"
    max_pixels: int | None = None
    labelled: bool = True
    labels: Path | None = None
    drop_rare: bool = False
    skip_unreadable: bool = False
    memory: int = MEMORY
    stream: bool = False
    workers: int = WORKERS
    shuffle_buffer: int = SHUFFLE_BUFFER
    image_column: str | None = None
    label_column: str | None = None

    def __post_init__(self) -> None:
        if self.colour not in get_args(Colour):
            raise UsageError(f"--colour must be auto, grey or rgb, got {self.colour!r}")
        if self.fit not in FITS:
            raise UsageError(f"--fit must be one of {', '.join(FITS)}, got {self.fit!r}")
        parse_background(self.background)
        if self.max_pixels is not None and not 1 <= self.max_pixels <= MOST_PIXELS:
            raise UsageError(
                f"--max-pixels must be from 1 to {MOST_PIXELS:,}, got {self.max_pixels}"
            )
        if self.memory < 0:
            raise UsageError(f"--memory must be at least 0, got {self.memory}")
        if not 0 <= self.workers <= MOST_WORKERS:
            raise UsageError(f"--workers must be from 0 to {MOST_WORKERS}, got {self.workers}")
        if self.shuffle_buffer < 1:
            raise UsageError(f"--shuffle-buffer must be at least 1, got {self.shuffle_buffer}")

    @property
    def settled(self) -> Preprocessing | None:
        """What images are brought to, where that does not hang on them."""
        if self.preprocessing is not None:
            return self.choose([], colour=False)
        shaped = self.image_size is not None and self.colour != "auto"
        if shaped and self.value_range is not None and self.background != "auto":
            return self.choose([], colour=False)
        return None

    @property
    def decoding(self) -> Decoding:
        """What is asked for, the rest as it is by default."""
        return Decoding(
            value_range=self.value_range,
            background=parse_background(self.background) or DEFAULT.background,
            max_pixels=self.max_pixels or DEFAULT.max_pixels,
        )

    def choose(
        self,
        sizes: Sequence[tuple[int, int]],
        *,
        colour: bool,
        decoding: Decoding | None = None,
    ) -> Preprocessing:
        """What images are brought to.

        Args:
            sizes: ``(H, W)`` of each image, or of each shape that occurs.
            colour: Whether any image has colour.
            decoding: How they are decoded; as asked for where nothing was found from them.
        """
        if self.preprocessing is not None:
            return self.preprocessing.reading_at_most(self.max_pixels)
        wanted = colour if self.colour == "auto" else self.colour == "rgb"
        chosen = choose_preprocessing(
            sizes, colour=wanted, image_size=self.image_size, fit=self.fit
        )
        least = OVERSAMPLING * chosen.height, OVERSAMPLING * chosen.width
        return replace(chosen, decoding=replace(decoding or self.decoding, reduce_to=least))


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """``96`` or ``64x48`` (height by width) as a size.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text)
    if found is None:
        raise UsageError(f"--image-size must be a side or HEIGHTxWIDTH, such as 96, got {text!r}")
    height, width = found.groups()
    return int(height) if width is None else (int(height), int(width))
