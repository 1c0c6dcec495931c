"""Sources whose images are encoded: files, and what shards and Parquet files hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

from nescio.data import Preprocessing
from nescio.data.encoded import Encoded, file_stamp, read_encoded
from nescio.data.members import Members
from nescio.data.parquet import ParquetFile
from nescio.data.shard_index import list_members
from nescio.errors import DataError, UnreadableImage
from nescio.names import name_of
from nescio.scoring import pieces
from nescio.scoring.batches import Batch, batch_of_files
from nescio.scoring.pieces import at_once, count_pieces, parts_of, places_of


@dataclass(frozen=True)
class FileSource:
    """Image files of their own; only their names are in memory."""

    files: Sequence[Path]
    preprocessing: Preprocessing

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.files)

    def __len__(self) -> int:
        return count_pieces(len(self.files))

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        for file in self.files[places_of(piece)]:
            yield f"{file}\t{file_stamp(file)}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        files = self.files[places_of(piece)]
        for part in parts_of(len(files), self.preprocessing):
            yield batch_of_files(files[part], self.preprocessing)


@dataclass(frozen=True)
class ShardSource:
    """One tar file: a piece, of which nobody knows beforehand how many images it has."""

    shard: Path
    preprocessing: Preprocessing
    images: int | None = None

    def __len__(self) -> int:
        return 1

    def identity(self, piece: int) -> Iterator[str]:  # noqa: ARG002 - there is one
        """Lines that change where the content of a piece does."""
        yield file_stamp(self.shard)

    def batches(self, piece: int) -> Iterator[Batch]:  # noqa: ARG002 - likewise
        """The images of a piece in their order."""
        listed = list_members(self.shard)
        members = listed.members
        for part in parts_of(len(members.names), self.preprocessing):
            yield _decoded(_Some(members, range(part.start, part.stop)), self.preprocessing)
        for name, why in listed.failures:
            yield _failed([name], why, self.preprocessing)
        left = dict(listed.left)
        if not members.names and not listed.failures:
            left["shards without an image"] = 1
        if left:
            yield replace(_failed([], "", self.preprocessing), left=left)


@dataclass(frozen=True)
class ParquetSource:
    """One Parquet file: a piece is a row group, or as many small ones as make one."""

    file: ParquetFile
    preprocessing: Preprocessing

    @cached_property
    def _runs(self) -> tuple[range, ...]:
        return _runs(self.file.groups)

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.file)

    def __len__(self) -> int:
        return len(self._runs)

    def identity(self, piece: int) -> Iterator[str]:
        """Lines that change where the content of a piece does."""
        yield f"{file_stamp(self.file.path)}\t{self._runs[piece]}"

    def batches(self, piece: int) -> Iterator[Batch]:
        """The images of a piece in their order."""
        groups = self._runs[piece]
        row = sum(self.file.groups[: groups.start])
        end = row + sum(self.file.groups[i] for i in groups)
        try:
            for rows in self.file.rows(groups, at_once(self.preprocessing)):
                found = self.file.contents(rows, row)
                row += len(found)
                yield _decoded(_Contents(found), self.preprocessing)
        except DataError as error:
            names = [name_of(f"{self.file.path.name}[{i}]") for i in range(row, end)]
            yield _failed(names, str(error), self.preprocessing)


def _runs(groups: Sequence[int]) -> tuple[range, ...]:
    """Successive row groups; several together have at most :data:`pieces.PIECE` rows."""
    runs: list[range] = []
    rows = 0
    for number, count in enumerate(groups):
        if runs and rows + count <= pieces.PIECE:
            runs[-1] = range(runs[-1].start, number + 1)
            rows += count
        elif count:
            runs.append(range(number, number + 1))
            rows = count
    return tuple(runs)


@dataclass(frozen=True)
class _Some:
    """Some of the images of a shard."""

    whole: Members
    places: range

    @property
    def names(self) -> Sequence[str]:
        return [self.whole.names[i] for i in self.places]

    def open(self, index: int) -> BytesIO:
        return self.whole.open(self.places[index])

    def stamps(self) -> Iterator[str]:
        return iter(())

    def groups(self) -> Sequence[int]:
        return [0] * len(self.places)


@dataclass(frozen=True)
class _Contents:
    """Names and contents of images."""

    found: Sequence[tuple[str, bytes | None]]

    @property
    def names(self) -> Sequence[str]:
        return [name for name, _ in self.found]

    def open(self, index: int) -> BytesIO:
        name, content = self.found[index]
        if content is None:
            raise UnreadableImage(f"{name}: it is empty")
        return BytesIO(content)

    def stamps(self) -> Iterator[str]:
        return iter(())

    def groups(self) -> Sequence[int]:
        return [0] * len(self.found)


def _decoded(encoded: Encoded, preprocessing: Preprocessing) -> Batch:
    result = read_encoded(encoded, preprocessing)
    errors = {failure.index: failure.error for failure in result.failures}
    return Batch(encoded.names, errors, result.images, remarks=result.remarks)


def _failed(names: Sequence[str], why: str, preprocessing: Preprocessing) -> Batch:
    none = read_encoded(_Contents([]), preprocessing).images
    return Batch(names, dict.fromkeys(range(len(names)), why), none)
