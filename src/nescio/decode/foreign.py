"""What a file is that is no image that can be read: told by its first bytes, with the mend.

It imports nothing of ours, so that whoever reads files can use it.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

PREFIX = 4096
"""So many first bytes tell what a file is."""

_CONVERT = "convert it to PNG or JPEG"
_FRAMES = "take frames out of it, for example with ffmpeg -i FILE -vf fps=1 frame-%04d.png"
_UNPACK = "unpack it, and name the folder of images"
_WHOLE = "copy or download it again"


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Attributes:
        what: In words, with an article.
        mend: What to do about it.
        picture: Whether it is of a format that may be read, so that this one must be damaged.
    """

    what: str
    mend: str
    picture: bool = False

    def __str__(self) -> str:
        """Both, as they stand in a message."""
        return f"{self.what}; {self.mend}"


def _picture(name: str) -> Kind:
    return Kind(name, f"its beginning is damaged, so {_WHOLE}", picture=True)


EMPTY = Kind("an empty file", _WHOLE)
ZEROS = Kind("a file of zeros, as an interrupted copy leaves it", _WHOLE)
UNKNOWN = Kind("of no known kind", "only images can be read, so leave it out")
TEXT = Kind("a text file", "leave it out")
_VIDEO = Kind("a video", _FRAMES)
_SOUND = Kind("a sound file", "leave it out")
_HEIC = Kind(
    "a HEIC photograph",
    f"{_CONVERT}, for example with heif-convert (iPhones save JPEG under Settings, Camera, "
    "Formats, Most Compatible)",
)
_RAW = Kind("a raw photograph of a camera", f"develop it and {_CONVERT}")


