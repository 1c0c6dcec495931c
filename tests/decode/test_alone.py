"""The reader for exported models: without PyTorch, and to the pixel what ``predict`` sees."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nescio.data import Preprocessing, adapt, read_images
from nescio.decode import Decoding, read_image

ALONE = """
import json, sys
from pathlib import Path

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pyro", "scipy", "sklearn"):
            raise ImportError(f"{name} is not to be needed")

sys.meta_path.insert(0, Refuse())
import numpy as np
from nescio.decode import Decoding, read_image

told, channels, out, *files = sys.argv[1:]
decoding = Decoding.from_json(json.loads(told))
read = {Path(file).name: read_image(file, decoding, int(channels)) for file in files}
np.savez(out, **read)
assert "torch" not in sys.modules and "nescio.data" not in sys.modules
"""


def pictures() -> Iterator[tuple[str, Image.Image, dict[str, object]]]:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (30, 42, 4), np.uint8)
    colour, grey = Image.fromarray(rgba[..., :3]), Image.fromarray(rgba[..., 0])
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield f"turned{turn}.jpg", colour, {"exif": exif}
        yield f"turned{turn}.png", grey, {"exif": exif}
    yield "rgba.png", Image.fromarray(rgba), {}
    yield "la.png", Image.fromarray(rgba).convert("LA"), {}
    yield "palette.png", colour.convert("P"), {"transparency": 3}
    yield "palette.gif", colour.convert("P"), {}
    yield "deep.png", Image.fromarray(rng.integers(0, 4096, (30, 42), np.uint16)), {}
    yield "float.tif", Image.fromarray((rng.random((30, 42)) * 5000).astype(np.float32)), {}
    yield "cmyk.jpg", colour.convert("CMYK"), {}
    yield "cmyk.tif", colour.convert("CMYK"), {}
    yield "lossless.webp", Image.fromarray(rgba), {"lossless": True}
    yield "large.jpg", colour.resize((640, 480)), {"quality": 90}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, picture, options in pictures():
        picture.save(folder / name, **options)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_reader_gives_what_predict_sees(
    channels: int, files: list[Path], tmp_path: Path
) -> None:
    decoding = Decoding((0.0, 4095.0), "#ff8000", (24, 32))
    preprocessing = Preprocessing(channels, 12, 16, "crop", decoding)
    out = tmp_path / "read.npz"
    told = json.dumps(decoding.to_json())
    command = [sys.executable, "-c", ALONE, told, str(channels), str(out), *map(str, files)]
    subprocess.run(command, check=True)
    seen = read_images(files, preprocessing)
    assert seen.failures == ()
    with np.load(out) as read:
        for file, image in zip(files, seen.images, strict=True):
            pixels = read[file.name]
            assert pixels.shape[-1] == channels
            assert torch.equal(adapted(pixels, preprocessing), image), file.name
        assert read["large.jpg"].shape[:2] == (60, 80)  # 20 times as large: reduced by eight
        assert read["turned6.png"].shape[:2] == (42, 30)


def adapted(pixels: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """As the graph does it."""
    return adapt(torch.tensor(pixels).permute(2, 0, 1)[None].contiguous(), preprocessing)[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_read_can_be_written_to(files: list[Path], channels: int) -> None:
    for file in files:
        assert read_image(file, Decoding((0.0, 4095.0)), channels).flags.writeable, file


def test_a_path_may_be_text(files: list[Path]) -> None:
    assert read_image(str(files[0])).shape[-1] == 3
