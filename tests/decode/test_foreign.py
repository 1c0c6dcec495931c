"""What a file is that is no image: told by its first bytes."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from nescio.decode.foreign import EMPTY, PREFIX, UNKNOWN, ZEROS, is_image, kind_of


def archive(made: str) -> bytes:
    file = io.BytesIO()
    if made == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("a.txt", "a")
    elif made == "tar":
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a.txt"))
    else:
        np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("start", "what", "mend"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "heif-convert"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC", "convert"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "a video", "ffmpeg"),
        (b"\0\0\0\x14ftypqt  ", "a video", "ffmpeg"),
        (b"\x1a\x45\xdf\xa3\x01", "a video", "ffmpeg"),
        (b"RIFF\x10\0\0\0AVI LIST", "a video", "ffmpeg"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "a sound file", "leave it out"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", "pdftoppm"),
        (b"\n<!DOCTYPE html>\n<html>", "an HTML page", "download"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html><html/>', "an HTML page", "download"),
        (b'<?xml version="1.0"?>\n<!-- x --><svg/>', "an SVG drawing", "export"),
        (b"\xef\xbb\xbf<svg xmlns=''/>", "an SVG drawing", "export"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0.jpg\n", "git-annex", "git annex get"),
        (b"\0" * 128 + b"DICM\x02\0", "a DICOM file", "convert"),
        (b"8BPS\0\x01", "a Photoshop file", "convert"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "macOS", "dot_clean"),
        (b"\0\0\0\x01Bud1", ".DS_Store", "delete"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Thumbs.db", "leave it out"),
        (b'{"a": 1}', "JSON", "leave it out"),
        (b"image,label\na.png,1\n", "a text file", "leave it out"),
        ("große Bäume\n".encode() * 400, "a text file", "leave it out"),
        ("image\n".encode("utf-16"), "a text file", "leave it out"),
        (archive("zip"), "a zip archive", "unpack"),
        (archive("tar"), "a tar archive", ".tar"),
        (archive("npy"), "a NumPy array", ".npz"),
        (b"\x1f\x8b\x08\0", "gzip", "unpack"),
        (b"PAR1\x15", "a Parquet file", "data set"),
        (b"\0" * PREFIX, "a file of zeros", "copy or download"),
        (b"", "an empty file", "copy or download"),
        (b"\x01\x02\x03\xff\xfe", "of no known kind", "leave it out"),
    ],
)
def test_what_it_is_and_what_to_do_about_it(start: bytes, what: str, mend: str) -> None:
    kind = kind_of(start[:PREFIX])
    assert what in kind.what
    assert mend in kind.mend
    assert not kind.picture
    assert str(kind) == f"{kind.what}; {kind.mend}"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_an_image_is_told_by_its_beginning(form: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(file, form)
    assert is_image(file.getvalue()[:PREFIX])
    assert "its beginning is damaged" in kind_of(file.getvalue()).mend


def test_no_beginning_is_too_odd() -> None:
    rng = np.random.default_rng(0)
    for length in (*range(1, 20), 300, PREFIX):
        for _ in range(20):
            assert kind_of(rng.bytes(length)).what
            assert kind_of(bytes(rng.integers(32, 127, length, np.uint8))).what
    assert kind_of(b"\xe2") is not kind_of(b"\xff")
    assert (kind_of(b""), kind_of(b"\0"), kind_of(b"\x80\x81")) == (EMPTY, ZEROS, UNKNOWN)


def test_avif_is_an_image() -> None:
    assert is_image(b"\0\0\0\x1cftypavif")
