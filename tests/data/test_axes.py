"""Which axis of an array is which."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nescio.data import Preprocessing
from nescio.data.arrays import array_to_images
from nescio.data.axes import find_axes, image_shape
from nescio.decode import Decoding
from nescio.errors import DataError, UsageError

GREY, COLOUR, OTHER = (1, 28, 28), (3, 28, 28), (1, 32, 32)
ANY = (None, GREY, COLOUR, OTHER)

TABLE = [
    # shape, kinds, what a model takes, axes; None where nobody can tell
    ((28, 28), "abf", ANY, "HW"),
    ((28, 28, 3), "abf", ANY, "HWC"),
    ((28, 28, 4), "abf", ANY, "HWC"),
    ((28, 28, 1), "abf", ANY, "HWC"),
    ((480, 640, 3), "abf", ANY, "HWC"),
    ((1, 28, 28), "abf", ANY, "NHW"),
    ((28, 28, 28), "abf", ANY, "NHW"),
    ((5, 28, 28), "abf", ANY, "NHW"),
    ((0, 28, 28), "abf", ANY, "NHW"),
    ((3, 28, 28), "f", ANY, "CHW"),
    ((3, 28, 28), "b", (None, COLOUR, OTHER), "CHW"),
    ((3, 28, 28), "b", (GREY,), None),
    ((3, 28, 28), "a", (GREY,), "NHW"),
    ((3, 28, 28), "a", (COLOUR,), "CHW"),
    ((3, 28, 28), "a", (None, OTHER), None),
    ((4, 28, 28), "abf", (GREY,), "NHW"),
    ((4, 28, 28), "abf", (None, COLOUR, OTHER), None),
    ((3, 28, 3), "abf", ANY, None),
    ((3, 28, 4), "bf", (None, GREY, COLOUR), "CHW"),
    ((4, 28, 3), "abf", ANY, "HWC"),
    ((1, 28, 3), "abf", ANY, None),
    ((5, 28, 28, 3), "abf", ANY, "NHWC"),
    ((5, 28, 28, 4), "abf", ANY, "NHWC"),
    ((5, 28, 28, 1), "abf", ANY, "NHWC"),
    ((5, 3, 28, 28), "abf", ANY, "NCHW"),
    ((5, 1, 28, 28), "abf", ANY, "NCHW"),
    ((5, 4, 28, 28), "abf", ANY, "NCHW"),
    ((0, 3, 28, 28), "abf", ANY, "NCHW"),
    ((5, 4, 4, 3), "abf", ANY, "NHWC"),
    ((5, 1, 4, 4), "abf", ANY, "NCHW"),
    ((1, 3, 3, 3), "abf", ANY, None),
    ((5, 3, 28, 1), "abf", ANY, None),
    ((5, 3, 28, 3), "abf", ((3, 28, 3),), "NCHW"),
    ((5, 3, 28, 3), "abf", ((3, 3, 28),), "NHWC"),
]  # fmt: skip
KINDS = {"a": "array", "b": "byte tensor", "f": "float tensor"}


@pytest.mark.parametrize(("shape", "kinds", "wanted", "axes"), TABLE)
def test_shapes(shape: tuple[int, ...], kinds: str, wanted: tuple, axes: str | None) -> None:
    for kind, model in product(kinds, wanted):
        if axes is None:
            with pytest.raises(DataError, match=r"may be .* or .*; say which: nescio.image_set\("):
                find_axes(shape, kind=KINDS[kind], wanted=model)
        else:
            assert find_axes(shape, kind=KINDS[kind], wanted=model) == axes


@pytest.mark.parametrize(
    "shape", [(), (5,), (2, 5, 4, 2), (5, 2, 8, 8), (5, 0, 8), (1, 2, 3, 4, 5)]
)
def test_shapes_of_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="must have shape"):
        find_axes(shape)


@pytest.mark.parametrize(
    "shape", [(100, 784), (784,), (5, 1, 784), (2, 784), (9, 2352), (5, 1, 784, 1)]
)
def test_rows_of_pixels_are_refused(shape: tuple[int, ...]) -> None:
    for model in (GREY, COLOUR):
        if shape != (9, 2352) or model == COLOUR:
            with pytest.raises(DataError, match=r"rows of pixels.*images.reshape\(-1, 28, 28\)"):
                find_axes(shape, wanted=model)
    if len(shape) == 2:
        with pytest.raises(DataError, match=r"rows of pixels.*reshape\(-1, H, W\)"):
            find_axes(shape, first="N")
        assert find_axes((1, *shape), wanted=GREY) == "NHW"
    assert find_axes((784, 784), wanted=GREY) == "HW"


SIDES = st.sampled_from([0, 1, 2, 3, 4, 5, 28, 784])
MODELS = st.sampled_from([None, GREY, COLOUR, OTHER, (1, 28, 3), (3, 4, 3)])


@settings(max_examples=50, deadline=None)
@given(
    shape=st.lists(SIDES, min_size=0, max_size=5).map(tuple),
    kind=st.sampled_from(list(KINDS.values())),
    wanted=MODELS,
    first=st.sampled_from(["any", "N", "no N"]),
)
def test_every_shape_is_read_or_refused(
    shape: tuple[int, ...], kind: str, wanted: tuple[int, int, int] | None, first: str
) -> None:
    try:
        axes = find_axes(shape, kind=kind, wanted=wanted, first=first)
    except DataError:
        return
    channels, height, width = image_shape(axes, shape)
    assert channels in (1, 3, 4)
    assert min(height, width) > 0
    assert (axes[0] == "N") or first != "N"
    assert (axes[0] != "N") or first != "no N"
    # Without the model's shape another reading may be meant, but never one that it cannot be.
    assert len(axes) == len(shape)
    if "C" not in axes or len(axes) == 2:
        return
    # A batch is read as its images are, one by one, where both can be told.
    if axes[0] == "N" and shape[0] > 0:
        try:
            alone = find_axes(shape[1:], kind=kind, wanted=wanted, first="no N")
        except DataError:
            return
        assert alone == axes[1:]


@pytest.mark.parametrize("axes", ["HWC", "CHW", "HW", "NHW", "NHWC", "NCHW"])
def test_axes_that_are_told(axes: str) -> None:
    size = {"N": 3, "C": 3, "H": 3, "W": 3}
    array = np.random.default_rng(0).integers(0, 256, [size[letter] for letter in axes], "u1")
    images = array_to_images(array, axes=axes)
    assert images.shape == (3 if "N" in axes else 1, 3 if "C" in axes else 1, 3, 3)
    for n, c, h, w in product(range(len(images)), range(images.shape[1]), range(3), range(3)):
        place = {"N": n, "C": c, "H": h, "W": w}
        assert images[n, c, h, w] == array[tuple(place[letter] for letter in axes)]
    for wrong in ("".join(p) for p in permutations(axes) if len(axes) == 4):
        if wrong not in ("NHWC", "NCHW"):
            with pytest.raises(UsageError, match="axes must be one of"):
                array_to_images(array, axes=wrong)
    with pytest.raises(DataError, match="has no axes"):
        array_to_images(array[..., :0], axes=axes)


def test_what_numbers_are_taken() -> None:
    expected = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    for array in (
        np.array([[0.0, 0.2, 1.0]]),
        np.array([[0.0, 0.2, 1.0]], ">f4"),
        np.array([[0, 51, 255]], "u1"),
        torch.tensor([[0, 0.2, 1]]),
        torch.tensor([[0, 0.2, 1]], dtype=torch.float16, requires_grad=True),
        [[0.0, 0.2, 1.0]],
    ):
        assert torch.equal(array_to_images(array, axes="HW"), expected)
    assert array_to_images(np.eye(3, dtype=bool)).unique().tolist() == [0, 255]
    for array, told in [
        (np.array([[0.0, 2.0]]), r"image 0 has 2; divide 8-bit pixels by 255"),
        (np.zeros((2, 5, 5)) - [[[0.0]], [[1.5]]], "image 1 has -1.5; leave out the normalisation"),
        (np.array([[np.nan, 0.0]]), "image 0 has nan"),
        (np.array([[1, 2]]), "got int64; divide them by the value that is white"),
        (np.array([[1, 2]], "u2"), "got uint16"),
        (torch.tensor([[1, 2]]), "got torch.int64"),
        (np.array([["a", "b"]]), "got <U1"),
        ([[1.0], [1.0, 2.0]], "no array of images can be made of it"),
    ]:
        with pytest.raises(DataError, match=told):
            array_to_images(array, axes=None)


def test_alpha_is_laid_on_the_background() -> None:
    image = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]] * 5, "u1")
    for background, shown in [("#ffffff", (255, 127)), ("#000000", (0, 0))]:
        made = array_to_images(image, decoding=Decoding(background=background))
        assert made.shape == (1, 3, 5, 3)
        assert made[0, :, 0, 0].tolist() == [10, 20, 30]
        assert made[0, :, 0, 1].tolist() == [shown[0]] * 3
        assert made[0, :, 0, 2].tolist() == [shown[1]] * 3
    model = Preprocessing(3, 28, 28)
    assert array_to_images(np.zeros((2, 28, 28, 4), "u1"), wanted=model).shape == (2, 3, 28, 28)
