"""Folders of image files: one subfolder a class, or just images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from nescio.data.images import Dataset, ImageSet, Preprocessing
from nescio.data.preprocess import adapt, as_images, choose_preprocessing
from nescio.errors import DataError, UnreadableImage
from nescio.progress import SILENT, Reporter

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""What counts as an image in a folder."""

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What Pillow may decode; a file cannot choose an exotic decoder."""

DECODERS = 4
"""Files decoded at once; decoding lets go of Python's lock."""

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Failure:
    """An image file that could not be read.

    Attributes:
        index: Its place among the files asked for.
        path: The file.
        error: Why not, in one line.
    """

    index: int
    path: Path
    error: str


@dataclass(frozen=True)
class ReadResult:
    """Image files read, those that could be.

    Attributes:
        images: ``(n, K, H, W)`` uint8, in the order of the files.
        indices: Which files they are.
        failures: Those that could not be read.
    """

    images: Tensor
    indices: tuple[int, ...]
    failures: tuple[Failure, ...]


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorts ``class10`` after ``class9``."""
    pieces = re.split(r"(\d+)", text.casefold())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces if p]


def list_images(folder: Path) -> list[Path]:
    """All image files below ``folder``, hidden ones left out, in natural order."""
    found = (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    return sorted(found, key=lambda path: natural_key(str(path.relative_to(folder))))


def decode_image(path: Path) -> Pixels:
    """Decode one file: ``(H, W)`` when grey, ``(H, W, 3)`` when coloured; uint8.

    The EXIF orientation is applied, transparency shows black, 16 bits become 8, and of
    an animation the first frame counts.

    Raises:
        UnreadableImage: It cannot be decoded, is empty, or is absurdly large.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are suspiciously large and refuses larger ones.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(path, formats=FORMATS) as image:
                return _pixels(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UnreadableImage(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise UnreadableImage(f"{path}: not an image, or its beginning is damaged") from None
    except Exception as error:
        # Decoders fail on hostile files in many ways; each means the same to the user.
        why = str(error) or type(error).__name__
        raise UnreadableImage(f"{path}: not a readable image ({why})") from error


def read_images(
    paths: Sequence[Path], preprocessing: Preprocessing, reporter: Reporter = SILENT
) -> ReadResult:
    """Read image files and bring them to one shape; go on past those that fail.

    Args:
        paths: The files.
        preprocessing: What every image is brought to.
        reporter: Told of progress.
    """

    def read(path: Path) -> Tensor | UnreadableImage:
        try:
            return adapt(as_images(decode_image(path)[None]), preprocessing)
        except UnreadableImage as error:
            return error

    images = torch.empty(len(paths), *preprocessing.shape, dtype=torch.uint8)
    indices: list[int] = []
    failures: list[Failure] = []
    with (
        ThreadPoolExecutor(DECODERS) as pool,
        reporter.task("reading", len(paths), "files") as task,
    ):
        for index, result in enumerate(pool.map(read, paths)):
            if isinstance(result, UnreadableImage):
                failures.append(Failure(index, paths[index], str(result)))
            else:
                images[len(indices)] = result[0]
                indices.append(index)
            task.advance()
    return ReadResult(images[: len(indices)], tuple(indices), tuple(failures))


def read_folder(
    folder: Path,
    *,
    preprocessing: Preprocessing | None = None,
    image_size: int | None = None,
    labelled: bool = True,
    reporter: Reporter = SILENT,
) -> Dataset:
    """Read a folder with one subfolder a class, perhaps below ``train`` and ``test``.

    Args:
        folder: The folder.
        preprocessing: What to bring images to; chosen from the files when ``None``.
        image_size: Choose a square of this side.
        labelled: ``False`` takes any folder with images in it, labels or not.
        reporter: Told of progress.

    Raises:
        DataError: There are no images, fewer than two classes, or an empty class.
        UnreadableImage: A file cannot be decoded.
    """
    parts = {name: folder / name for name in ("train", "test")}
    if all(part.is_dir() for part in parts.values()):
        listed = {name: _list(part, labelled) for name, part in parts.items()}
    else:
        listed = {"train": _list(folder, labelled)}
    if not any(len(files) for files, _ in listed.values()):
        raise DataError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)})")
    if preprocessing is None:
        every = [path for files, _ in listed.values() for path in files]
        preprocessing = _choose(every, image_size, reporter)
    sets = {
        part: _read_set(folder, files, classes, preprocessing, reporter)
        for part, (files, classes) in listed.items()
    }
    test = sets.get("test")
    if test is not None and labelled and test.classes != sets["train"].classes:
        differing = sorted(set(test.classes) ^ set(sets["train"].classes))[0]
        raise DataError(
            f"{folder}: class {differing!r} is in only one of train and test; "
            "both must have the same class folders"
        )
    return Dataset(folder.resolve().name, sets["train"], test)


