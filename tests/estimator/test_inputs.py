"""Arrays become images: pixels as they are, features with the digits that they have."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nescio.data import as_images, to_float
from nescio.errors import DataError, UsageError
from nescio.estimator.inputs import REACH, Features, Pixels, Unpack, stacked

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
GREY[1, 0, :2] = 0, 255
COLOUR = RNG.integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)


@pytest.mark.parametrize("images", [GREY, COLOUR])
def test_images_are_read_as_nescio_reads_them(images: np.ndarray) -> None:
    expected = as_images(images)
    shape = images.shape[1:]
    flat = images.reshape(len(images), -1)
    assert torch.equal(Pixels.of(images, None, None)(images), expected)
    assert torch.equal(Pixels.of(flat, shape, None)(flat), expected)
    # Fitted to the one, asked of the other.
    assert torch.equal(Pixels.of(images, None, None)(flat), expected)
    assert torch.equal(Pixels.of(flat, shape, None)(images), expected)
    assert Pixels.of(images, None, None).features == flat.shape[1]
    one_channel = images.reshape(*images.shape[:3], -1)
    assert torch.equal(Pixels.of(one_channel, None, None)(one_channel), expected)


def test_channels_may_come_first() -> None:
    last = RNG.integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
    first = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    expected = as_images(last)
    for fitted in (last, first):
        pixels = Pixels.of(fitted, None, None)
        assert pixels.shape == (6, 4, 3)
        assert all(torch.equal(pixels(asked), expected) for asked in (last, first))
    wide = np.concatenate([GREY, GREY], 2)
    grey = Pixels.of(wide[:, None], None, None)
    assert torch.equal(grey(wide), as_images(wide))
    either = GREY[:, None]  # one row in colour, or grey
    with pytest.raises(DataError, match=r"first or last: say image_shape=\(1, 4, 3\)"):
        Pixels.of(either, None, None)
    assert Pixels.of(either, (1, 4, 3), None)(either).shape == (len(GREY), 3, 1, 4)


def test_columns_of_arrays_are_stacked() -> None:
    column = np.empty(len(GREY), object)
    column[:] = list(GREY)
    assert np.array_equal(stacked(column), GREY)
    column[:] = [torch.from_numpy(image) for image in GREY]
    assert np.array_equal(stacked(column), GREY)
    column[0] = GREY[0][:, :1]
    with pytest.raises(DataError, match=r"X holds arrays of 2 shapes, such as .* use nescio.fit"):
        stacked(column)
    for other in (GREY, [1, 2], np.array(["a", None], object), np.array([], object)):
        assert stacked(other) is other


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_numbers_between_0_and_1_are_brought_to_8_bits_as_everywhere(kind: type) -> None:
    shares = RNG.random((50, 4, 3)).astype(kind)
    pixels = Pixels.of(shares, None, None)
    assert torch.equal(pixels(shares), as_images(shares))


def test_every_form_of_the_same_pixels_is_the_same_image() -> None:
    expected = as_images(GREY)
    for kind in (np.int64, np.int16, np.uint16):
        assert torch.equal(Pixels.of(GREY, None, None)(GREY.astype(kind)), expected)
    for limits, forms in {
        (0, 255): GREY.astype(np.float64),
        (-1, 1): GREY / 127.5 - 1,
        (0, 510): GREY.astype(np.int64) * 2,
        (0, 1): GREY / 255,
    }.items():
        pixels = Pixels.of(forms, None, limits)
        assert torch.equal(pixels(forms), expected), limits
    black_and_white = GREY > 100
    seen = Pixels.of(black_and_white, None, None)(black_and_white)
    assert seen.unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("X", "limits", "words"),
    [
        (GREY.astype(int) - 1, None, r"^Negative values in data: .*\[0, 255\], image \d has -1; "),
        (GREY / 255 - 0.1, None, r"^Negative values in data: .*\[0, 1\]"),
        (GREY.astype(int) + 1, None, r"^pixels must lie in \[0, 255\], image \d has 256; say what"),
        (GREY.astype(float), None, r"pixel_range=\(low, high\)"),
        (GREY, (0, 16), r"\[0, 16\]"),
        (GREY / 255 - 2, (-1, 1), r"^pixels must lie in \[-1, 1\], image 0 has -"),
    ],
)
def test_pixels_out_of_range(X: np.ndarray, limits: tuple[float, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Pixels.of(X, None, limits)(X)


@pytest.mark.parametrize(
    ("shape", "image_shape", "words"),
    [
        (
            (2, 12),
            (3, 5),
            "X must have shape (N, 3, 5) or (N, 3, 5, 1) or (N, 1, 3, 5) or (N, 15), by",
        ),
        ((2, 12), (2, 2, 3), None),
        (
            (2, 13),
            (2, 2, 3),
            "X must have shape (N, 2, 2, 3) or (N, 3, 2, 2) or (N, 12), by image_shape; got (2, 13",
        ),
        ((2, 5, 4, 4), None, "(N, H, W, 3) or (N, 3, H, W), got (2, 5, 4, 4)"),
        ((2, 3, 4, 4, 3), None, "images must have shape (N, H, W), (N, H, W, 3)"),
        ((2, 4, 3), (3, 4), "got (2, 4, 3)"),
    ],
)
def test_shapes_that_do_not_fit(
    shape: tuple[int, ...], image_shape: tuple[int, ...] | None, words: str | None
) -> None:
    X = np.zeros(shape, np.uint8)
    if words is None:
        assert Pixels.of(X, image_shape, None)(X).shape == (2, 3, 2, 2)
        return
    with pytest.raises(DataError, match=re.escape(words)):
        Pixels.of(X, image_shape, None)


@pytest.mark.parametrize("image_shape", [(4,), (4, 3, 2), (0, 3), (4.5, 3), "43", 12, (1, 2, 3, 1)])
def test_what_is_no_image_shape(image_shape: object) -> None:
    with pytest.raises(UsageError, match=r"image_shape must be \(H, W\) or \(H, W, 3\)"):
        Pixels.of(np.zeros((2, 12)), image_shape, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [(1, 0), (0, 0), 255, "ab", (0, np.nan), (0, np.inf), (0, 1, 2)])
def test_what_is_no_pixel_range(limits: object) -> None:
    with pytest.raises(UsageError, match="pixel_range must be two numbers"):
        Pixels.of(GREY, None, limits)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=200)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(2, 12), st.integers(1, 5)),
        elements=st.floats(-1e12, 1e12).filter(lambda v: v == 0 or abs(v) > 1e-6),
    )
)
def test_features_keep_24_bits(X: np.ndarray) -> None:
    read = Features.of(X)
    packed = read(X)
    assert packed.shape == (len(X), 3, 1, X.shape[1])
    seen = Unpack(read)(to_float(packed)).double().numpy()
    restored = seen * read.spread + read.centre
    # Half a step, and the rounding of float32.
    allowed = read.reach * (0.5 / 2**23 + 2.0**-23)
    assert (np.abs(restored - X) <= allowed * 1.01).all()


def test_features_by_hand() -> None:
    X = np.array([[0.0, 7.0, 1.0], [4.0, 7.0, 3.0]])
    read = Features.of(X)
    assert read.centre.tolist() == [2.0, 7.0, 2.0]
    assert read.reach.tolist() == [2 * REACH, 7 * REACH, REACH]
    assert read.spread.tolist() == [2.0, 7.0, 1.0]
    unpack = Unpack(read)
    seen = unpack(to_float(read(X)))
    assert torch.allclose(seen, torch.tensor([[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]), atol=1e-6)
    far = unpack(to_float(read(np.array([[1e300, -1e300, 2.0], [10.0, 7.7, 2.25]]))))
    # Four times as far as any training sample, and no farther.
    assert torch.allclose(far[0], torch.tensor([REACH, -REACH, 0.0]), atol=1e-5)
    assert torch.allclose(far[1], torch.tensor([4.0, 0.1, 0.25]), atol=1e-5)


def test_features_too_large() -> None:
    with pytest.raises(DataError, match="too large to compute with"):
        Features.of(np.array([[1e308], [-1e308]]))
    with pytest.raises(DataError, match="Expected 2D array of features"):
        Features.of(np.eye(2))(np.zeros((1, 2, 2)))
