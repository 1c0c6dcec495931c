"""The types that data come in: a set of images, and a data set with its splits.

Axes: ``N`` images, ``K`` colour channels, ``H`` height, ``W`` width. Images are
``uint8`` of shape ``(N, K, H, W)`` and stay so in memory; they become ``float32``
in [0, 1] on the device, batch by batch (:func:`to_float`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nescio.errors import DataError, UsageError

AT_ONCE = 2**23
"""How many numbers of images go through a network at once: 512 images of 64x64 in colour, or 55
of 224x224. A network makes some ten times as many of them, in its first layers."""


@dataclass(frozen=True)
class Preprocessing:
    """What every image is brought to; decided once, recorded in the model.

    An image of another size is scaled until it fits (aspect kept, antialiased
    bilinear) and padded evenly with black; colour becomes grey by ITU-R 601 luma,
    grey becomes colour by repetition.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
    """

    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(K, H, W)``, the shape of one image."""
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        """For a person: ``28x28 grey``."""
        return f"{self.height}x{self.width} {'grey' if self.channels == 1 else 'colour'}"


@dataclass(frozen=True)
class ImageSet:
    """Images of one shape, perhaps with labels.

    Attributes:
        name: What the set is called in tables and JSON.
        images: ``(N, K, H, W)`` uint8.
        labels: ``(N,)`` int64, indices into ``classes``; ``None`` when not known.
        classes: The class names, in the order of the labels; empty without labels.
        names: One name for each image (a path, or ``set[17]``).
    """

    name: str
    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                f"{self.name}: images must be uint8 of shape (N, K, H, W), got "
                f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels is not None:
            self._check_labels(self.labels)
        if self.names and len(self.names) != len(self):
            raise DataError(f"{self.name}: {len(self.names)} names for {len(self)} images")

    def _check_labels(self, labels: Tensor) -> None:
        if labels.shape != (len(self),):
            raise DataError(
                f"{self.name}: {len(self)} images need {len(self)} labels, got shape "
                f"{tuple(labels.shape)}"
            )
        outside = (labels < 0) | (labels >= len(self.classes))
        if bool(outside.any()):
            first = int(outside.nonzero()[0])
            raise DataError(
                f"{self.name}: label {int(labels[first])} of image {first} is outside the "
                f"{len(self.classes)} classes 0..{len(self.classes) - 1}"
            )

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def preprocessing(self) -> Preprocessing:
        """The shape that the images have now."""
        _, channels, height, width = self.images.shape
        return Preprocessing(channels, height, width)

    def image_name(self, index: int) -> str:
        """The name of one image: its path, or ``set[index]``."""
        return self.names[index] if self.names else f"{self.name}[{index}]"

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at ``indices`` ``(n,)`` int64, in that order."""
        return replace(
            self,
            images=self.images[indices],
            labels=None if self.labels is None else self.labels[indices],
            names=tuple(self.image_name(i) for i in indices.tolist()),
        )

    def require_labels(self) -> Tensor:
        """The labels ``(N,)``.

        Raises:
            DataError: The set has none.
        """
        if self.labels is None:
            raise DataError(
                f"{self.name}: labels are needed here; give a folder with one subfolder a class, "
                "an .npz with 'labels', or IDX labels beside the images"
            )
        return self.labels

    def hashes(self) -> Tensor:
        """A 64-bit content hash of each image, ``(N,)`` int64 (BLAKE2b)."""
        rows = self.images.flatten(1).contiguous().numpy()
        digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
        buffer = bytearray(b"".join(digests))
        if not buffer:
            return torch.zeros(0, dtype=torch.int64)
        return torch.frombuffer(buffer, dtype=torch.int64)

    def fingerprint(self) -> str:
        """SHA-256 over shape, images, labels and class names, in hexadecimal."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.classes)).encode())
        digest.update(self.images.contiguous().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """What a data argument names: images to learn from and, perhaps, a test split.

    Attributes:
        name: What the set is called in tables and JSON.
        train: All images when the set has no test split of its own.
        test: The set's own test split, or ``None``.
        base: The set that this one is a shift of (:mod:`nescio.data.shifts`), its training
            images in the same order; ``None`` where it is none.
    """

    name: str
    train: ImageSet
    test: ImageSet | None = None
    base: Dataset | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        return self.train.classes

    def require_unshifted(self) -> None:
        """Nothing is learnt from shifted images.

        Raises:
            UsageError: It is a shift of another set.
        """
        if self.base is not None:
            raise UsageError(
                f"{self.name} is a shifted set, for evaluate and predict alone; here give "
                f"{self.base.name}"
            )


def to_float(images: Tensor) -> Tensor:
    """Pixels as the networks take them: uint8 ``(n, K, H, W)`` to float32 in [0, 1].

    Features that stand for images (:class:`nescio.data.features.FeatureSet`) stay what they are.
    """
    if images.is_floating_point():
        return images.to(torch.float32, copy=True)
    return images.to(torch.float32).div_(255.0)


def images_at_once(images: Tensor, most: int) -> int:
    """How many images ``(N, ...)`` go through a network at once: the fewer, the larger they are."""
    size = max(1, math.prod(images.shape[1:]))
    return max(1, min(most, AT_ONCE // size))
