"""Where the memory does not hold an image, the image is not to blame."""

import errno
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nescio.decode import decode_image, files
from nescio.decode.png import Png
from nescio.errors import OutOfMemoryError, UnreadableImage

SHORT = [
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


def png() -> io.BytesIO:
    content = io.BytesIO()
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(content, "PNG")
    return content


def failing(error: Exception) -> object:
    def bands(_: Png) -> Iterator[None]:
        raise error

    return bands


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_a_lack_of_memory_is_no_bad_file(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Png, "bands", failing(error))
    with pytest.raises(OutOfMemoryError, match=r"^x\.png: the memory does not hold it .*; free"):
        decode_image(png(), "x.png")


@pytest.mark.parametrize("error", [OSError("broken data stream"), UnreadableImage("it is cut off")])
def test_what_decoders_blame_counts_only_where_there_was_room(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Png, "bands", failing(error))
    with pytest.raises(UnreadableImage, match=str(error)):
        decode_image(png(), "x.png")
    monkeypatch.setattr(files, "_has_room", lambda count: count == 0)
    with pytest.raises(OutOfMemoryError, match="the memory does not hold it"):
        decode_image(png(), "x.png")


LIMITED = """
import io, re, resource, sys
from pathlib import Path
from nescio.decode import FORMATS, decode_image, files
from nescio.errors import OutOfMemoryError

def status():
    return Path("/proc/self/status").read_text()

paths = sorted(Path(sys.argv[1]).iterdir())
held = int(re.search(r"VmSize:\\s*(\\d+)", status())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (held + 12 * 2**20, resource.RLIM_INFINITY))
for path in paths:
    try:
        decode_image(path)
    except OutOfMemoryError as error:
        assert "\\n" not in str(error)
    else:
        raise AssertionError(path)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
for path in paths:
    assert decode_image(path).shape == (3000, 4000, 3), path
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's limits")
def test_the_system_gives_no_more_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(np.repeat(rng.integers(0, 256, (1, 4000, 3), np.uint8), 3000, 0))
    for kind, options in {
        "png": {"compress_level": 1},
        "jpg": {},
        "webp": {"quality": 10, "method": 0},
        "bmp": {},
        "tif": {"compression": "tiff_lzw"},
        "ppm": {},
    }.items():
        image.save(tmp_path / f"file.{kind}", **options)
    image.save(tmp_path / "progressive.jpg", progressive=True)
    image.quantize(16).save(tmp_path / "file.gif")
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
