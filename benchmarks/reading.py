"""How long files take to be read: ten thousand small ones, and photographs of 48 megapixels.

    python benchmarks/reading.py small            # CPU seconds of reading 10,000 small files
    python benchmarks/reading.py large            # 24 photographs, beside Pillow's reduced decoding

Each prints one JSON object. To compare two versions, run it in turns, with PYTHONPATH naming the
one and the other; what it needs of nescio is older than this script. Files are made in a temporary
folder, from a seed.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from nescio.data import Preprocessing, read_images

SMALL, LARGE = 10_000, 24
SIDE = 64
REPEATS = 5


def main(what: str) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"small": small, "large": large}[what](Path(folder))))


def small(folder: Path) -> dict[str, float]:
    """PNG and JPEG of 48 to 96 pixels a side."""
    rng, files = np.random.default_rng(0), list[Path]()
    for number in range(SMALL):
        height, width = rng.integers(48, 97, 2)
        pixels = np.sort(rng.integers(0, 256, (height, width, 3), np.uint8), axis=number % 2)
        files.append(folder / f"{number}.{('png', 'jpg')[number % 2]}")
        Image.fromarray(pixels).save(files[-1])
    preprocessing = _preprocessing()
    read_images(files[:200], preprocessing)
    seconds = [cpu_seconds(lambda: read_images(files, preprocessing)) for _ in range(REPEATS)]
    return {"files": SMALL, "cpu_seconds": median(seconds), "least": min(seconds)}


def large(folder: Path) -> dict[str, float]:
    """JPEG of 8000 by 6000 pixels, with parts smooth and rough."""
    rng, coarse = np.random.default_rng(0), np.zeros((6000, 8000, 3), np.float32)
    for power in range(3, 12):
        size = 2**power, 2**power * 3 // 4
        layer = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
        coarse += np.asarray(layer.resize((8000, 6000), Image.Resampling.BICUBIC)) * 0.72**power
    noisy = coarse / 2.2 + rng.normal(scale=3, size=(6000, 8000, 1))
    picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    files = [folder / f"{number}.jpg" for number in range(LARGE)]
    picture.save(files[0], quality=92)
    for file in files[1:]:
        file.write_bytes(files[0].read_bytes())
    del coarse, noisy, picture

    def draft() -> None:
        for file in files:
            with Image.open(file) as image:
                image.draft("RGB", (2 * SIDE, 2 * SIDE))
                image.load()

    preprocessing, ours, theirs = _preprocessing(), list[float](), list[float]()
    for _ in range(REPEATS):
        theirs.append(cpu_seconds(draft))
        ours.append(cpu_seconds(lambda: read_images(files, preprocessing)))
    return {
        "files": LARGE,
        "cpu_seconds": median(ours),
        "pillow_reduced_cpu_seconds": median(theirs),
        "ratio": median(a / b for a, b in zip(ours, theirs, strict=True)),
    }


def _preprocessing() -> Preprocessing:
    """As training on such files records it."""
    try:
        from nescio.data import Decoding
    except ImportError:  # an older version, which reduces nothing
        return Preprocessing(3, SIDE, SIDE)
    return Preprocessing(3, SIDE, SIDE, decoding=Decoding(reduce_to=(2 * SIDE, 2 * SIDE)))


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process, all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main(sys.argv[1])
    print(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MiB at most", file=sys.stderr
    )