_AT_START: tuple[tuple[Kind, tuple[bytes, ...]], ...] = (
    (_picture("a PNG image"), (b"\x89PNG\r\n\x1a\n",)),
    (_picture("a JPEG image"), (b"\xff\xd8\xff",)),
    (_picture("a GIF image"), (b"GIF87a", b"GIF89a")),
    (_RAW, (b"FUJIFILMCCD-RAW", b"IIU\x00", b"IIRO", b"IIRS")),
    (_picture("a TIFF image"), (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    (_picture("a BMP image"), (b"BM",)),
    (
        _picture("a PNM image (PBM, PGM or PPM)"),
        tuple(b"P%d%c" % (form, blank) for form in range(1, 7) for blank in b" \t\r\n"),
    ),
    (Kind("a JPEG 2000 image", _CONVERT), (b"\x00\x00\x00\x0cjP  \r\n", b"\xff\x4f\xff\x51")),
    (
        Kind("a JPEG XL image", f"{_CONVERT}, for example with djxl"),
        (b"\x00\x00\x00\x0cJXL \r\n", b"\xff\x0a"),
    ),
    (Kind("an OpenEXR image", _CONVERT), (b"v/1\x01",)),
    (Kind("a Radiance HDR image", _CONVERT), (b"#?RADIANCE",)),
    (Kind("a DDS texture", _CONVERT), (b"DDS ",)),
    (Kind("an icon (ICO)", _CONVERT), (b"\x00\x00\x01\x00",)),
    (Kind("a Photoshop file", f"{_CONVERT} in the program that made it"), (b"8BPS",)),
    (Kind("a GIMP file", f"{_CONVERT} in the program that made it"), (b"gimp xcf",)),
    (Kind("a PostScript file", _CONVERT), (b"%!PS",)),
    (
        Kind("a PDF document", "save its pages as images, for example with pdftoppm -png"),
        (b"%PDF-",),
    ),
    (
        Kind("a Git LFS pointer, not the file itself", "run git lfs pull"),
        (b"version https://git-lfs.github.com/spec/",),
    ),
    (
        Kind("a git-annex pointer, not the file itself", "run git annex get"),
        (b"/annex/objects/",),
    ),
    (Kind("a FITS file", "save its image as TIFF of 16 bits or of floats"), (b"SIMPLE  =",)),
    (Kind("an HDF5 file", "save its images as .npz or as files"), (b"\x89HDF\r\n\x1a\n",)),
    (Kind("a NumPy array", "save its images as .npz, and name that"), (b"\x93NUMPY",)),
    (Kind("a Parquet file", "name it as the data set itself"), (b"PAR1",)),
    (Kind("an Arrow file", "save it as Parquet, and name that as the data set"), (b"ARROW1",)),
    (Kind("an SQLite database", "leave it out"), (b"SQLite format 3\x00",)),
    (Kind("a zip archive, or a document in one", _UNPACK), (b"PK\x03\x04", b"PK\x05\x06")),
    (Kind("a gzip-compressed file", _UNPACK), (b"\x1f\x8b",)),
    (
        Kind("a compressed file or archive (bzip2, xz, zstd, 7z or RAR)", _UNPACK),
        (b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"),
    ),
    (
        _VIDEO,
        (
            b"\x1a\x45\xdf\xa3",
            b"\x00\x00\x01\xba",
            b"\x00\x00\x01\xb3",
            b"FLV\x01",
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        ),
    ),
    (_SOUND, (b"ID3", b"OggS", b"fLaC")),
    (
        Kind(
            "what macOS keeps beside a file (its name begins with ._)",
            "delete it, or run dot_clean",
        ),
        (b"\x00\x05\x16\x07",),
    ),
    (Kind("a folder's settings (.DS_Store)", "delete it"), (b"\x00\x00\x00\x01Bud1",)),
    (
        Kind("an old Office document, or Windows' thumbnails (Thumbs.db)", "leave it out"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
    ),
    (
        Kind("a Windows shortcut", "copy the file that it leads to"),
        (b"L\x00\x00\x00\x01\x14\x02\x00",),
    ),
    (
        Kind(
            "a property list, as iCloud leaves for a file that it holds", "download the file itself"
        ),
        (b"bplist00",),
    ),
    (Kind("a program", "leave it out"), (b"\x7fELF", b"MZ")),
)
"""By what stands first; where several fit, the first counts."""

_LATER: tuple[tuple[Kind, int, tuple[bytes, ...]], ...] = (
    (_picture("a WebP image"), 8, (b"WEBP",)),
    (_VIDEO, 8, (b"AVI ",)),
    (_SOUND, 8, (b"WAVE",)),
    (
        _HEIC,
        4,
        tuple(b"ftyp" + b for b in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")),
    ),
    (_picture("an AVIF image"), 4, (b"ftypavif", b"ftypavis")),
    (_RAW, 4, (b"ftypcrx ",)),
    (_VIDEO, 4, (b"ftyp", b"moov", b"mdat", b"wide")),
    (
        Kind("a DICOM file", f"{_CONVERT}, or to TIFF of 16 bits, for example with dcm2img"),
        128,
        (b"DICM",),
    ),
    (Kind("a NIfTI volume", "save its slices as TIFF or PNG"), 344, (b"n+1\x00", b"ni1\x00")),
    (Kind("a tar archive", "name it as the data set, with the ending .tar"), 257, (b"ustar",)),
)
"""By what stands at a later place."""

_HTML = Kind(
    "an HTML page, often an error or a login that was saved under an image's name",
    "download the file itself",
)
_SVG = Kind("an SVG drawing", "export it as PNG")
_JSON = Kind("JSON, no image", "leave it out")


def kind_of(start: bytes) -> Kind:
    """What a file is that begins with these bytes.

    Args:
        start: The first :data:`PREFIX` bytes, or all where there are fewer.
    """
    if not start:
        return EMPTY
    for kind, signatures in _AT_START:
        if start.startswith(signatures):
            return kind
    for kind, place, signatures in _LATER:
        if start.startswith(signatures, place):
            return kind
    if not start.strip(b"\x00"):
        return ZEROS
    text = _text_of(start)
    return UNKNOWN if text is None else _kind_of_text(text.lstrip().lower())


def is_image(start: bytes) -> bool:
    """Whether it begins as an image of a format that may be read."""
    return kind_of(start).picture


def _text_of(start: bytes) -> str | None:
    """What it says, where it is text."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return start.decode("utf-16", "replace")
    if any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in start):
        return None
    try:
        # Its last character may be cut.
        return codecs.getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError:
        return None


def _kind_of_text(text: str) -> Kind:
    if text.startswith(("<!doctype html", "<html", "<head", "<body")):
        return _HTML
    if text.startswith("<svg"):
        return _SVG
    if text.startswith(("<?xml", "<!--", "<!doctype")):
        return _SVG if "<svg" in text else _HTML if "<html" in text else TEXT
    return _JSON if text.startswith(("{", "[")) else TEXT
