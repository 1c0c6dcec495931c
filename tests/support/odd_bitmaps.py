"""BMP and GIF files put together from bytes, with what they show by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from odd_files import Odd

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
RED, GREEN, BLUE, NIGHT = (255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)
PALETTE = RED, GREEN, BLUE, NIGHT
TWO = BLACK, WHITE
DARK = tuple((i, i, i) for i in range(16))
RGB565, RGB555 = (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)


def bmp(
    size: tuple[int, int],
    bits: int,
    data: bytes,
    *,
    compression: int = 0,
    palette: Sequence[tuple[int, int, int]] = (),
    masks: tuple[int, ...] = (),
    header: int = 40,
    gap: int = 0,
) -> bytes:
    """Width and height, negative from the top down; more than 40 bytes of header hold the masks."""
    info = struct.pack("<Iii", header, *size)
    info += struct.pack("<HHIIiiII", 1, bits, compression, len(data), 0, 0, len(palette), 0)
    info += struct.pack(f"<{len(masks)}I", *masks).ljust(header - 40, b"\0")
    info += b"".join(bytes([*colour[::-1], 0]) for colour in palette) + bytes(gap)
    return (
        b"BM" + struct.pack("<IHHI", 14 + len(info) + len(data), 0, 0, 14 + len(info)) + info + data
    )


def of(*rows: Sequence[tuple[int, int, int]]) -> np.ndarray:
    return np.array(rows, float)


def bmps() -> Iterator[Odd]:
    two, dark = of([BLACK, WHITE, WHITE, BLACK]), of([DARK[1], DARK[15], DARK[3], DARK[0]])
    four = of([NIGHT, BLUE, GREEN, RED])
    yield Odd("two-1.bmp", bmp((4, 1), 1, b"\x60\0\0\0", palette=TWO), two)
    yield Odd("two-4.bmp", bmp((4, 1), 4, b"\x01\x10\0\0", palette=TWO), two)
    yield Odd("two-8.bmp", bmp((4, 1), 8, b"\0\1\1\0", palette=TWO), two)
    yield Odd("dark-4.bmp", bmp((4, 1), 4, b"\x1f\x30\0\0", palette=DARK), dark)
    yield Odd("dark-8.bmp", bmp((4, 1), 8, b"\x01\x0f\3\0", palette=DARK), dark)
    yield Odd("white-1.bmp", bmp((4, 1), 1, b"\x60\0\0\0", palette=TWO[::-1]), 255 - two)
    yield Odd("four-4.bmp", bmp((4, 1), 4, b"\x32\x10\0\0", palette=PALETTE), four)
    yield Odd("four-8.bmp", bmp((4, 1), 8, b"\3\2\1\0", palette=PALETTE), four)
    yield Odd("not-filled-up.bmp", bmp((4, 1), 4, b"\x32\x10", palette=PALETTE), four)
    yield Odd("cut-4.bmp", bmp((4, 1), 4, b"\x32", palette=PALETTE), None)
    yield Odd("gap.bmp", bmp((4, 1), 8, b"\3\2\1\0", palette=PALETTE, gap=6), four)
    yield Odd("beyond.bmp", bmp((2, 1), 8, b"\3\x09\0\0", palette=PALETTE), of([NIGHT, BLACK]))
    entries = b"".join(bytes(colour[::-1]) for colour in PALETTE).ljust(16 * 3, b"\0")
    core = struct.pack("<IHHHH", 12, 4, 1, 1, 4) + entries
    core = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(core)) + core
    yield Odd("os2.bmp", core + b"\x32\x10\0\0", four)
    up, down = bmp((1, 2), 24, b"\1\2\3\0\4\5\6\0"), bmp((1, -2), 24, b"\1\2\3\0\4\5\6\0")
    yield Odd("up-24.bmp", up, of([(6, 5, 4)], [(3, 2, 1)]))
    yield Odd("down-24.bmp", down, of([(3, 2, 1)], [(6, 5, 4)]))
    for kind, width in (("no-width", 0), ("left", -4)):
        yield Odd(f"{kind}.bmp", bmp((width, 1), 8, b"\0\0\0\0", palette=PALETTE), None)
    grey = tuple((i, i, i) for i in range(256))
    rows = np.arange(0, 240, 12, np.uint8).reshape(5, 4)
    levels = np.repeat(rows[..., None], 3, -1).astype(float)
    up = bmp((4, 5), 8, rows.tobytes(), palette=grey)
    yield Odd("up.bmp", up, levels[::-1])
    yield Odd("down.bmp", bmp((4, -5), 8, rows.tobytes(), palette=grey), levels)
    yield Odd("cut.bmp", up[:-5], None)
    yield Odd("header-222.bmp", up[:14] + (222).to_bytes(4, "little") + up[18:], None)
    yield Odd("palette-2^31.bmp", up[:46] + (2**31).to_bytes(4, "little") + up[50:], None)
    yield Odd("cut-palette.bmp", up[:71], None)
    yield from _packed()
    yield from _masked()


def _packed() -> Iterator[Odd]:
    """Runs of one index, pieces of several, ends of lines, and places that are passed over."""
    lines = of([RED, GREEN, BLUE, NIGHT], [GREEN] * 4)
    rle8 = bytes((4, 1, 0, 0, 0, 3, 0, 1, 2, 0, 1, 3, 0, 0, 0, 1))
    yield Odd("rle8.bmp", bmp((4, 2), 8, rle8, compression=1, palette=PALETTE), lines)
    rle4 = bytes((4, 0x11, 0, 0, 0, 4, 0x01, 0x23, 0, 0, 0, 1))
    yield Odd("rle4.bmp", bmp((4, 2), 4, rle4, compression=2, palette=PALETTE), lines)
    runs = bytes((2, 1, 2, 0, 0, 0, 0, 1))
    shown = of([WHITE, WHITE, BLACK, BLACK])
    yield Odd("rle8-two.bmp", bmp((4, 1), 8, runs, compression=1, palette=TWO), shown)
    alternating = of([DARK[1], DARK[2], DARK[1], DARK[2], DARK[1]])
    runs = bytes((5, 0x12, 0, 0, 0, 1))
    yield Odd("rle4-dark.bmp", bmp((5, 1), 4, runs, compression=2, palette=DARK), alternating)
    passed = bytes((1, 1, 0, 2, 2, 0, 1, 2, 0, 0, 4, 3, 0, 0, 0, 1))
    shown = of([NIGHT] * 4, [GREEN, RED, RED, BLUE])
    yield Odd("rle8-passed.bmp", bmp((4, 2), 8, passed, compression=1, palette=PALETTE), shown)
    for kind, runs in {
        "short": b"\4\1\0\1",
        "cut": b"\4\1\0\0\2",
        "blank": b"\4\1\0\0\0\0\0\1",
    }.items():
        made = bmp((4, 2), 8, runs, compression=1, palette=PALETTE)
        yield Odd(f"rle8-{kind}.bmp", made, None)


def _masked() -> Iterator[Odd]:
    """Colours of 16 and 32 bits, by masks and without."""
    pair = struct.pack("<HH", 0xF800 | 5, 0x7E0 | 17)
    shown = of([(255, 0, 5 * 255 / 31), (0, 255, 17 * 255 / 31)])
    yield Odd("565.bmp", bmp((2, 1), 16, pair, compression=3, masks=RGB565), shown)
    yield Odd("565-v4.bmp", bmp((2, 1), 16, pair, compression=3, masks=RGB565, header=108), shown)
    pair = struct.pack("<HH", 0x7C00 | 5, 0x3E0 | 17)
    yield Odd("555.bmp", bmp((2, 1), 16, pair), shown)
    yield Odd("555-masks.bmp", bmp((2, 1), 16, pair, compression=3, masks=RGB555), shown)
    alpha = bmp((2, 1), 16, pair, compression=3, masks=(*RGB555, 0x8000), header=108)
    yield Odd("1555.bmp", alpha, None)
    four = bmp((2, 1), 16, pair, compression=3, masks=(0xF00, 0xF0, 0xF))
    yield Odd("444.bmp", four, None)
    pair = struct.pack("<II", 0xFF102030, 0x00405060)
    plain, masks = of([(16, 32, 48), (64, 80, 96)]), (0xFF0000, 0xFF00, 0xFF)
    yield Odd("32.bmp", bmp((2, 1), 32, pair), plain)
    yield Odd("32-down.bmp", bmp((1, -2), 32, pair), plain.reshape(2, 1, 3))
    yield Odd("32-masks.bmp", bmp((2, 1), 32, pair, compression=3, masks=masks), plain)
    clear = bmp((2, 1), 32, pair, compression=3, masks=(*masks, 0xFF000000), header=124)
    yield Odd("32-alpha.bmp", clear, of([(16, 32, 48), WHITE]))
    nothing = struct.pack("<II", 0x102030, 0x405060)
    nothing = bmp((2, 1), 32, nothing, compression=3, masks=(*masks, 0xFF000000), header=124)
    yield Odd("32-no-alpha.bmp", nothing, plain)
    wide = (0x3FF00000, 0xFFC00, 0x3FF)
    yield Odd("32-10-bits.bmp", bmp((2, 1), 32, pair, compression=3, masks=wide), None)


def gif(
    canvas: tuple[int, int], *frames: bytes, palette: Sequence[tuple[int, int, int]] = PALETTE
) -> bytes:
    """Of width and height, with a palette of four colours or none."""
    screen = struct.pack("<HHBBB", *canvas, 0x81 if palette else 0, 3, 0)
    return b"GIF89a" + screen + bytes(sum(palette, ())) + b"".join(frames) + b";"


def frame(
    indices: Sequence[Sequence[int]],
    place: tuple[int, int] = (0, 0),
    *,
    palette: Sequence[tuple[int, int, int]] = (),
    woven: bool = False,
    clear: int | None = None,
    disposal: int = 0,
) -> bytes:
    """An image at left and top; ``woven`` in four passes, ``clear`` the transparent index."""
    height, width = len(indices), len(indices[0])
    order = [*range(height)]
    if woven:
        order = [*order[::8], *order[4::8], *order[2::4], *order[1::2]]
    codes = list[int]()
    for number, index in enumerate(i for row in order for i in indices[row]):
        # After a mark to begin anew each second time codes need no more than three bits.
        codes += [index] if number % 2 else [4, index]
    bits = "".join(f"{code:03b}"[::-1] for code in [*codes, 5])
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    flags = (0x81 if palette else 0) | 0x40 * woven
    control = (
        b"!\xf9\4",
        struct.pack("<BHBB", disposal << 2 | (clear is not None), 5, clear or 0, 0),
    )
    descriptor = struct.pack("<BHHHHB", 0x2C, *place, width, height, flags)
    image = b"\2" + bytes([len(data)]) + data + b"\0"
    return b"".join(control) + descriptor + bytes(sum(palette, ())) + image


def gifs() -> Iterator[Odd]:
    rows = [[0, 1, 2, 3], [3, 2, 1, 0]]
    shown = of([RED, GREEN, BLUE, NIGHT], [NIGHT, BLUE, GREEN, RED])
    whole, other = frame(rows), frame([[0, 0]], (1, 0))
    yield Odd("plain.gif", gif((4, 2), whole), shown)
    lines = [[i % 4, i // 4 % 4] for i in range(17)]
    woven = np.array(PALETTE, float)[np.array(lines)]
    yield Odd("woven.gif", gif((2, 17), frame(lines, woven=True)), woven)
    hole = of([RED, GREEN, WHITE, NIGHT], [NIGHT, WHITE, GREEN, RED])
    yield Odd("clear.gif", gif((4, 2), frame(rows, clear=2)), hole)
    yield Odd("clear-none.gif", gif((4, 2), frame(rows, clear=200)), shown)
    turned = of([NIGHT, BLUE, GREEN, RED], [RED, GREEN, BLUE, NIGHT])
    own = frame(rows, palette=PALETTE[::-1])
    yield Odd("own.gif", gif((4, 2), own), turned)
    yield Odd("only-own.gif", gif((4, 2), own, palette=()), turned)
    yield Odd("grey.gif", gif((4, 2), whole, palette=DARK[:4]), np.array(DARK, float)[rows])
    yield Odd(
        "only-own-grey.gif",
        gif((4, 2), frame(rows, palette=DARK[:4]), palette=()),
        np.array(DARK, float)[rows],
    )
    yield Odd("no-colours.gif", gif((4, 2), whole, palette=()), None)
    corner = np.full((3, 5, 3), 255.0)
    corner[1, 2:4] = GREEN, BLUE
    yield Odd("corner.gif", gif((5, 3), frame([[1, 2]], (2, 1))), corner)
    outside = np.full((3, 6, 3), 255.0)
    outside[1:, 2:] = shown
    yield Odd("outside.gif", gif((4, 2), frame(rows, (2, 1))), outside)
    yield Odd("no-canvas.gif", gif((0, 0), whole), shown)
    large = struct.pack("<BHHHHB", 0x2C, 0, 0, 20_000, 20_000, 0)
    yield Odd("bomb.gif", gif((1, 1), whole.replace(whole[8:18], large)), None)
    comment = b"!\xfe\3abc\2de\0"
    yield Odd("comment.gif", gif((4, 2), comment + whole), shown)
    for disposal in range(4):
        first = frame(rows, disposal=disposal)
        yield Odd(f"moving-{disposal}.gif", gif((4, 2), first, other, first), shown)
    yield Odd("no-frame.gif", gif((4, 2)), None)
    yield Odd("cut.gif", gif((4, 2), whole)[:-6], None)
    few = struct.pack("<BHHHHB", 0x2C, 0, 0, 4, 3, 0)
    yield Odd("too-few.gif", gif((4, 3), whole.replace(whole[8:18], few)), None)
