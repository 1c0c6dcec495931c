"""What lies below a folder: its image files, and what is left out of them, which is told."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nescio.data.class_numbers import natural_key
from nescio.decode import FORMATS
from nescio.errors import DataError
from nescio.progress import SILENT, Reporter

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
    *((".avif",) if "AVIF" in FORMATS else ()),
)
"""What counts as an image in a folder."""

KINDS = 4
"""How many kinds of left out files a note names."""

OF_THE_SYSTEM = (
    "__macosx",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
    "lost+found",
    "$recycle.bin",
    "system volume information",
)
"""Files and folders that systems leave among images, whatever their case."""

SNIFFED = 256
"""How many files without the ending of an image are opened to see whether they are images."""

BEGINNINGS = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP", re.DOTALL
)
"""How files of images begin."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is no user's: hidden, or left by a system."""
    return name.startswith(".") or name.casefold() in OF_THE_SYSTEM


@dataclass(frozen=True)
class Closed:
    """A folder that cannot be opened, and why."""

    folder: Path
    why: str


@dataclass(frozen=True)
class Tree:
    """What lies below a folder; hidden folders and what is in them count as other files.

    Attributes:
        root: The folder.
        folders: The folders below it, empty ones too.
        images: Its image files, in natural order.
        others: All other files.
        closed: Folders that cannot be opened.
        links: Links to folders that are there anyway, or that hold the link.
    """

    root: Path
    folders: tuple[Path, ...]
    images: tuple[Path, ...]
    others: tuple[Path, ...]
    closed: tuple[Closed, ...]
    links: tuple[Path, ...]

    def parts(self, path: Path) -> tuple[str, ...]:
        """The names that lead from the root to one of its files or folders."""
        return path.relative_to(self.root).parts

    def require_open(self, reporter: Reporter, *, skip: bool) -> None:
        """Stop at a folder that cannot be opened, or, where it may be skipped, tell of it.

        Raises:
            DataError: There is one, and none may be skipped.
        """
        for each in self.closed:
            if not skip or each.folder == self.root:
                raise DataError(
                    f"{each.folder}: this folder cannot be opened ({each.why}); make it readable, "
                    "or leave out all such with --skip-unreadable"
                )
            reporter.note(
                f"{each.folder}: this folder cannot be opened ({each.why}), and is left out with "
                "all that is in it"
            )


def walk_folder(root: Path) -> Tree:
    """Find all that lies below a folder, behind links too, each folder once.

    What lies there itself comes before what links lead to, so that a link from one class to
    another takes no image from it.

    Args:
        root: A folder.
    """
    seen: set[tuple[int, int]] = {_identity(folder) for folder in root.resolve().parents}
    folders: list[Path] = []
    images: list[Path] = []
    others: list[Path] = []
    closed: list[Closed] = []
    links: list[Path] = []
    waiting, linked = deque([(root, False)]), deque[tuple[Path, bool]]()
    while waiting or linked:
        folder, hidden = (waiting or linked).popleft()
        try:
            own = _identity(folder)
            if own in seen or _holds_itself(folder, root):
                links.append(folder)
                continue
            seen.add(own)
            entries = _entries(folder)
        except OSError as error:
            if hidden:
                others.append(folder)
            else:
                closed.append(Closed(folder, error.strerror or type(error).__name__))
            continue
        for entry in entries:
            path, unseen = folder / entry.name, hidden or is_hidden(entry.name)
            if _is(entry.is_dir):
                if not unseen:
                    folders.append(path)
                (linked if entry.is_symlink() else waiting).append((path, unseen))
            else:
                image = not unseen and path.suffix.lower() in SUFFIXES and _may_be_read(entry)
                (images if image else others).append(path)
    images.sort(key=lambda path: _order(path, root))
    folders.sort(key=lambda path: _order(path, root))
    return Tree(root, tuple(folders), tuple(images), tuple(others), tuple(closed), tuple(links))


def list_images(
    folder: Path, reporter: Reporter = SILENT, *, skip_unreadable: bool = False
) -> list[Path]:
    """All image files below ``folder``, hidden ones left out, in natural order.

    Args:
        folder: The folder.
        reporter: Told of what is left out, where there are images.
        skip_unreadable: Whether to leave out folders that cannot be opened.

    Raises:
        DataError: A folder cannot be opened, and none may be skipped.
    """
    tree = walk_folder(folder)
    tree.require_open(reporter, skip=skip_unreadable)
    if tree.images:
        tell_left_out(tree, tree.others, reporter)
    return list(tree.images)


def tell_left_out(tree: Tree, others: Sequence[Path], reporter: Reporter) -> None:
    """Note how many files of each kind are left out, and links that are not followed.

    Args:
        tree: What lies below a folder.
        others: The files of it that are left out.
        reporter: Told, where there are any.
    """
    root = tree.root
    if others:
        # A photograph of a kind that is not read must not hide behind what a system left.
        first = min(others, key=lambda path: (is_hidden(path.name), path))
        files = "1 file is" if len(others) == 1 else f"{len(others)} files are"
        reporter.note(
            f"{root}: {files} skipped: hidden, no image that is read, or in no class folder "
            f"({describe_kinds(others)}; the first is {first.relative_to(root)})"
            f"{_tell_sniffed(root, others)}"
        )
    if tree.links:
        what = "1 link to a folder is" if len(tree.links) == 1 else f"{len(tree.links)} links are"
        reporter.note(
            f"{root}: {what} not followed: what it leads to is read already, or holds the link "
            f"(the first is {tree.links[0].relative_to(root)})"
        )


def describe_kinds(files: Sequence[Path]) -> str:
    """How many files there are of each kind, by their endings: ``3 .heic, 1 .txt``."""
    kinds = Counter(path.suffix.lower() or "without ending" for path in files)
    most = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:KINDS]
    more = ", ..." if len(kinds) > KINDS else ""
    return ", ".join(f"{count} {kind}" for kind, count in most) + more


def _tell_sniffed(root: Path, others: Sequence[Path]) -> str:
    """What is to be said of files that begin as images do, without the ending of any."""
    found = [path for path in _candidates(others) if _begins_as_image(path)]
    if not found:
        return ""
    first = found[0].relative_to(root)
    are = "1 of them is an image" if len(found) == 1 else f"{len(found)} of them are images"
    return f"; {are} by the first bytes (the first is {first}): give it the ending of its kind"


def _candidates(others: Sequence[Path]) -> Iterator[Path]:
    """The files that are worth a look, those without an ending first."""
    named = [
        path
        for path in others
        if not is_hidden(path.name) and path.suffix.lower() not in SUFFIXES and path.is_file()
    ]
    named.sort(key=lambda path: (path.suffix != "", path))
    yield from named[:SNIFFED]


def _begins_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return BEGINNINGS.match(file.read(16)) is not None
    except OSError:
        return False


def _order(path: Path, root: Path) -> tuple[list[tuple[int, int, str]], str]:
    text = str(path.relative_to(root))
    return natural_key(text), text


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _holds_itself(folder: Path, root: Path) -> bool:
    """Whether it is a link to a folder in which the link lies: that has no end."""
    return (
        folder != root
        and folder.is_symlink()
        and folder.parent.resolve().is_relative_to(folder.resolve())
    )


def _is(asked: Callable[[], bool]) -> bool:
    """What a method of an entry answers; no where that cannot be found out."""
    try:
        return asked()
    except OSError:
        return False


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link that leads nowhere, which is told of when it is read."""
    return _is(entry.is_file) or (entry.is_symlink() and not Path(entry.path).exists())
