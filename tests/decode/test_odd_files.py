"""Files that other programs, time and ill will make: read rightly, or refused in one line."""

import io
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from odd_bitmaps import bmps, gifs
from odd_files import Odd, all_odd, bomb

from nescio.decode import Measure, decode_image, look_at_image, measure, open_image
from nescio.errors import UnreadableImage

ROUNDING = 1.5
"""Of levels and of alpha of 16 bits."""


@pytest.fixture(scope="module")
def files() -> list[Odd]:
    return [*all_odd(), *bmps(), *gifs()]


def test_every_odd_file_is_read_rightly_or_refused(files: list[Odd]) -> None:
    wrong = [f"{odd.name}: {what}" for odd in files if (what := fault_of(odd))]
    assert not wrong, "\n".join(wrong)
    assert len({odd.name for odd in files}) == len(files) > 250


def fault_of(odd: Odd) -> str:
    """What is wrong with how a file is read; nothing if it is right."""
    try:
        found = decode_image(io.BytesIO(odd.content), odd.name)
    except UnreadableImage as error:
        told = str(error)
        one_line = told.startswith(f"{odd.name}: ") and "\n" not in told
        return f"refused: {told}" if odd.shown is not None or not one_line else ""
    if odd.shown is None:
        return "read, and should be refused"
    colours = found if found.ndim == 3 else np.repeat(found[..., None], 3, -1)
    shown = odd.shown if odd.shown.shape[-1] == 3 else np.repeat(odd.shown, 3, -1)
    if colours.shape != shown.shape:
        return f"{colours.shape} for {shown.shape}"
    most = np.abs(colours - shown).max()
    return f"{most:.1f} levels away" if most > ROUNDING else ""


def test_looking_decodes_nothing_and_never_fails_otherwise(files: list[Odd]) -> None:
    for odd in files:
        try:
            seen = look_at_image(io.BytesIO(odd.content), odd.name)
        except UnreadableImage:
            assert odd.shown is None, odd.name
        else:
            if odd.shown is not None:
                assert (seen.height, seen.width) == odd.shown.shape[:2], odd.name


def measured(content: io.BytesIO, name: str) -> Measure:
    with open_image(content, name) as opened:
        return measure(opened)


@pytest.mark.slow
def test_no_byte_can_be_changed_or_cut_to_harm(files: list[Odd]) -> None:
    rng, told = np.random.default_rng(0), set[str]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for odd in files:
        for _ in range(6):
            content = bytearray(odd.content)
            if content and rng.random() < 0.5:
                content = content[: rng.integers(len(content))]
            for _ in range(rng.integers(3)):
                if content:
                    content[rng.integers(len(content))] = rng.integers(256)
            for read in (decode_image, look_at_image, measured):
                try:
                    read(io.BytesIO(bytes(content)), "odd")
                except UnreadableImage as error:
                    told.add(str(error))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000  # kilobytes
    assert told
    assert not any("\n" in line for line in told)


def test_what_a_header_holds_is_told_in_a_line() -> None:
    """A TIFF may give as many bits as it likes, each for a sample; what is told stays short."""
    bits = struct.pack("<200H", *range(8, 208))
    tags = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 200, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    for samples in (1, 200):
        entries = [*tags, (273, 3, 1, 408), (277, 3, 1, samples), (279, 3, 1, 4)]
        directory = struct.pack("<H", len(entries)) + b"".join(
            struct.pack("<HHII", *entry) for entry in entries
        )
        file = struct.pack("<2sHI", b"II", 42, 412) + bits + bytes(4) + directory + bytes(4)
        with pytest.raises(UnreadableImage, match="samples") as told:
            decode_image(io.BytesIO(file), "odd.tif")
        assert len(str(told.value)) < 200


# Not ru_maxrss, which begins with what the process held that started this one.
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells it")
def test_a_bomb_takes_little_memory() -> None:
    code = (
        "import io, re, sys; from nescio.decode import *; "
        "content = sys.stdin.buffer.read(); "
        "read_image(io.BytesIO(content), Decoding(reduce_to=(128, 128))); "
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=bomb(), capture_output=True, check=True
    )
    assert int(run.stdout) < 500_000
