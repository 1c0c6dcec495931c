"""What files are called: printable, and the way back to them."""

import io
import os
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import nescio
from nescio.names import STREAM_ERRORS, name_of, path_of, printable

ORDINARY = (
    "photo.jpg", "a/b c.png", "gr\u00fcn.png", "\u732b/\U0001f468\u200d\U0001f469.png", "a\\b.png",
    "Screenshot 3.05\u202fPM.png", "C:\\images\\x.png", "a\\\\b", "100%\\xyz.png", "\\x", "\\xE9",
)  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert name_of(name) == path_of(name) == printable(name) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"caf\xe9/gr\xfcn.png", r"caf\xe9/gr\xfcn.png"),
        (b"a\\b\xe9", r"a\\b\xe9"),
        (b"lit\\xe9.png", r"lit\\xe9.png"),
        (b"\x1b[2J.png", r"\x1b[2J.png"),
        (b"a\nb\tc", r"a\x0ab\x09c"),
        ("a\u202egnp.exe".encode(), r"a\xe2\x80\xaegnp.exe"),
        ("\x9b31m".encode(), r"\xc2\x9b31m"),
    ],
)
def test_odd_names_are_escaped_byte_by_byte(path: bytes, name: str) -> None:
    assert name_of(os.fsdecode(path)) == name
    assert os.fsencode(path_of(name)) == path


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(path=st.binary(max_size=12) | st.text("\\xe90a\n/", max_size=9).map(str.encode))
@example(b"\\\\xe9\xe9")
def test_every_name_leads_back_to_its_file(path: bytes) -> None:
    name = name_of(os.fsdecode(path))
    assert os.fsencode(path_of(name)) == path
    assert printable(name) == name
    assert name.encode().decode() == name


def test_no_two_files_have_one_name() -> None:
    paths = [b"a\xe9", b"a\\xe9", b"a\\\\xe9", b"a\\\xe9", b"a\n", b"a\\x0a"]
    assert len({name_of(os.fsdecode(path)) for path in paths}) == len(paths)


def test_half_a_pair_does_no_harm() -> None:
    assert printable("\ud800") == r"\xed\xa0\x80"


def test_a_stream_takes_what_its_encoding_lacks() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors=STREAM_ERRORS)
    stream.write("gr\u00fcn \udce9")
    stream.flush()
    assert stream.buffer.getvalue() == rb"gr\xc3\xbcn \xe9"  # type: ignore[attr-defined]


def test_errors_can_be_told_anywhere() -> None:
    assert str(nescio.DataError("caf\udce9\x1b: no such file")) == r"caf\xe9\x1b: no such file"
    assert str(nescio.DataError("two\nlines")) == "two\nlines"


def test_names_need_nothing_else() -> None:
    assert "torch" not in sys.modules["nescio.names"].__dict__
