"""What memory does not grow with: passes, sampled networks, images that are streamed."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from dataclasses import replace
import torch
import nescio
from nescio.data import ImageSet

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
try:  # unlike ru_maxrss it starts anew when a process is replaced
    status = open("/proc/self/status").read()
    print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
except OSError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


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
