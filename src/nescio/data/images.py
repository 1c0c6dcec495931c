"""The types that data come in: a set of images, and a data set with its splits.

Axes: ``N`` images, ``K`` colour channels, ``H`` height, ``W`` width. Images are
``uint8`` of shape ``(N, K, H, W)`` and stay so in memory; they become ``float32``
in [0, 1] on the device, batch by batch (:func:`to_float`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from nescio.data.class_numbers import check_names
from nescio.data.rows import (
    Rows,
    Stack,
    content_hashes,
    pixel_digest,
    read_all,
    read_batches,
    take,
)
from nescio.decode import DEFAULT, OLDER, Decoding
from nescio.errors import DataError, UsageError
from nescio.names import printable

AT_ONCE = 2**23
"""How many numbers of images go through a network at once: 512 images of 64x64 in colour, or 55
of 224x224. A network makes some ten times as many of them, in its first layers."""
CHANNELS = (1, 3)
"""Grey and RGB."""

Fit = Literal["pad", "crop", "stretch"]

FITS: Mapping[Fit, str] = MappingProxyType(
    {
        "pad": "scaled until it fits and padded with black",
        "crop": "cut to the largest part in its middle of that aspect, and scaled",
        "stretch": "scaled to height and width, whatever its aspect",
    }
)
"""What becomes of an image of another size, in words."""


@dataclass(frozen=True)
class Preprocessing:
    """What every image is brought to; decided once, recorded in the model.

    Colour becomes grey by ITU-R 601 luma, grey becomes colour by repetition. Scaling is
    bilinear and antialiased.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        height: In pixels.
        width: In pixels.
        fit: What becomes of an image of another size: ``pad`` keeps its aspect and all of it,
            with black evenly at two sides; ``crop`` keeps its aspect and cuts evenly at two sides,
            to whole pixels, before it is scaled; ``stretch`` keeps all of it alone.
        decoding: How files become pixels: the range of deep images, the background of transparent
            ones, and more.

    Raises:
        ValueError: There are no pixels, or no such ``fit``.
    """

    channels: int
    height: int
    width: int
    fit: Fit = "pad"
    decoding: Decoding = DEFAULT

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ValueError(f"no image has the shape {self.shape}")
        if self.fit not in FITS:
            raise ValueError(f"fit must be one of {', '.join(FITS)}, got {self.fit!r}")

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Preprocessing:
        """What ``dataclasses.asdict`` gave, read from JSON; older files tell nothing of decoding.

        Raises:
            ValueError: It is not that; likewise ``TypeError`` and ``KeyError``.
        """
        told = record.get("decoding")
        decoding = OLDER if told is None else Decoding.from_json(told)
        return cls(**{**record, "decoding": decoding})

    def reading_at_most(self, max_pixels: int | None) -> Preprocessing:
        """The same, but that images of more pixels are refused; ``None`` for as many as before."""
        if max_pixels is None:
            return self
        return replace(self, decoding=replace(self.decoding, max_pixels=max_pixels))

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(K, H, W)``, the shape of one image."""
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        """For a person: ``28x28 grey``."""
        return f"{self.height}x{self.width} {'grey' if self.channels == 1 else 'colour'}"

    def describe(self) -> str:
        """For a person: ``28x28 grey; one of another size is ...``."""
        return f"{self}; one of another size is {FITS[self.fit]}"


