"""What clients send as images: made, spoilt and invented by Hypothesis; nothing may crash."""

import base64
import io
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import png
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image
from torch import Tensor

from nescio.data import Preprocessing, read_images
from nescio.decode import FORMATS, Decoding
from nescio.errors import DataError, UsageError
from nescio.service.bodies import read_json
from nescio.service.images import (
    DEFAULT_FORMATS,
    Given,
    check_formats,
    from_base64,
    from_numbers,
    look_at,
    read_found,
)
from nescio.service.limits import Limits
from nescio.service.problems import Problem

GREY = Preprocessing(1, 6, 6)
COLOUR = Preprocessing(3, 5, 7, "crop")
LIMITS = Limits(pixels=50_000, request_pixels=100_000)
RUNS = int(os.environ.get("NESCIO_FUZZ", "1000"))
"""Examples of each slow fuzz."""

quick = settings(
    max_examples=80,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
long = settings(
    max_examples=RUNS, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def both(
    check: Callable[..., object], *examples: Any, **drawn: st.SearchStrategy[Any]
) -> tuple[Callable[..., None], Callable[..., None]]:
    """The same fuzz, quick and seeded, and long; examples are of the first argument."""

    def made(how: settings) -> Callable[..., None]:
        def test(**given_: Any) -> None:
            check(**given_)

        for shown in examples:
            test = example(**{next(iter(drawn)): shown})(test)
        return how(given(**drawn)(test))

    return made(quick), pytest.mark.slow(pytest.mark.timeout(3600)(made(long)))


def read_one(content: Any, formats: tuple[str, ...] = DEFAULT_FORMATS) -> Tensor | str | Problem:
    """An image, or why there is none; whatever else happens is a fault."""
    try:
        found = look_at([Given("x", content)], LIMITS, formats)
    except Problem as problem:
        if problem.status != 413:
            raise
        return problem
    grey = read_found(found, GREY, formats)[0]
    colour = read_found(found, COLOUR, formats)[0]
    assert isinstance(grey, str) == isinstance(colour, str)
    for image, wanted in ((grey, GREY), (colour, COLOUR)):
        if isinstance(image, Tensor):
            assert image.shape == (1, *wanted.shape)
            assert str(image.dtype) == "torch.uint8"
        else:
            assert "\n" not in image
            assert len(image) < 200
            assert not any(word in image for word in ("Traceback", "0x", "PIL", "Bytes"))
    return grey


def encoded(form: str, mode: str, size: tuple[int, int], seed: int) -> bytes:
    """An image file of that form, with something in it."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert(mode)
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "WEBP": ("L", "RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I;16", "YCbCr", "LAB"),
    "PPM": ("1", "L", "RGB"),
    "AVIF": ("L", "RGB", "RGBA"),
}


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Image files of every form, most of them spoilt somewhere."""
    form = draw(st.sampled_from(FORMATS))
    mode = draw(st.sampled_from(MODES[form]))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    try:
        content = bytearray(encoded(form, mode, size, draw(st.integers(0, 99))))
    except (OSError, ValueError):  # Pillow does not convert to it, or does not write it
        content = bytearray(encoded(form, "RGB", size, 0))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(content) - 1)) if content else 0
        match draw(st.sampled_from(("change", "cut", "insert", "head"))):
            case "change" if content:
                content[place] = draw(st.integers(0, 255))
            case "head" if content:
                content[place % min(64, len(content))] = draw(st.sampled_from((0, 1, 127, 255)))
            case "cut":
                del content[place : place + draw(st.integers(1, 50))]
            case _:
                content[place:place] = draw(st.binary(max_size=30))
    return bytes(content)


formats_drawn = st.sampled_from((FORMATS, DEFAULT_FORMATS))

test_spoilt_files_are_read_or_told_of, test_many_spoilt_files = both(
    read_one, content=files(), formats=formats_drawn
)

SIGNATURES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1\x00\x20Exif\x00\x00", b"BM",
    b"RIFF\x20\x00\x00\x00WEBPVP8X", b"RIFF\x20\x00\x00\x00WEBPVP8L", b"GIF89a", b"II*\x00",
    b"MM\x00*", b"P6\n9 9\n255\n", b"P5 99999 99999 255 ", b"8BPS", b"%!PS-Adobe",
    b"\x00\x00\x01\x00",
)  # fmt: skip


invented = st.tuples(st.sampled_from(SIGNATURES), st.binary(max_size=400)).map(b"".join)

test_invented_files_are_read_or_told_of, test_many_invented_files = both(
    read_one, content=invented, formats=formats_drawn
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=30,
)
numbers = st.integers(-3, 260) | st.floats() | st.floats(0, 1) | st.integers()
rows = st.lists(st.lists(numbers | st.lists(numbers, max_size=4), max_size=5), max_size=5)


def any_numbers(pixels: list[Any]) -> None:
    told, array = None, None
    try:
        array = from_numbers(pixels)
    except DataError as error:
        told = error
    if array is None:
        assert len(str(told)) < 200
    else:
        assert array.dtype in (np.uint8, np.float64)
        assert array.ndim in (2, 3)
        assert array.min() >= 0
        assert array.max() <= (255 if array.dtype == np.uint8 else 1)
        assert array.tolist() == pixels
    read_one(pixels)


test_any_numbers_are_pixels_or_told_of, test_many_numbers = both(
    any_numbers,
    [[10**400, math.nan]],
    [[0.5, 10**400]],
    [[math.nan, 10**400, 0.5]],
    [[-(10**400)]],
    pixels=rows | st.lists(anything, max_size=6),
)


