"""What libtiff finds damaged is refused, and nothing but our own line is written of it."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from nescio.decode import decode_image
from nescio.errors import UnreadableImage

pytestmark = pytest.mark.skipif(not features.check("libtiff"), reason="Pillow has no libtiff")

CODED = (("group4", "1"), ("group3", "1"), ("tiff_lzw", "L"), ("packbits", "RGB"))


def coded(compression: str, mode: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "TIFF", compression=compression)
    return file.getvalue()


def damaged(content: bytes, seed: int) -> bytes:
    """Some bytes of its pixels, which lie in front of its tags, are others."""
    rng, changed = np.random.default_rng(seed), bytearray(content)
    for place in rng.integers(8, len(content) // 2, 6):
        changed[place] = rng.integers(256)
    return bytes(changed)


@pytest.mark.parametrize(("compression", "mode"), CODED, ids=[name for name, _ in CODED])
def test_damage_is_heard_and_not_written(
    compression: str, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = coded(compression, mode)
    told = []
    for seed in range(20):
        assert decode_image(io.BytesIO(whole)).shape[:2] == (40, 40)  # damage before is forgotten
        try:
            decode_image(io.BytesIO(damaged(whole, seed)), "fax.tif")
        except UnreadableImage as error:
            told.append(str(error))
    assert capfd.readouterr().err == ""
    assert not [line for line in told if not line.startswith("fax.tif: ") or "\n" in line]
    if compression == "group4":  # libtiff says so, and gives pixels all the same
        assert "fax.tif: its pixels are damaged" in told


@pytest.mark.slow
def test_a_command_tells_its_own_line_alone(model_file: Path, tmp_path: Path) -> None:
    whole = coded("group4", "1")
    for number, cut in enumerate((1, 20, 60, len(whole) // 2)):
        (tmp_path / f"{number}.tif").write_bytes(whole[:-cut])
    (tmp_path / "changed.tif").write_bytes(damaged(whole, 0))
    command = [sys.executable, "-m", "nescio", "predict", model_file, tmp_path, "--quiet"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert [line for line in run.stderr.splitlines() if not line.startswith("error: ")] == []
