"""What IDX files are called: MNIST's own spelling and those that people use, by set and part."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nescio.data.layout import TRAIN
from nescio.data.parts import BETWEEN, KEYWORDS
from nescio.errors import DataError

NAME = re.compile(
    r"(?P<set>.*?)[-_.]?(?P<what>image|label)s?"
    r"(?:[-_.]?idx[13](?:[-_.]ubyte)?|[-_.]ubyte)?(?P<idx>\.idx)?(?P<gz>\.gz)?",
    re.IGNORECASE,
)
"""``train-images-idx3-ubyte``, ``train-images.idx3-ubyte``, ``train-images.idx``, each perhaps with
``.gz``."""

RAW = ("raw", "*/raw")
"""Where torchvision keeps the files, below the folder that it is given."""


@dataclass(frozen=True)
class IdxName:
    """What a file's name says.

    Attributes:
        set: What stands before ``images`` or ``labels``.
        images: Whether it holds images, not labels.
    """

    set: str
    images: bool

    @staticmethod
    def of(path: Path) -> IdxName | None:
        """Of a file; ``None`` where it is not named as one of IDX."""
        found = NAME.fullmatch(path.name)
        if found is None or not re.search(r"idx|ubyte", path.name, re.IGNORECASE):
            return None
        return IdxName(found["set"], found["what"].casefold() == "image")

    @property
    def part(self) -> str | None:
        """The part that it is, if it says so."""
        words = BETWEEN.split(self.set.casefold().replace("t10k", "test"))
        return next((KEYWORDS[word] for word in reversed(words) if word in KEYWORDS), None)

    @property
    def base(self) -> str:
        """The name of the set without that of the part."""
        words = re.split(r"[-_.]", self.set.casefold().replace("t10k", "test"))
        return "-".join(word for word in words if word not in KEYWORDS)


def is_images_file(path: Path) -> bool:
    """Whether the name says that it holds the images of an IDX set."""
    name = IdxName.of(path)
    return name is not None and name.images


def set_name(path: Path) -> str:
    """What an IDX set is called: its file's name up to ``images``, or its folder's."""
    name = IdxName.of(path)
    return (name.set if name else "") or path.resolve().parent.name


def labels_beside(images: Path) -> Path | None:
    """The labels of a set, however they are spelled."""
    own = IdxName.of(images)
    return _plain(
        path
        for path, name in _named(images.parent)
        if own is not None and not name.images and name.set.casefold() == own.set.casefold()
    )


def find_idx_parts(folder: Path) -> dict[str, Path]:
    """The images of a folder in MNIST's layout by part; empty where there are none.

    They may lie in torchvision's folder below it.

    Raises:
        DataError: There are several sets.
    """
    if not folder.is_dir():
        return {}
    folders = [folder, *(below for pattern in RAW for below in sorted(folder.glob(pattern)))]
    sets: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    for each in folders:
        if each.is_dir():
            for path, name in _named(each):
                if name.images:
                    parts = sets.setdefault((each, name.base), {})
                    parts.setdefault(name.part or TRAIN, []).append(path)
        if sets and each == folder:
            break
    if len(sets) > 1:
        first = [str(next(iter(parts.values()))[0].relative_to(folder)) for parts in sets.values()]
        raise DataError(f"{folder}: there are several IDX sets ({', '.join(first)}); name one file")
    found = next(iter(sets.values()), {})
    return {part: chosen for part, paths in found.items() if (chosen := _plain(paths))}


def _named(folder: Path) -> list[tuple[Path, IdxName]]:
    """The files of a folder that are named as IDX, in their order."""
    named = ((path, IdxName.of(path)) for path in sorted(folder.iterdir()))
    return [(path, name) for path, name in named if name is not None and path.is_file()]


def _plain(paths: Iterable[Path]) -> Path | None:
    """The one that is not compressed, else the first."""
    return min(paths, key=lambda path: path.suffix == ".gz", default=None)