def _list(folder: Path, labelled: bool) -> tuple[list[Path], tuple[str, ...]]:
    """The images below ``folder`` and the class names, none if they have no labels."""
    subfolders = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    subfolders.sort(key=lambda path: natural_key(path.name))
    files = list_images(folder)
    if not labelled:
        loose = any(path.parent == folder for path in files) or not subfolders
        return files, () if loose else tuple(path.name for path in subfolders)
    if not files:
        raise DataError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)})")
    if len(subfolders) < 2:
        what = f"only the class {subfolders[0].name!r}" if subfolders else "no class folders"
        raise DataError(
            f"{folder}: a classifier needs at least two classes, found {what}; "
            "make one subfolder a class"
        )
    for subfolder in subfolders:
        if not any(subfolder in path.parents for path in files):
            raise DataError(f"{subfolder}: this class has no images; add some or remove the folder")
    return [f for f in files if f.parent != folder], tuple(path.name for path in subfolders)


def _choose(files: list[Path], image_size: int | None, reporter: Reporter) -> Preprocessing:
    sizes, colour = [], False
    with reporter.task("looking at sizes", len(files), "files") as task:
        for path in files:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with Image.open(path, formats=FORMATS) as image:
                        sizes.append((image.height, image.width))
                        colour = colour or _has_colour(image)
            except Exception as error:
                raise UnreadableImage(_remove(path, str(error))) from error
            task.advance()
    return choose_preprocessing(sizes, colour=colour, image_size=image_size)


def _read_set(
    folder: Path,
    files: list[Path],
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    reporter: Reporter,
) -> ImageSet:
    result = read_images(files, preprocessing, reporter)
    if result.failures:
        raise UnreadableImage(_remove(result.failures[0].path, result.failures[0].error))
    labels = None
    if classes:
        number = {class_name: i for i, class_name in enumerate(classes)}
        # The class is the folder just below the root, or below its train or test part.
        depth = [path.relative_to(folder).parts for path in files]
        labels = torch.tensor(
            [number[next(p for p in parts if p in number)] for parts in depth], dtype=torch.int64
        )
    return ImageSet(
        folder.resolve().name, result.images, labels, classes, tuple(str(path) for path in files)
    )


def _remove(path: Path, why: str) -> str:
    reason = why if str(path) in why else f"{path}: not a readable image ({why})"
    return f"{reason}; remove or replace it"


def _pixels(image: Image.Image) -> Pixels:
    if image.width == 0 or image.height == 0:
        raise UnreadableImage("it has no pixels")
    if image.mode.startswith("I") or image.mode == "F":
        return _sixteen_bits(image)
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        over = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")
    pixels = np.asarray(image.convert("RGB" if _has_colour(image) else "L"), np.uint8)
    if (
        pixels.ndim == 3
        and np.array_equal(pixels[..., 0], pixels[..., 1])
        and np.array_equal(pixels[..., 1], pixels[..., 2])
    ):
        return pixels[..., 0]
    return pixels


def _sixteen_bits(image: Image.Image) -> Pixels:
    values = np.asarray(image, np.float64)
    # 32-bit modes hold 16-bit values in practice (PNG), or 8-bit ones.
    scale = 257.0 if image.mode != "F" or values.max(initial=0.0) > 255 else 1.0
    return np.clip(np.round(values / scale), 0, 255).astype(np.uint8)


def _has_colour(image: Image.Image) -> bool:
    return image.mode not in ("1", "L", "LA", "I", "F") and not image.mode.startswith("I;")
