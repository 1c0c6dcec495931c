"""Pictures that Pillow holds, decoded by the rules of files: each goes through a lossless one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from nescio.data.encoded import file_stamp
from nescio.errors import DataError

INTO_RGB = ("CMYK", "YCbCr", "HSV")
INTO_RGBA = ("PA", "La", "RGBa")
AS_TIFF = ("I", "F", "LAB")
"""Modes that PNG cannot hold; all that begin with ``I;`` neither."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of Pillow and paths of files: a :class:`nescio.data.encoded.Encoded`.

    Attributes:
        pictures: The pictures, loaded.
        names: One for each.
    """

    pictures: Sequence[Image.Image | Path]
    names: Sequence[str]

    def open(self, index: int) -> Path | BytesIO:
        """The file, or one that holds the picture."""
        picture = self.pictures[index]
        return picture if isinstance(picture, Path) else lossless(picture)

    def stamps(self) -> Iterator[str]:
        """Of files alone; pictures are not kept on a disk."""
        for picture, name in zip(self.pictures, self.names, strict=True):
            yield file_stamp(picture) if isinstance(picture, Path) else name

    def groups(self) -> Sequence[int]:
        """Each lies alone."""
        return range(len(self.pictures))


def loaded(picture: Image.Image, name: str) -> Image.Image:
    """The picture with its pixels read, and turned as its EXIF data say.

    Several threads may ask for it then.

    Raises:
        DataError: Its file is damaged.
    """
    try:
        picture.load()
    except Exception as error:  # decoders fail in many ways; each means the same to the user
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: the picture cannot be read ({why})") from error
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - EXIF that cannot be read says nothing of orientation
        return picture


def lossless(picture: Image.Image) -> BytesIO:
    """A file that holds the very pixels of a picture."""
    mode = picture.mode
    tiff = mode in AS_TIFF or mode.startswith("I;")
    if mode in INTO_RGB or mode in INTO_RGBA:
        plain = picture.convert("RGB" if mode in INTO_RGB else "RGBA")
    else:
        plain = picture.copy()
    plain.info = {k: v for k, v in picture.info.items() if k == "transparency" and not tiff}
    file = BytesIO()
    plain.save(file, "TIFF" if tiff else "PNG", **({} if tiff else {"compress_level": 0}))
    file.seek(0)
    return file
