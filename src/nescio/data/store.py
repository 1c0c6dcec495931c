"""Decoded images in the user's cache folder: written once, whole or not at all, mapped after that.

For each set two files: ``KEY.images``, the pixels of one image after another and nothing else; and
``KEY.json``, written last, so that pixels without it do not count. The key tells the files
that they were decoded from (names, sizes, times) and the preprocessing, so what has changed is
decoded anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from nescio.data.images import Preprocessing
from nescio.errors import DataError
from nescio.files import atomic_path, write_text
from nescio.progress import SILENT, Reporter

VERSION = 2
"""Raised when the same files would be decoded otherwise, so that what was kept is not used."""

GIGABYTE = 1e9


@dataclass(frozen=True)
class Stored:
    """Decoded images that are mapped from the disk.

    Attributes:
        images: ``(n, K, H, W)`` uint8, those that could be read.
        errors: Why the others could not, by their place among all.
    """

    images: Tensor
    errors: Mapping[int, str]


def store_folder() -> Path:
    """Where decoded images are kept: the user's cache folder for nescio."""
    return Path(platformdirs.user_cache_dir("nescio")) / "decoded"


def key_of(preprocessing: Preprocessing, stamps: Iterable[str]) -> str:
    """What images are kept under."""
    digest = hashlib.sha256(json.dumps([VERSION, asdict(preprocessing)]).encode())
    for stamp in stamps:
        digest.update(f"\n{stamp}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def fetch_stored(
    key: str,
    count: int,
    shape: tuple[int, int, int],
    decode: Callable[[], Iterator[Tensor | str]],
    reporter: Reporter = SILENT,
) -> Stored:
    """The images of that key, decoded now unless they are there.

    Args:
        key: See :func:`key_of`.
        count: How many images there are, readable or not.
        shape: ``(K, H, W)``.
        decode: Gives each image ``(K, H, W)``, or why it cannot be read.
        reporter: Told where they are kept.

    Raises:
        DataError: The disk has no room for them.
    """
    pixels, about = store_folder() / f"{key}.images", store_folder() / f"{key}.json"
    errors = _errors(about)
    if errors is None or not _fits(pixels, (count - len(errors)) * prod(shape)):
        _check_room(count * prod(shape))
        errors = _write(pixels, decode())
        record = {"count": count, "shape": list(shape), "errors": errors}
        write_text(about, json.dumps(record))
        reporter.note(
            f"{count - len(errors):,} decoded images are kept in {pixels} "
            f"({pixels.stat().st_size / GIGABYTE:.2f} GB); nescio cache --clear removes them"
        )
    # A private mapping: whatever is done to the tensor, the file stays as it is.
    size = (count - len(errors)) * prod(shape)
    if not size:
        return Stored(torch.empty(0, *shape, dtype=torch.uint8), errors)
    mapped = torch.from_file(str(pixels), shared=False, size=size, dtype=torch.uint8)
    return Stored(mapped.view(-1, *shape), errors)


def stored_files() -> list[Path]:
    """All files of decoded images, and what broken runs left."""
    folder = store_folder()
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def clear_store() -> int:
    """Remove all decoded images; gives the bytes that this freed."""
    freed = 0
    for path in stored_files():
        freed += path.stat().st_size
        path.unlink(missing_ok=True)
    return freed


def _errors(about: Path) -> dict[int, str] | None:
    """What could not be read when the images were decoded; ``None`` where they were not."""
    try:
        record: Any = json.loads(about.read_text(encoding="utf-8"))
        return {int(index): str(why) for index, why in record["errors"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _fits(pixels: Path, size: int) -> bool:
    return pixels.is_file() and pixels.stat().st_size == size


def _check_room(size: int) -> None:
    folder = store_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"{folder}: decoded, the images take {size / GIGABYTE:.1f} GB, and there are "
            f"{free / GIGABYTE:.1f} GB free; make room, set XDG_CACHE_HOME to a folder on a "
            "larger disk, or train for smaller images (train --image-size)"
        )


def _write(target: Path, decoded: Iterator[Tensor | str]) -> dict[int, str]:
    """Write pixels one image after another; gives why images are missing."""
    errors = {}
    # Written, not mapped: a full disk is then an error and not a broken process.
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for index, image in enumerate(decoded):
            if isinstance(image, str):
                errors[index] = image
            else:
                file.write(image.contiguous().numpy().tobytes())
    return errors
