"""What people hold, taken apart: whether it is an array, what of an item is its image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch.utils.data as torch_data
from PIL import Image
from torch import Tensor

from nescio.errors import DataError

PICTURES = ("image", "img", "jpg", "png", "pixel_values")
LABELS = ("label", "labels", "cls", "fine_label")
"""Keys of items that are mappings."""


def size_of(picture: Any) -> int:
    """How many numbers a picture or an array has."""
    if isinstance(picture, Image.Image):
        return picture.width * picture.height * len(picture.getbands())
    return int(np.prod(np.shape(picture))) if not isinstance(picture, Tensor) else picture.numel()


def pair_of(item: Any) -> tuple[Any, Any]:
    """An item of a set, or a batch, as images and labels."""
    if isinstance(item, Mapping):
        pictures = [item[key] for key in PICTURES if key in item]
        if not pictures:
            raise DataError(
                f"an item has {', '.join(map(str, item))}; its image is looked for as "
                f"{', '.join(PICTURES)}, its label as {', '.join(LABELS)}"
            )
        return pictures[0], next((item[key] for key in LABELS if key in item), None)
    if isinstance(item, tuple | list) and item and not _is_number(item[0]):
        nested = isinstance(item[0], list | tuple) and item[0] and _is_number(item[0][0])
        if not nested:
            return item[0], item[1] if len(item) > 1 else None
    return np.asarray(item) if isinstance(item, tuple | list) else item, None


def class_names(data: Any) -> tuple[str, ...]:
    """The names of the classes, where a set tells them as torchvision's and ``datasets`` do."""
    while isinstance(data, torch_data.Subset):
        data = data.dataset
    if isinstance(data, torch_data.ConcatDataset):
        every = {class_names(each) for each in data.datasets}
        return every.pop() if len(every) == 1 else ()
    names = getattr(data, "classes", None)
    features = getattr(data, "features", None)
    if names is None and isinstance(features, Mapping):
        names = next((getattr(features[k], "names", None) for k in LABELS if k in features), None)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return ()
    return tuple(names)


def is_pair(data: Any) -> bool:
    """``(X, y)``, and no list of two pictures."""
    return isinstance(data, tuple) and len(data) == 2 and not isinstance(data[1], Image.Image)


def is_array(data: Any) -> bool:
    """Numbers with axes; an array of objects, or a column of a table, is a list."""
    if isinstance(data, Tensor):
        return True
    if isinstance(data, list | tuple):
        return bool(data) and _is_numbers(data)
    if not hasattr(data, "__array__") or isinstance(data, Image.Image):
        return False
    return getattr(getattr(data, "dtype", None), "kind", "") != "O"


def _is_numbers(data: Any) -> bool:
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return _is_number(data)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_)


def has_items(data: Any) -> bool:
    """Whether there are things in it that can be gone through."""
    return hasattr(data, "__iter__") or (hasattr(data, "__len__") and hasattr(data, "__getitem__"))


def plain(values: Any) -> Any:
    """Of a tensor its NumPy array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def likeness(array: Any) -> tuple[Any, ...]:
    """What arrays that go together share."""
    if isinstance(array, Tensor):
        return "tensor", array.dtype, tuple(array.shape)
    values = np.asarray(array)
    return "array", values.dtype, values.shape


def kind_of(value: Any) -> str:
    """What to call it in an error."""
    return "nothing (None)" if value is None else f"an object of type {type(value).__name__}"
