"""What people hold in Python, as image sets: arrays, pictures, PyTorch's data sets and loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch.utils.data as torch_data
from PIL import Image
from torch import Tensor

from nescio.data.arrays import array_to_images
from nescio.data.class_numbers import number_array
from nescio.data.encoded import read_encoded
from nescio.data.gather import array_of, chunks_of, decoding_of, gather, items_of
from nescio.data.held import (
    class_names,
    has_items,
    is_array,
    is_pair,
    kind_of,
    pair_of,
    plain,
)
from nescio.data.idx_names import is_images_file
from nescio.data.images import Dataset, ImageSet
from nescio.data.load import all_images, load
from nescio.data.loaders import in_own_order
from nescio.data.looking import choose_shape
from nescio.data.parquet import names_parquet
from nescio.data.pillow import Pictures, loaded
from nescio.data.preprocess import LARGEST_ASKED, adapt
from nescio.data.reading import Reading
from nescio.data.rows import Stack
from nescio.data.shards import names_shards
from nescio.errors import DataError, UnreadableImage, UsageError
from nescio.progress import SILENT, Reporter

ImagesLike: TypeAlias = (
    ImageSet
    | Tensor
    | np.ndarray[Any, np.dtype[Any]]
    | Image.Image
    | str
    | Path
    | Sequence[Any]
    | torch_data.Dataset[Any]
    | torch_data.DataLoader[Any]
)
"""What predictions take: an array or tensor of images, or of one; a picture of Pillow; a path, or a
name; a list of pictures, arrays or paths, of any sizes; a set or a loader of PyTorch."""

DataLike: TypeAlias = Dataset | tuple[Any, Any] | ImagesLike
"""What :func:`nescio.fit` and :meth:`nescio.Classifier.evaluate` take: a data set, its name or its
path; images with their labels, ``(X, y)``; a set or a loader of PyTorch."""


@dataclass(frozen=True)
class _Found:
    """Images, and what else their holder says.

    Attributes:
        images: ``(N, K, H, W)``, as arrays hold them; or pictures, one by one.
        labels: What says of each its class; ``None`` where nothing does.
        classes: What numbers stand for; empty where they stand for themselves.
        name: What the set is called.
    """

    images: Tensor | list[Image.Image | Path]
    labels: Any = None
    classes: tuple[str, ...] = ()
    name: str = "images"


def image_set(
    images: ImagesLike,
    labels: Any = None,
    *,
    classes: Sequence[str] = (),
    axes: str | None = None,
    name: str = "images",
    reading: Reading | None = None,
    reporter: Reporter = SILENT,
) -> ImageSet:
    """Images that are held in Python, perhaps with labels.

    Args:
        images: See :data:`nescio.ImagesLike`; a path is that of one picture. Arrays are uint8,
            booleans or floats in [0, 1]; which axis is which is told as :mod:`nescio.data.axes` has
            it. Images of one size keep it; others are brought to one as those of a folder are.
        labels: ``(N,)`` or ``(N, 1)`` class numbers or names, or ``(N, C)`` one-hot. Classes are
            those that occur.
        classes: What the numbers 0, 1, ... stand for; empty where a number is its own name.
        axes: Of an array: ``HW``, ``HWC``, ``CHW``, ``NHW``, ``NHWC`` or ``NCHW``, where its shape
            does not tell. ``C`` are colour channels.
        name: What to call the set.
        reading: What else is asked of the images, see :class:`nescio.Reading`.
        reporter: Told of progress.

    Raises:
        DataError: The images or labels cannot be used; the message says which and how to mend it.
        UsageError: These are no images.
    """
    reading = reading or Reading()
    if isinstance(images, ImageSet):
        if labels is not None or axes is not None:
            raise UsageError(f"{images.name} is an image set already: give its .images")
        return images
    if axes is not None:
        if not is_array(images):
            raise UsageError(f"axes are those of an array, got {kind_of(images)}")
        found = _Found(array_to_images(images, axes=axes, decoding=reading.decoding))
    else:
        found = _find(images, reading, counted=labels is not None)
    if labels is not None:
        found = replace(found, labels=labels)
    named = tuple(classes) or found.classes
    return _set(replace(found, classes=named, name=name), reading, (), reporter)


def read_images_like(
    data: Any, reading: Reading, *, classes: Sequence[str] = (), reporter: Reporter = SILENT
) -> ImageSet:
    """What people hold as a set; where it has labels, with these.

    Args:
        data: See :data:`ImagesLike`, or images with their labels, ``(X, y)``.
        reading: What is asked of them.
        classes: Of a model: what class numbers stand for, where none of them is the name of one.
        reporter: Told of progress.

    Raises:
        DataError: It cannot be used.
        UsageError: It is nothing of the kind.
    """
    if isinstance(data, ImageSet):
        return data
    if isinstance(data, str | Path) and not _is_one_file(data):
        unlabelled = replace(reading, labelled=False)
        return all_images(load(data, reading=unlabelled, reporter=reporter), reporter)
    return _set(_find(data, reading), reading, classes, reporter)


def read_data_like(
    data: Any,
    reading: Reading,
    *,
    seed: int = 0,
    classes: Sequence[str] = (),
    reporter: Reporter = SILENT,
) -> Dataset:
    """What people hold as a data set.

    Args:
        data: See :data:`DataLike`.
        reading: What is asked of the images.
        seed: Of sets that are made at run time.
        classes: As for :func:`read_images_like`.
        reporter: Told of progress.

    Raises:
        DataError: It cannot be used.
        UsageError: It is nothing of the kind.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        return load(data, reading=reading, seed=seed, reporter=reporter)
    if is_pair(data):
        found = replace(_find(data[0], reading, counted=True), labels=data[1])
        images = _set(found, reading, classes, reporter)
    else:
        images = read_images_like(data, reading, classes=classes, reporter=reporter)
    return Dataset(images.name, images)