texts = st.text(max_size=80) | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode())

test_any_text_is_an_image_or_told_of, test_many_texts = both(read_one, content=texts)

asked = st.fixed_dictionaries(
    {},
    optional={
        "images": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "pixels": rows | anything,
                    "base64": anything,
                    "name": anything,
                    "x": anything,
                },
            )
            | anything,
            max_size=4,
        )
        | anything,
        "samples": anything,
        "seed": anything,
        "adaptive": anything,
        "rule": anything,
        "model": anything,
        "detail": anything,
        "more": anything,
    },
)


def any_json(body: bytes) -> None:
    told, found = None, None
    try:
        found = read_json(body, LIMITS)
    except Problem as problem:
        told = problem
    if told is not None:
        assert told.status in (400, 413, 422)
        assert "\n" not in told.detail
        assert len(told.detail) < 500
        assert told.response().body  # it can be encoded
        return
    assert found is not None
    images, parameters = found
    assert images
    assert set(parameters) <= {"samples", "seed", "adaptive", "rule", "model", "detail"}
    for one in images:
        read_one(one.content)


test_any_json_is_a_request_or_told_of, test_many_json = both(
    any_json,
    b"[" * 100_000,
    b"[" * 5_000,
    b'{"images":' + b'[{"pixels":' * 30_000,
    b'{"images":[{"pixels":[[' + b"1," * 50_000 + b"1]]}]}",
    b'{"images":[' + b"0," * 200_000 + b"0]}",
    b'{"images":[{"name":"' + b"\\ud800" * 100 + b'"}]}',
    b'{"samples":' + b"9" * 100_000 + b"}",
    body=(asked | anything).map(lambda x: json.dumps(x).encode()) | st.binary(max_size=60),
)


@quick
@given(
    pixels=st_numpy.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.tuples(
            st.integers(1, 9), st.integers(1, 9), st.just(3)
        )
    )
)  # fmt: skip
def test_what_was_sent_is_what_is_read(pixels: np.ndarray[Any, Any]) -> None:
    height, width = pixels.shape[:2]
    whole = Preprocessing(3 if pixels.ndim == 3 else 1, height, width)
    wanted = pixels.reshape(height, width, -1).transpose(2, 0, 1)
    sent = [pixels.tolist(), (pixels / 255.0).tolist(), png(pixels), png(pixels, "BMP")]
    sent += [base64.b64encode(png(pixels)).decode()]
    if set(np.unique(pixels)) <= {0, 1}:
        del sent[1]  # whole numbers are of 255
    found = look_at([Given("", one) for one in sent], LIMITS)
    assert [one.area for one in found] == [height * width] * len(sent)
    for image in read_found(found, whole):
        assert isinstance(image, Tensor)
        assert (image[0].numpy() == wanted).all()


def test_files_are_read_as_predict_reads_them(tmp_path: Path) -> None:
    """Deep and transparent ones too, and those so large that they are reduced in bands."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (9, 8, 4), np.uint8)
    large = np.asarray(Image.fromarray(low, "RGBA").resize((2100, 2200)))
    made = {"small.png": png(low), "large.png": png(large), "grey.png": png(large[..., 0])}
    made |= {"large.jpg": png(large[..., :3], "JPEG")}
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in made]
    found = look_at([Given("", content) for content in made.values()], Limits())
    for reduced in (None, (12, 12)):
        for channels in (1, 3):
            taken = Preprocessing(channels, 6, 6, decoding=Decoding(reduce_to=reduced))
            wanted = read_images(files, taken).images
            read = [one for one in read_found(found, taken) if isinstance(one, Tensor)]
            assert len(read) == len(files)
            assert (torch.cat(read) == wanted[:]).all()


def test_long_texts_among_numbers_take_no_memory() -> None:
    """NumPy alone would make room for the longest in each place: 40 gigabytes."""
    began = time.monotonic()
    with pytest.raises(DataError):
        from_numbers([["x" * 1_000_000, *[1] * 10_000]])
    assert time.monotonic() - began < 5


def test_a_deadline_ends_reading() -> None:
    found = look_at([Given("", png(np.zeros((3, 3))))], LIMITS)
    with pytest.raises(Problem) as told:
        read_found(found, GREY, deadline=time.monotonic() - 1)
    assert told.value.status == 504


def test_base64_of_other_tools_is_read() -> None:
    assert from_base64("QUJD\nREVG\r\n") == b"ABCDEF"
    for before in ("data:image/png;base64,", "DATA:image/PNG;BASE64,", "\n data:;base64, "):
        assert from_base64(f"{before}QUJD") == b"ABC"
    assert from_base64("data:image/png;base64,QUI%3D") == b"AB"
    for content in (b"A", b"AB", b"ABC", b"\xfb\xff\xfe", b"\xfb\xff\xfe\xfb"):
        plain, of_urls = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content)
        assert from_base64(plain) == from_base64(of_urls.decode()) == content
        assert from_base64(plain.rstrip("=")) == content
    for wrong in ("Q", "QUJDR", "Q=JD", "QUI=Q", "QUI==", "%%%%", "data:image/png,QUJD", "data:"):
        with pytest.raises(DataError, match="base64"):
            from_base64(wrong)


def test_formats_are_named_in_any_case() -> None:
    assert check_formats(["png", " Gif"]) == ("PNG", "GIF")
    with pytest.raises(UsageError, match="'SVG'"):
        check_formats(["svg"])