@dataclass(frozen=True)
class ImageSet:
    """Images of one shape, perhaps with labels.

    Attributes:
        name: What the set is called in tables and JSON.
        images: ``(N, K, H, W)`` uint8, of 1 or 3 channels ``K``; :class:`nescio.data.rows.Rows`
            where they are too many for memory. :func:`nescio.image_set` takes other arrays.
        labels: ``(N,)`` int64, indices into ``classes`` (whole numbers of other types become such);
            ``None`` when not known.
        classes: The class names, in the order of the labels; empty without labels.
        names: One name for each image (a path, or ``set[17]``).
        fit: How images of another size were brought to this one, see :class:`Preprocessing`.
        decoding: How they were decoded, likewise.
        groups: ``(N,)`` int64, equal for images that belong together, such as frames of one film
            (:mod:`nescio.data.groups`); ``None`` where each stands for itself.

    Raises:
        DataError: The images are none, a class name comes twice, the labels are no indices into
            the classes, or of any of these there are fewer than of others.
    """

    name: str
    images: Stack
    labels: Tensor | None
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()
    fit: Fit = "pad"
    decoding: Decoding = DEFAULT
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))
        object.__setattr__(self, "classes", tuple(map(printable, self.classes)))
        _check_images(self.name, self.images)
        check_names(self.classes, self.name)
        if self.labels is not None:
            labels = _indices(self.name, self.labels)
            object.__setattr__(self, "labels", labels)
            self._check_labels(labels)
        if self.names and len(self.names) != len(self):
            raise DataError(f"{self.name}: {len(self.names)} names for {len(self)} images")
        if self.groups is not None and self.groups.shape != (len(self),):
            raise DataError(
                f"{self.name}: {len(self)} images need {len(self)} groups, got shape "
                f"{tuple(self.groups.shape)}"
            )

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
        """What the images have been brought to."""
        _, channels, height, width = self.images.shape
        return Preprocessing(channels, height, width, self.fit, self.decoding)

    def image_name(self, index: int) -> str:
        """The name of one image: its path, or ``set[index]``."""
        return self.names[index] if self.names else f"{self.name}[{index}]"

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at ``indices`` ``(n,)`` int64, in that order."""
        return replace(
            self,
            images=take(self.images, indices),
            labels=None if self.labels is None else self.labels[indices],
            names=tuple(self.image_name(i) for i in indices.tolist()),
            groups=None if self.groups is None else self.groups[indices],
        )

    def among(self, classes: tuple[str, ...]) -> ImageSet:
        """The same images, their labels as indices into other classes, by name.

        Raises:
            DataError: It has no labels, or a class that is none of these.
        """
        labels = self.require_labels()
        if self.classes == classes:
            return self
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise DataError(f"{self.name}: class {unknown[0]!r} is none of {', '.join(classes)}")
        order = torch.tensor([classes.index(name) for name in self.classes])
        return replace(self, labels=order[labels], classes=classes)

    def require_labels(self) -> Tensor:
        """The labels ``(N,)``.

        Raises:
            DataError: The set has none.
        """
        if self.labels is None:
            raise DataError(
                f"{self.name}: labels are needed here; give a folder with one subfolder a class, "
                "an .npz with 'labels', IDX labels beside the images, or in Python (X, y)"
            )
        return self.labels

    def hashes(self) -> Tensor:
        """A 64-bit content hash of each image, ``(N,)`` int64 (BLAKE2b)."""
        if isinstance(self.images, Rows):
            return self.images.hashes()
        return content_hashes(read_batches(self.images))

    def fingerprint(self) -> str:
        """SHA-256 over shape, images, labels and class names, in hexadecimal."""
        prefix = fingerprint_prefix(self.images.shape, self.classes)
        if isinstance(self.images, Rows):
            digest = self.images.digest(prefix)
        else:
            digest = pixel_digest(prefix, read_batches(self.images))
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


def _check_images(name: str, images: Stack) -> None:
    if not isinstance(images, Tensor | Rows) or images.dtype != torch.uint8 or images.ndim != 4:
        dtype, shape = getattr(images, "dtype", type(images)), getattr(images, "shape", ())
        raise DataError(
            f"{name}: images must be a uint8 tensor of shape (N, K, H, W), got {dtype} of shape "
            f"{tuple(shape)}; nescio.image_set(images, labels) takes what you have"
        )
    if images.shape[1] not in CHANNELS:
        raise DataError(
            f"{name}: images of shape (N, K, H, W) have 1 or 3 channels K, got "
            f"{tuple(images.shape)}; where channels come last, nescio.image_set(images, labels) "
            "takes them"
        )


def _indices(name: str, labels: Any) -> Tensor:
    """Class numbers as int64, whatever type of whole numbers they came in."""
    try:
        numbers = torch.as_tensor(labels).detach().cpu()
        whole = not numbers.is_complex() and bool((numbers == numbers.long()).all())
    except (TypeError, ValueError, RuntimeError):  # such as names
        whole = False
    if not whole:
        raise DataError(
            f"{name}: labels must be whole numbers, indices into the classes, got "
            f"{getattr(labels, 'dtype', type(labels).__name__)}; nescio.image_set(images, labels) "
            "takes names, too"
        )
    return numbers.long()


def fingerprint_prefix(shape: Sequence[int], classes: Sequence[str]) -> bytes:
    """What the fingerprint of a set with images of shape ``(N, K, H, W)`` begins with."""
    return repr((tuple(shape), tuple(classes))).encode()


@dataclass(frozen=True)
class Dataset:
    """What a data argument names: images to learn from and, perhaps, a test split.

    Attributes:
        name: What the set is called in tables and JSON.
        train: All images when the set has no test split of its own.
        test: The set's own test split, or ``None``.
        base: The set that this one is a shift of (:mod:`nescio.data.shifts`), its training
            images in the same order; ``None`` where it is none.
        root: What the names of its images begin with on this machine: the folder; empty where
            they are the same everywhere. The test split may have classes, after those of the
            training images, that these lack.
    """

    name: str
    train: ImageSet
    test: ImageSet | None = None
    base: Dataset | None = None
    root: str = ""
    validation: Tensor | None = None
    part_names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))

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


def to_float(images: Stack) -> Tensor:
    """Pixels as the networks take them: uint8 ``(n, K, H, W)`` to float32 in [0, 1].

    Features that stand for images (:class:`nescio.data.features.FeatureSet`) stay what they are.
    """
    read = read_all(images)
    if read.is_floating_point():
        return read.to(torch.float32, copy=True)
    return read.to(torch.float32).div_(255.0)


def images_at_once(images: Stack, most: int) -> int:
    """How many images ``(N, ...)`` go through a network at once: the fewer, the larger they are."""
    size = max(1, math.prod(images.shape[1:]))
    return max(1, min(most, AT_ONCE // size))
