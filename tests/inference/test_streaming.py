"""Training on streamed images: the posterior of images in memory, whoever reads them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import QUICK, png, small_network, stripes, write_shards, write_tar

from nescio.data import ImageSet, Reading, load
from nescio.errors import DataError
from nescio.inference import Fit, Job, fit_guide

FEW = replace(QUICK, epochs=2, minimum_steps=0, augment="none")


def fitted(train: ImageSet) -> Fit:
    return fit_guide(Job(small_network(), train, FEW))


def same(one: Fit, other: Fit) -> bool:
    pairs = zip(one.guide.parameters(), other.guide.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_same_fit_with_any_number_of_workers_and_as_in_memory(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, stripes(90, 0), size=20)
    held = fitted(load(pattern).train)
    near = [Reading(stream=True, workers=n, shuffle_buffer=30) for n in (0, 1, 2)]
    fits = [fitted(load(pattern, reading=each).train) for each in near]
    assert same(fits[0], fits[1])
    assert same(fits[0], fits[2])
    assert not same(fits[0], held)  # another order
    whole = Reading(stream=True, workers=2, shuffle_buffer=90)
    assert same(fitted(load(pattern, reading=whole).train), held)


def test_a_shard_replaced_during_training_ends_it_with_one_line(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, stripes(90, 0), size=90)
    train = load(pattern, reading=Reading(stream=True, workers=1)).train
    write_shards(tmp_path, stripes(90, 1), size=90)
    with pytest.raises(DataError, match=r"set-000\.tar: this shard has changed"):
        fitted(train)


MEASURE = """
import sys
import torch
from torch import nn
from dataclasses import replace
from nescio.data import Reading, load
from nescio.devices import peak_memory
from nescio.inference import DEFAULT, Job, fit_guide

def main():
    torch.set_num_threads(1)
    reading = Reading(stream=sys.argv[2] == "True", image_size=256, colour="rgb", memory=2**40)
    train = load(sys.argv[1], reading=reading).train
    network = nn.Sequential(nn.AvgPool2d(64), nn.Flatten(), nn.Linear(48, 2))
    recipe = replace(DEFAULT, epochs=1, minimum_steps=0, augment="none", batch_size=32)
    fit_guide(Job(network, train, recipe))
    train.fingerprint()
    print(peak_memory() // 2**20)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """Of 1,500 images of 256x256 in colour, 295 MB decoded, a stream holds a few batches."""
    flat = png(np.zeros((256, 256, 3), np.uint8)), png(np.full((256, 256, 3), 200, np.uint8))
    members = [
        (f"{i}.{ending}", content)
        for i in range(1500)
        for ending, content in (("png", flat[i % 2]), ("cls", str(i % 2).encode()))
    ]
    path = write_tar(tmp_path / "a.tar", members)
    (tmp_path / "measure.py").write_text(MEASURE)
    peak = {
        stream: int(
            subprocess.run(
                [sys.executable, tmp_path / "measure.py", str(path), str(stream)],
                check=True,
                capture_output=True,
            ).stdout
        )
        for stream in (False, True)
    }
    assert peak[True] < peak[False] - 150, peak
