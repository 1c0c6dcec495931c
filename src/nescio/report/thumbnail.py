"""Images as a page shows them: their own pixels, reduced to a sensible size."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from torch import Tensor

from nescio.data import decode_image

LOSSLESS_SIDE = 64
"""Images of at most so many pixels a side are kept to the pixel; there is little to see in them."""

LARGEST_SIDE = 320
"""Larger ones are brought to this: twice what a page gives them, for fine screens."""

QUALITY = 85
"""Of JPEG."""


@dataclass(frozen=True)
class Thumbnail:
    """One image for a page.

    Attributes:
        content: PNG or JPEG.
        kind: The media type.
        width: In pixels.
        height: In pixels.
    """

    content: bytes
    kind: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The image as a ``data:`` address."""
        return f"data:{self.kind};base64,{b64encode(self.content).decode()}"

    @property
    def small(self) -> bool:
        """Whether it is to be enlarged without smoothing."""
        return self.kind == "image/png"


def thumbnail(picture: Path | Tensor) -> Thumbnail:
    """The image for a page.

    Args:
        picture: The file, or ``(K, H, W)`` uint8.

    Raises:
        UnreadableImage: The file cannot be decoded.
    """
    if isinstance(picture, Path):
        pixels = decode_image(picture)
    else:
        pixels = picture.permute(1, 2, 0).squeeze(-1).contiguous().numpy()
    image = Image.fromarray(pixels)
    buffer = BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        kind = "image/png"
        image.save(buffer, "PNG", optimize=True)
    else:
        kind = "image/jpeg"
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(buffer.getvalue(), kind, image.width, image.height)
