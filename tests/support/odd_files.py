"""Image files as other programs, time and ill will make them; put together from bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = (
    (0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4),
    (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1),
)  # fmt: skip
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
WHITE = 255


@dataclass(frozen=True)
class Odd:
    """A file, and what it shows on white: ``None`` where it must be refused."""

    name: str
    content: bytes
    shown: np.ndarray | None


def chunk(kind: bytes, content: bytes, *, right: bool = True) -> bytes:
    check = zlib.crc32(kind + content) ^ (not right)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def scan_lines(samples: np.ndarray, bits: int, kind: int, filters: tuple[int, ...]) -> bytes:
    """Samples ``(h, w, C)``, packed and filtered line by line."""
    lines, step = b"", max(1, bits * samples.shape[-1] // 8)
    above = None
    for number, line in enumerate(samples.reshape(len(samples), -1)):
        if bits == 16:
            raw = line.astype(">u2").tobytes()
        elif bits == 8:
            raw = line.astype(np.uint8).tobytes()
        else:
            shown = ((line[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
            raw = np.packbits(shown.flatten()).tobytes()
        above = bytes(len(raw)) if above is None else above
        chosen = filters[number % len(filters)]
        lines += bytes([chosen]) + _filtered(raw, above, step, chosen)
        above = raw
    return lines


def _filtered(raw: bytes, above: bytes, step: int, kind: int) -> bytes:
    left, corner = bytes(step) + raw[:-step], bytes(step) + above[:-step]
    guess = {
        0: lambda a, b, c: 0,
        1: lambda a, b, c: a,
        2: lambda a, b, c: b,
        3: lambda a, b, c: (a + b) // 2,
        4: _paeth,
    }[kind]
    return bytes(
        (x - guess(a, b, c)) % 256 for x, a, b, c in zip(raw, left, above, corner, strict=True)
    )


def _paeth(a: int, b: int, c: int) -> int:
    near = {"a": abs(b - c), "b": abs(a - c), "c": abs(a + b - 2 * c)}
    return {"a": a, "b": b, "c": c}[min(near, key=lambda key: (near[key], key))]


def png(
    samples: np.ndarray,
    bits: int,
    kind: int,
    *,
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
    end: bool = True,
    pieces: int = 3,
) -> bytes:
    """A PNG file of samples ``(H, W, C)``, with other chunks before and after its data."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    filters = (0, 1, 2, 3, 4)
    if interlaced:
        parts = [samples[top::down, left::right] for top, down, left, right in ADAM7]
        lines = b"".join(scan_lines(part, bits, kind, filters) for part in parts if part.size)
    else:
        lines = scan_lines(samples, bits, kind, filters)
    data = zlib.compress(lines)
    cuts = [len(data) * i // pieces for i in range(pieces + 1)]
    stored = b"".join(chunk(b"IDAT", data[a:b]) for a, b in pairwise(cuts))
    content = SIGNATURE + chunk(b"IHDR", header) + before + stored + after
    return content + chunk(b"IEND", b"") * end


def random(shape: tuple[int, ...], most: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most + 1, shape)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return colours * share + WHITE * (1 - share)


def pngs() -> Iterator[Odd]:
    for (kind, depths), interlaced in (
        (each, woven)
        for each in {
            0: (1, 2, 4, 8, 16),
            2: (8, 16),
            3: (1, 2, 4, 8),
            4: (8, 16),
            6: (8, 16),
        }.items()
        for woven in (False, True)
    ):
        for bits in depths:
            for size in ((1, 1), (3, 2), (9, 13)):
                name = f"kind{kind}-{bits}bits-{size[0]}x{size[1]}{'-woven' * interlaced}.png"
                yield _of_kind(name, size, kind, bits, interlaced)
    yield from _transparent()
    yield from _dressed()
    yield from _damaged()


def _of_kind(name: str, size: tuple[int, int], kind: int, bits: int, woven: bool) -> Odd:
    samples, most = random((*size, CHANNELS[kind]), 2**bits - 1), 2**bits - 1
    before = b""
    if kind == 3:
        palette = random((2**bits, 3), 255, 1).astype(np.uint8)
        before = chunk(b"PLTE", palette.tobytes())
        shown = palette[samples[..., 0]].astype(float)
    else:
        scaled = samples / most * 255
        shown = scaled if kind in (0, 2) else on_white(scaled[..., :-1], scaled[..., -1])
    return Odd(name, png(samples, bits, kind, interlaced=woven, before=before), shown)


def _transparent() -> Iterator[Odd]:
    for bits in (1, 2, 4, 8, 16):
        most = 2**bits - 1
        samples = random((5, 7, 1), min(most, 3))
        key = int(samples[0, 0, 0])
        shown = on_white(samples / most * 255, 255.0 * (samples[..., 0] != key))
        before = chunk(b"tRNS", struct.pack(">H", key))
        yield Odd(f"grey-key-{bits}.png", png(samples, bits, 0, before=before), shown)
    for bits in (8, 16):
        most = 2**bits - 1
        samples = random((5, 7, 3), 1) * most
        key = samples[2, 3]
        clear = (samples == key).all(-1)
        before = chunk(b"tRNS", struct.pack(">HHH", *key.tolist()))
        shown = on_white(samples / most * 255, 255.0 * ~clear)
        yield Odd(f"rgb-key-{bits}.png", png(samples, bits, 2, before=before), shown)
    for entries in (1, 3, 4):
        samples = random((5, 7, 1), 3)
        palette, alpha = random((4, 3), 255, 2).astype(np.uint8), np.full(4, 255)
        alpha[:entries] = random((entries,), 255, 3)
        before = chunk(b"PLTE", palette.tobytes())
        before += chunk(b"tRNS", alpha[:entries].astype(np.uint8).tobytes())
        shown = on_white(
            palette[samples[..., 0]].astype(float), alpha[samples[..., 0]].astype(float)
        )
        yield Odd(f"palette-{entries}-clear.png", png(samples, 2, 3, before=before), shown)


def _dressed() -> Iterator[Odd]:
    """With optional chunks, harmless and otherwise; none of them changes pixels."""
    samples = random((6, 5, 3), 255)
    shown = samples.astype(float)
    bomb = zlib.compress(bytes(3_000_000))
    for name, extra in {
        "gamma": chunk(b"gAMA", struct.pack(">I", 45455)),
        "srgb": chunk(b"sRGB", b"\0"),
        "chromaticity": chunk(b"cHRM", bytes(32)),
        "large-icc": chunk(b"iCCP", b"x\0\0" + bomb),
        "broken-icc": chunk(b"iCCP", b"x\0\0nothing"),
        "large-text": chunk(b"zTXt", b"key\0\0" + bomb),
        "large-itxt": chunk(b"iTXt", b"key\0\1\0\0\0" + bomb),
        "broken-text": chunk(b"zTXt", b"key\0\0nothing"),
        "wrong-checksum": chunk(b"tEXt", b"key\0value", right=False),
        "no-exif": chunk(b"eXIf", b"nonsense"),
        "long-exif": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        "broken-exif": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x99\0\0"),
        "wrong-exif": chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03", right=False),
        "unknown": chunk(b"abCd", bytes(10)),
        "background": chunk(b"bKGD", bytes(6)),
        "physical": chunk(b"pHYs", bytes(3)),
        "histogram": chunk(b"hIST", bytes(1)),
        "time": chunk(b"tIME", b"\xff" * 7),
        "suggested": chunk(b"PLTE", bytes(30)),
        "animated": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", bytes(26)),
        "broken-animation": chunk(b"acTL", b"\0"),
    }.items():
        yield Odd(f"{name}.png", png(samples, 8, 2, before=extra), shown)
        yield Odd(f"{name}-behind.png", png(samples, 8, 2, after=extra), shown)
    yield Odd("no-end.png", png(samples, 8, 2, end=False), shown)
    yield Odd("junk-behind.png", png(samples, 8, 2) + b"junk" * 99, shown)
    yield Odd("tiny-pieces.png", png(samples, 8, 2, pieces=60), shown)


def _damaged() -> Iterator[Odd]:
    samples = random((40, 30, 3), 255)
    whole = png(samples, 8, 2, pieces=1)
    for share in (0.2, 0.5, 0.9):
        yield Odd(f"cut-{share}.png", whole[: int(len(whole) * share)], None)
    short = zlib.compress(scan_lines(samples[:20], 8, 2, (0,)))
    for name, sizes in {"zero": (0, 40), "none-high": (30, 0), "huge": (2**31, 1)}.items():
        yield Odd(f"{name}.png", _headed((*sizes, 8, 2, 0, 0, 0), short), None)
    yield Odd("rows-missing.png", _headed((30, 40, 8, 2, 0, 0, 0), short), None)
    yield Odd(
        "rows-missing-black.png", _headed((30, 40, 8, 2, 0, 0, 0), zlib.compress(bytes(99))), None
    )
    for name, header in {
        "depth": (3, 3, 3, 0, 0, 0, 0),
        "kind": (3, 3, 8, 1, 0, 0, 0),
        "kind9": (3, 3, 8, 9, 0, 0, 0),
        "deep-palette": (3, 3, 16, 3, 0, 0, 0),
        "compression": (3, 3, 8, 0, 1, 0, 0),
        "filter": (3, 3, 8, 0, 0, 1, 0),
        "interlace": (3, 3, 8, 0, 0, 0, 2),
        "no-palette": (3, 3, 8, 3, 0, 0, 0),
    }.items():
        yield Odd(f"bad-{name}.png", _headed(header, zlib.compress(bytes(400))), None)
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 255
    yield Odd("wrong-data.png", bytes(broken), None)
    yield Odd("bad-row.png", _headed((3, 1, 8, 0, 0, 0, 0), zlib.compress(b"\x09abc")), None)
    yield Odd("no-data.png", SIGNATURE + whole[8:33] + chunk(b"IEND", b""), None)
    wrong = SIGNATURE + chunk(b"IHDR", whole[16:29], right=False) + whole[33:]
    yield Odd("wrong-header.png", wrong, None)
    yield Odd("newlines.png", whole.replace(b"\r\n", b"\n", 1), None)
    yield Odd("bomb.png", _headed((11000, 8100, 8, 6, 0, 0, 0), short), None)


def bomb() -> bytes:
    """Eighty-eight million pixels with alpha in less than half a megabyte."""
    packer = zlib.compressobj(9)
    line = bytes(4 * 11000 + 1)
    data = b"".join(packer.compress(line * 100) for _ in range(80)) + packer.flush()
    return _headed((11000, 8000, 8, 6, 0, 0, 0), data)


def _headed(header: tuple[int, ...], data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", *header)
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpegs() -> Iterator[Odd]:
    colours = np.dstack([np.add.outer(np.arange(40) * 3, np.arange(56) * k) for k in (1, 2, 0)])
    image = Image.fromarray(colours.clip(0, 255).astype(np.uint8))
    for kind, options in {
        "baseline": {},
        "progressive": {"progressive": True},
        "plain": {"subsampling": 0, "quality": 97},
        "restarts": {"restart_marker_blocks": 2},
    }.items():
        for mode in ("RGB", "L", "CMYK"):
            file = io.BytesIO()
            image.convert(mode).save(file, "JPEG", **options)
            content = file.getvalue()
            shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float)
            yield from _jpeg_cases(f"{kind}-{mode.lower()}", content, shown)


def segment(code: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


def _jpeg_cases(name: str, content: bytes, shown: np.ndarray) -> Iterator[Odd]:
    yield Odd(f"{name}.jpg", content, shown)
    yield Odd(f"{name}-no-end.jpg", content[:-2], shown)
    yield Odd(f"{name}-half-end.jpg", content[:-1], shown)
    yield Odd(f"{name}-junk-behind.jpg", content + b"\xff\xd8 junk" * 20, shown)
    for share in (0.97, 0.7):
        cut = content[: int(len(content) * share)]
        yield Odd(f"{name}-cut-{share}.jpg", cut, None)
    for what, extra in {
        "exif": segment(0xE1, b"Exif\0\0nonsense"),
        "short-exif": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x05"),
        "far-exif": segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f"),
        "adobe": segment(0xEE, b"Adobe\0"),
        "jfif": segment(0xE0, b"JFIF\0\x01"),
        "mpf": segment(0xE2, b"MPF\0nonsense"),
        "icc": segment(0xE2, b"ICC_PROFILE\0\x01\x09" + bytes(60_000)) * 9,
        "comment": segment(0xFE, b"\xff\xd9" * 100),
        "photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\xff\xff"),
        "fill": b"\xff\xff\xff",
    }.items():
        yield Odd(f"{name}-{what}.jpg", content[:2] + extra + content[2:], shown)
    place = content.index(b"\xff\xc0" if b"\xff\xc0" in content else b"\xff\xc2")
    twelve = bytearray(content)
    twelve[place + 4] = 12
    flat = bytearray(content)
    flat[place + 5 : place + 7] = b"\0\0"
    lossless = bytearray(content)
    lossless[place + 1] = 0xC3
    for what, made in {"12-bits": twelve, "no-height": flat, "lossless": lossless}.items():
        yield Odd(f"{name}-{what}.jpg", bytes(made), None)


def others() -> Iterator[Odd]:
    grey = random((4, 5), 255).astype(np.uint8)
    shown = grey[..., None].astype(float)
    ascii_grey = b"P2 # a comment\n5 4\n# another\n255\n" + b" ".join(b"%d" % v for v in grey.flat)
    yield Odd("ascii.pgm", ascii_grey, shown)
    yield Odd("plain.pgm", b"P5\n5 4\n255\n" + grey.tobytes(), shown)
    deep = random((4, 5), 1000)
    for white in (1000, 4095):
        levels = deep[..., None] / white * 255
        digits = b" ".join(b"%d" % value for value in deep.flat)
        yield Odd(f"ascii-{white}.pgm", b"P2 5 4 %d\n" % white + digits, levels)
        stored = deep.astype(">u2").tobytes()
        yield Odd(f"deep-{white}.pgm", b"P5 5 4 %d\n" % white + stored, levels)
        yield Odd(f"cut-{white}.pgm", b"P5 5 4 %d\n" % white + stored[:-1], None)
    colour = random((4, 5, 3), 4095)
    stored = b"P6 5 4 4095\n" + colour.astype(">u2").tobytes()
    yield Odd("deep.ppm", stored, colour / 4095 * 255)
    yield Odd("brighter.pgm", b"P5 1 1 300\n\xff\xff", None)
    yield Odd("cut.pgm", b"P5\n5 4\n255\n" + grey.tobytes()[:-1], None)
    yield Odd(
        "bilevel.pbm",
        b"P4\n8 1\n\xa5",
        255.0 * np.array([[[0], [1], [0], [1], [1], [0], [1], [0]]]),
    )
    yield Odd("lines.pgm", b"P5\r\n5 4\r\n255\r" + grey.tobytes(), shown)
    yield Odd("first.pgm", b"P5\n1 1\n255\r\n", np.full((1, 1, 1), 10.0))
    yield Odd("two-ends.pgm", b"P5\r\n5 4\r\n255\r\n" + grey.tobytes(), None)
    yield Odd("two-ends.ppm", b"P6\r\n5 4\r\n4095\r\n" + colour.astype(">u2").tobytes(), None)
    bomb = b"P5 70000 70000 65535\n\0"
    yield Odd("bomb.pgm", bomb, None)
    yield Odd("empty", b"", None)
    for start in (
        b"GIF89a",
        b"\xff\xd8\xff\xe0",
        b"II*\0\xff\xff\xff\xff",
        b"RIFF\0\0\0\0WEBPVP8 ",
    ):
        yield Odd(f"start-{start[:3].hex()}", start, None)


def all_odd() -> list[Odd]:
    return [*pngs(), *jpegs(), *others()]
