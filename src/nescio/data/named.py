"""The named data sets: where they are looked for, and where they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from nescio.data.download import RemoteFile, content_sha256, fetch
from nescio.data.folders import read_folder
from nescio.data.idx import read_idx, read_idx_folder
from nescio.data.idx_names import find_idx_parts
from nescio.data.images import Dataset
from nescio.data.layout import TEST, TRAIN
from nescio.data.reading import Reading
from nescio.errors import DataError, DownloadError
from nescio.progress import SILENT, Reporter

ENVIRONMENT = "NESCIO_DATA"
"""The environment variable that names the folder with sets of one's own."""


@dataclass(frozen=True)
class NamedSet:
    """A set in MNIST's four IDX files.

    Attributes:
        name: What it is called.
        mirrors: Addresses of folders that hold the files.
        sha256: Of the uncompressed files, in the order of ``FILES``; ``None`` where we
            could not verify one ourselves: the files' structure is checked instead.
        classes: The class names.
    """

    name: str
    mirrors: tuple[str, ...]
    sha256: tuple[str | None, ...]
    classes: tuple[str, ...]


FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))

IDX_SETS = {
    "mnist": NamedSet(
        "mnist",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        tuple("0123456789"),
    ),
    "fashion-mnist": NamedSet(
        "fashion-mnist",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        ),
        (None,) * 4,
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
    ),
    "kmnist": NamedSet(
        "kmnist",
        (
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist",
        ),
        (None,) * 4,
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}  # fmt: skip
"""The sets that can be fetched."""

FOLDER_SETS = ("notmnist",)
"""Sets that are a folder of class folders, and that nobody serves as such."""


def cache_folder() -> Path:
    """Where fetched sets are kept: the user's cache folder for nescio."""
    return Path(platformdirs.user_cache_dir("nescio")) / "data"


def load_named(
    name: str, reading: Reading | None = None, *, reporter: Reporter = SILENT
) -> Dataset:
    """Load a named set from ``$NESCIO_DATA/NAME``, the cache, or its mirrors.

    Args:
        name: One of :data:`IDX_SETS` or :data:`FOLDER_SETS`.
        reading: What to bring images in folders to, and how much memory images may take.
        reporter: Told of progress.

    Raises:
        DownloadError: It is nowhere; the message says what was tried and what to do.
        DataError: Its files are damaged.
    """
    reading = reading or Reading()
    for folder in _places(name):
        if name in FOLDER_SETS and folder.is_dir():
            # Its labels are letters; what counts is that none of them is a digit.
            wanted = replace(reading, labelled=False)
            return read_folder(folder, wanted, reporter)
        parts = find_idx_parts(folder) if name in IDX_SETS else {}
        if {TRAIN, TEST} <= parts.keys():
            return _read(folder, parts, name, reading, reporter)
    if name in FOLDER_SETS:
        raise DownloadError(
            f"{name} is not on this machine ({_tried(name)}) and has no public mirror; "
            f"put its class folders A to J into {cache_folder() / name}, "
            f"or set {ENVIRONMENT} to a folder that holds {name}"
        )
    folder = _download(IDX_SETS[name], reporter)
    parts = find_idx_parts(folder)
    if not {TRAIN, TEST} <= parts.keys():
        raise DataError(f"{folder}: files are missing after a download; remove it and try again")
    return _read(folder, parts, name, reading, reporter)


def _read(
    folder: Path, parts: Mapping[str, Path], name: str, reading: Reading, reporter: Reporter
) -> Dataset:
    classes = IDX_SETS[name].classes
    return read_idx_folder(folder, parts, name, classes, reading=reading, reporter=reporter)


def _places(name: str) -> list[Path]:
    own = os.environ.get(ENVIRONMENT)
    return [*([Path(own) / name] if own else []), cache_folder() / name]


def _tried(name: str) -> str:
    return ", ".join(f"looked in {place}" for place in _places(name))


def _download(named: NamedSet, reporter: Reporter) -> Path:
    folder = cache_folder() / named.name
    for file_name, sha256, shape in zip(FILES, named.sha256, SHAPES, strict=True):
        if _is_there(folder / file_name, sha256):
            continue
        try:
            fetch(
                RemoteFile(file_name, sha256),
                folder,
                named.mirrors,
                verify=_structure(shape),
                reporter=reporter,
            )
        except DownloadError as error:
            raise DownloadError(
                f"{named.name} is not on this machine ({_tried(named.name)}) and could not be "
                f"fetched: {error}. Put {', '.join(FILES)} into {folder}, "
                f"or set {ENVIRONMENT} to a folder that holds {named.name}"
            ) from error
    return folder


def _is_there(path: Path, sha256: str | None) -> bool:
    if not path.is_file():
        return False
    return sha256 is None or content_sha256(path, compressed=True) == sha256


def _structure(shape: tuple[int, ...]) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        # The part's own name has no .gz at its end; IDX is told by its name.
        found = tuple(read_idx(path, compressed=True).shape)
        if found != shape:
            raise DataError(f"holds {found}, expected {shape}")

    return check
