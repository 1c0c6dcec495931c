"""How many images a second a pass over JPEG shards gives, by processes that read ahead.

python benchmarks/streaming.py --images 1000 --side 224 --workers 0 1 2

Shards of made photographs are written to a temporary folder, and read in the order of a shuffled
pass by batches of 128. Nothing is done with a batch, so this is what reading alone allows;
in training, what workers read costs the caller no time while there are cores for both.
Printed as JSON: images a second, and the seconds until the first batch, for each number of workers.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nescio.data import Reading, load, read_ahead, shuffled

BATCH = 128


def write_shards(folder: Path, count: int, side: int, size: int = 250) -> str:
    """Smooth colours with some noise, as compressible as photographs are."""
    rng = np.random.default_rng(0)
    for start in range(0, count, size):
        with tarfile.open(folder / f"set-{start // size:03d}.tar", "w") as archive:
            for i in range(start, min(start + size, count)):
                coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
                smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
                noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
                content = io.BytesIO()
                Image.fromarray(noisy).save(content, "JPEG", quality=90)
                for ending, data in (("jpg", content.getvalue()), ("cls", str(i % 2).encode())):
                    member = tarfile.TarInfo(f"{i:06d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return f"{folder}/set-*.tar"


def measure(pattern: str, side: int, workers: int) -> dict[str, float]:
    reading = Reading(stream=True, workers=workers, image_size=side, colour="rgb")
    images = load(pattern, reading=reading).train.images
    order = shuffled(images, torch.Generator().manual_seed(0))
    start = time.perf_counter()
    reads = read_ahead(images, order.split(BATCH))
    count = len(next(reads))
    first = time.perf_counter()
    count += sum(len(read) for read in reads)
    seconds = time.perf_counter() - start
    return {"images_a_second": round(count / seconds, 1), "first_batch": round(first - start, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pattern = write_shards(Path(folder), asked.images, asked.side)
        found = {str(each): measure(pattern, asked.side, each) for each in asked.workers}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