def sources_of(sources: Any) -> list[Any]:
    """Several sets, of which one may be given alone, or all by their names."""
    if isinstance(sources, Mapping):
        return [
            replace(read_images_like(held, Reading(labelled=False)), name=str(name))
            for name, held in sources.items()
        ]
    alone = isinstance(sources, str | Path | ImageSet | Dataset | torch_data.Dataset)
    if alone or is_array(sources) or isinstance(sources, Image.Image | torch_data.DataLoader):
        return [sources]
    if not isinstance(sources, Iterable):
        raise UsageError(f"ood must be data sets, their names or paths, got {kind_of(sources)}")
    return list(sources)


def _find(data: Any, reading: Reading, *, counted: bool = False) -> _Found:
    """The images in whatever it is; ``counted`` where the first axis of an array counts them."""
    if isinstance(data, torch_data.DataLoader):
        return _of_loader(data, reading)
    if isinstance(data, torch_data.TensorDataset):
        labels = data.tensors[1] if len(data.tensors) > 1 else None
        return _Found(array_of(data.tensors[0], reading, counted=True), labels)
    if isinstance(data, str | Path):
        return _Found([Path(data)], name=Path(data).name)
    if isinstance(data, Image.Image):
        return _Found([loaded(data, "the picture")])
    if is_array(data):
        return _Found(array_of(data, reading, counted=counted))
    if isinstance(data, Dataset):
        raise UsageError(f"{data.name} is a whole data set; give its .train, its .test or its name")
    if isinstance(data, Mapping) or not has_items(data):
        raise UsageError(
            "expected images: an array or tensor, a list of pictures, images with labels (X, y), a "
            f"Dataset or DataLoader of PyTorch, or a name or path; got {kind_of(data)}"
            + ("; a set without a test split of its own has None as its .test" * (data is None))
        )
    pairs = [pair_of(item) for item in items_of(data, reading)]
    if not pairs:
        raise DataError("there is no image in what was given")
    return _of_pairs(pairs, reading, type(data).__name__, class_names(data))


def _of_pairs(
    pairs: Sequence[tuple[Any, Any]], reading: Reading, name: str, classes: tuple[str, ...]
) -> _Found:
    name = "images" if name in ("list", "tuple", "ndarray", "Series") else name
    labels = [label for _, label in pairs if label is not None]
    if labels and len(labels) < len(pairs):
        first = next(i for i, (_, label) in enumerate(pairs) if label is None)
        raise DataError(f"{name}: image {first} has no label, and others have one")
    pictures = [picture for picture, _ in pairs]
    told = np.asarray([np.asarray(plain(label)) for label in labels]) if labels else None
    if all(is_array(picture) for picture in pictures):
        images: Any = gather(chunks_of(pictures, reading, name), reading, name)
    else:
        images = [_picture(picture, f"{name}[{i}]") for i, picture in enumerate(pictures)]
    return _Found(images, told, classes, name)


