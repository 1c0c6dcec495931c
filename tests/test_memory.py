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
recipe = replace(nescio.DEFAULT, epochs=passes, minimum_steps=0)
classifier = nescio.fit("mlp", train, recipe=recipe, samples=samples, max_refusal=0.1)
# One image, repeated without a copy: the stream alone is measured.
many = torch.zeros(1, 1, 28, 28, dtype=torch.uint8).expand(images, 1, 28, 28)
seen = 0
for logits in classifier.stream_logits(ImageSet("many", many, None, ()), samples=samples):
    seen += logits.shape[1]
assert seen == images
scale = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)
"""


def peak(passes: int, samples: int, images: int) -> int:
    command = [sys.executable, "-c", PROGRAM, str(passes), str(samples), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("passes", "samples", "images"), [(20, 5, 10), (2, 500, 10), (2, 5, 1_000_000)]
)
def test_memory_does_not_grow(passes: int, samples: int, images: int) -> None:
    # 100 passes' or networks' worth of weights would be 650 MB, 1,000,000 images as
    # floats 3 GB; 150 MB leave room for one chunk of outputs and the allocator.
    assert peak(passes, samples, images) - peak(2, 5, 10) < 150e6
