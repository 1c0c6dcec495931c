"""What memory does not grow with: passes, sampled networks, images that are streamed."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROGRAM = """
import sys
from dataclasses import replace
import torch
import nescio
from nescio.data import ImageSet
from nescio.devices import peak_memory

passes, samples, images = map(int, sys.argv[1:])
generator = torch.Generator().manual_seed(0)
train = ImageSet(
    "random",
    torch.randint(0, 256, (1000, 1, 28, 28), dtype=torch.uint8, generator=generator),
    torch.arange(1000) % 10,
    tuple("abcdefghij"),
)
recipe = replace(
    nescio.DEFAULT, epochs=passes, minimum_steps=0, random="all", augment="none"
)
classifier = nescio.fit("mlp", train, recipe=recipe, samples=samples, max_refusal=0.1)
# One image, repeated without a copy: the stream alone is measured.
many = torch.zeros(1, 1, 28, 28, dtype=torch.uint8).expand(images, 1, 28, 28)
seen = 0
for logits in classifier.stream_logits(ImageSet("many", many, None, ()), samples=samples):
    seen += logits.shape[1]
assert seen == images
print(peak_memory())
"""


@cache
def peak(passes: int, samples: int, images: int) -> int:
    command = [sys.executable, "-c", PROGRAM, str(passes), str(samples), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("passes", "samples"), [(20, 5), (2, 500)])
def test_memory_does_not_grow(passes: int, samples: int) -> None:
    # 100 passes' or networks' worth of weights would be 650 MB; 150 MB leave room for one
    # chunk of outputs and the allocator.
    assert peak(passes, samples, 10) - peak(2, 5, 10) < 150e6


@pytest.mark.slow
def test_a_million_images_take_the_memory_of_ten_thousand() -> None:
    # As floats they would be 3 GB.
    assert peak(2, 5, 1_000_000) < 1.2 * peak(2, 5, 10_000)


MAPPED = """
import sys, threading, time
from dataclasses import replace
from pathlib import Path
import platformdirs
import torch
from torch import nn
import nescio
from nescio.data import Dataset, ImageSet, Rows
from nescio.data.store import fetch_stored

cache, count = sys.argv[1], int(sys.argv[2])
platformdirs.user_cache_dir = lambda name: cache
SHAPE = 3, 64, 64


def anonymous():  # what a kernel cannot take back; pages of a mapped file it can
    text = Path("/proc/self/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) * 1024


def decoded():
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        noise = torch.randint(0, 60, SHAPE, dtype=torch.uint8, generator=generator)
        yield noise + (100 if i % 2 else 0)


images = Rows.of(fetch_stored(f"key{count}", count, SHAPE, decoded).images)
data = Dataset("mapped", ImageSet("mapped", images, torch.arange(count) % 2, ("dark", "light")))
most, done = [anonymous()], threading.Event()


def watch():
    while not done.wait(0.002):
        most.append(anonymous())


watching = threading.Thread(target=watch)
watching.start()
recipe = replace(nescio.DEFAULT, epochs=1, minimum_steps=0, random="all", augment="none")
network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(192, 2))
classifier = nescio.fit(
    network, data, recipe=recipe, samples=3, max_refusal=0.1, stages=["output"]
)
classifier.evaluate(data, samples=3)
done.set()
watching.join()
print(max(most))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_mapped_set_is_not_held_in_memory(tmp_path: Path) -> None:
    def peak_of(count: int) -> int:
        command = [sys.executable, "-c", MAPPED, str(tmp_path), str(count)]
        # On one thread: each has memory of its own, which would be noise here; and what is
        # freed goes back at once, or the allocator keeps tens of MB, now more and now less.
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        alone |= dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), "65536")
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=280, env=alone
        )
        return int(done.stdout)

    # 10,000 images more are 123 MB; split, trained on, described, calibrated, judged. What stays
    # is some 6 MB.
    assert peak_of(12_000) - peak_of(2_000) < 30e6