def _of_loader(loader: torch_data.DataLoader[Any], reading: Reading) -> _Found:
    """All of its set, in the order of that, whatever the loader's own order."""
    name, classes = type(loader.dataset).__name__, class_names(loader.dataset)
    if isinstance(loader.dataset, torch_data.TensorDataset):
        name = "images"
    labels: list[Any] = []
    ordered = in_own_order(loader)
    given = iter(ordered)
    try:
        begun = list(islice(given, 1))
    except TypeError as error:
        raise DataError(
            f"{name}: its loader cannot put its items together ({error}); give the Dataset itself"
        ) from error
    if not begun:
        raise DataError(f"{name}: the loader gives no batch")
    if isinstance(begun[0], list) and isinstance(next(iter(begun[0]), None), tuple | Mapping):
        items = chain.from_iterable(chain(begun, given))  # as collate_fn=list leaves them
        return _of_pairs([pair_of(item) for item in items], reading, name, classes)
    first, batches = pair_of(begun[0]), map(pair_of, given)
    if ordered.batch_size is None and ordered.batch_sampler is None:  # each is one image
        return _of_pairs([first, *batches], reading, name, classes)
    if not is_array(first[0]):
        pairs = [
            pair
            for pictures, told in chain([first], batches)
            for pair in zip(pictures, [None] * len(pictures) if told is None else told, strict=True)
        ]
        return _of_pairs(pairs, reading, name, classes)

    def chunks() -> Iterator[Tensor]:
        for images, told in chain([first], batches):
            if told is not None:
                labels.append(plain(told))
            yield array_of(images, replace(reading, preprocessing=None), counted=True)

    gathered = gather(chunks(), reading, name)
    return _Found(gathered, np.concatenate(labels) if labels else None, classes, name)


def _set(found: _Found, reading: Reading, known: Sequence[str], reporter: Reporter) -> ImageSet:
    """What was found, its labels numbered, its pictures decoded."""
    wanted, names = reading.preprocessing, tuple[str, ...]()
    images: Stack
    if isinstance(found.images, Tensor):
        images = found.images if wanted is None else adapt(found.images, wanted)
        fit, decoding = (wanted or reading).fit, decoding_of(reading)
    else:
        pictures = Pictures(
            found.images,
            [
                str(each) if isinstance(each, Path) else f"{found.name}[{i}]"
                for i, each in enumerate(found.images)
            ],
        )
        shape = choose_shape(pictures, _at_own_size(found.images, reading), reporter)
        result = read_encoded(pictures, shape, reporter=reporter)
        if result.failures:
            raise UnreadableImage(result.failures[0].error)
        images, fit, decoding, names = (
            result.images,
            shape.fit,
            shape.decoding,
            tuple(pictures.names),
        )
    labels, classes = None, tuple[str, ...]()
    if found.labels is not None:
        labels, classes = _numbered(found, known)
    return ImageSet(found.name, images, labels, classes, names, fit, decoding)


def _numbered(found: _Found, known: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    labels = np.asarray(plain(found.labels))
    names = found.classes
    if not names and known and labels.dtype.kind in "biuf":
        # Numbers that are no names of classes are their places, as PyTorch has it.
        written = {str(int(each)) for each in np.unique(labels[np.isfinite(labels)])}
        names = () if written & set(known) else tuple(known)
    return number_array(labels, f"{found.name}: labels", names)


def _at_own_size(pictures: Sequence[Image.Image | Path], reading: Reading) -> Reading:
    """Pictures that share a size keep it, unless another is asked for."""
    sizes = {each.size for each in pictures if isinstance(each, Image.Image)}
    alike = len(sizes) == 1 and all(isinstance(each, Image.Image) for each in pictures)
    if not alike or reading.image_size is not None or reading.preprocessing is not None:
        return reading
    width, height = sizes.pop()
    size = (height, width) if max(height, width) <= LARGEST_ASKED else None
    return replace(reading, image_size=size)


def _picture(picture: Any, name: str) -> Image.Image | Path:
    """One picture of a list in which they are not all arrays."""
    if isinstance(picture, Image.Image):
        return loaded(picture, name)
    if isinstance(picture, str | Path):
        return Path(picture)
    if not is_array(picture):
        raise UsageError(f"{name} is no picture but {kind_of(picture)}")
    try:
        pixels = array_to_images(picture, first="no N")[0]
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return Image.fromarray(pixels.movedim(0, 2).squeeze(2).numpy())


def _is_one_file(data: str | Path) -> bool:
    """Whether that is the path of one picture, and not of data."""
    path, text = Path(data), str(data)
    many = text.endswith(".npz") or is_images_file(path)
    return path.is_file() and not (many or names_shards(text) or names_parquet(text))
