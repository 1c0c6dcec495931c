"""Features in the place of images: what a network's frozen trunk makes of them, computed once."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nescio.data.images import ImageSet
from nescio.errors import DataError

IN_MEMORY = 2**30
"""Bytes of features that are kept in memory; more go to a file that is mapped into it."""


@dataclass(frozen=True)
class FeatureSet(ImageSet):
    """Features of images, where a fit reads images.

    Attributes:
        images: ``(N, ...)``, floating point, in the place of pixels.
    """

    def __post_init__(self) -> None:
        if not self.images.dtype.is_floating_point or self.images.ndim < 2:
            raise DataError(
                f"{self.name}: features must be floating point of shape (N, ...), got "
                f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels is not None:
            self._check_labels(self.labels)


def empty_features(shape: Sequence[int], dtype: torch.dtype, most: int = IN_MEMORY) -> Tensor:
    """Room for features: in memory, or, above ``most`` bytes, in a temporary file.

    The file has no name from the start, so it is gone when the tensor is, whatever happens.

    Args:
        shape: Of the tensor.
        dtype: Of the tensor.
        most: Bytes.

    Raises:
        DataError: The disk of the temporary folder does not hold them.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= most:
        return torch.empty(*shape, dtype=dtype)
    folder = Path(tempfile.gettempdir())
    # A mapped file that the disk has no room for would end the process without a word.
    if shutil.disk_usage(folder).free < size:
        raise DataError(
            f"the features of the frozen trunk take {size / 2**30:.1f} GiB, more than is free in "
            f"{folder}; set TMPDIR to a folder with room, or lower --views"
        )
    with tempfile.NamedTemporaryFile(prefix="nescio-features-", dir=folder) as file:
        file.truncate(size)
        mapped = torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=dtype)
    return mapped.view(*shape)
