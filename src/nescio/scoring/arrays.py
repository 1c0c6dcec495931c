"""Sources whose images are pixels already: arrays in files, and sets in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from nescio.data import Preprocessing, Stack, adapt
from nescio.data.encoded import file_stamp
from nescio.data.raw import RawImages
from nescio.errors import DataError
from nescio.scoring.batches import Batch
from nescio.scoring.pieces import count_pieces, parts_of, places_of


@dataclass(frozen=True)
class ArraySource:
    """An array in a file, read piece by piece from where it lies."""

    name: str
    array: RawImages
    preprocessing: Preprocessing

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.array)

    def __len__(self) -> int:
        return count_pieces(len(self.array))

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        yield f"{file_stamp(self.array.path)}\t{self.array.shape}\t{places_of(piece)}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        whole = range(len(self.array))[places_of(piece)]
        for part in parts_of(len(whole), self.preprocessing, prod(self.array.shape[1:])):
            numbers = whole[part]
            images, errors = self._read(numbers)
            names = [f"{self.name}[{i}]" for i in numbers]
            yield Batch(names, errors, adapt(images, self.preprocessing))

    def _read(self, numbers: range) -> tuple[Tensor, dict[int, str]]:
        """The images that can be read, and why the others cannot, by their places."""
        try:
            return self.array.read(numbers.start, numbers.stop), {}
        except DataError:  # of some of them: floats outside [0, 1], a file that was cut
            images, errors = [torch.empty(0, *self.preprocessing.shape, dtype=torch.uint8)], {}
        for place, number in enumerate(numbers):
            try:
                own = self.array.read(number, number + 1)
                images.append(adapt(own, self.preprocessing))
            except DataError as error:
                errors[place] = f"{self.name}[{number}]: {error}"
        return torch.cat(images), errors


@dataclass(frozen=True)
class SetSource:
    """A set that is in memory, or mapped from the cache folder.

    Attributes:
        known_by: What changes where its content does.
        names: Of its images; or its own, and they are called by their numbers.
        stack: ``(N, K, H, W)`` uint8.
        preprocessing: What they are brought to.
    """

    known_by: str
    names: Sequence[str] | str
    stack: Stack
    preprocessing: Preprocessing

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.stack)

    def __len__(self) -> int:
        return count_pieces(len(self.stack))

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        yield f"{self.known_by}\t{tuple(self.stack.shape)}\t{places_of(piece)}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        whole = range(len(self.stack))[places_of(piece)]
        for part in parts_of(len(whole), self.preprocessing, prod(self.stack.shape[1:])):
            numbers = whole[part]
            images = adapt(self.stack[numbers.start : numbers.stop], self.preprocessing)
            yield Batch([self._name(i) for i in numbers], {}, images)

    def _name(self, number: int) -> str:
        named = isinstance(self.names, str)
        return f"{self.names}[{number}]" if named else self.names[number]
