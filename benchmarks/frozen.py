"""What computing the features of a frozen trunk once is worth; interleaved in one run.

python benchmarks/frozen.py --images 64 --passes 4 --rounds 3

The trunk is a residual network of 18 layers at 224x224 in colour, with weights as initialised
(the work is the same for any), and a head for five classes. Each round fits the head by cached
features, then by the whole network whose trunk holds still, from the same seed: the posteriors
must agree within rounding. Printed as JSON: seconds of each, medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nescio.data import ImageSet
from nescio.inference import DEFAULT, Fit, Job, fit_frozen, fit_guide

CLASSES = tuple("abcde")


class Block(nn.Module):
    """Two convolutions around which the input is carried on (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.side = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bn1(self.conv1(x)).relu_()
        return (self.bn2(self.conv2(hidden)) + self.side(x)).relu_()


class Residual(nn.Module):
    """18 layers, as wide as asked."""

    def __init__(self, width: int = 64, classes: int = len(CLASSES)) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            widths = [width, width, 2 * width, 4 * width, 8 * width]
            stages = [
                nn.Sequential(Block(a, b, 1 + (a != b)), Block(b, b, 1))
                for a, b in pairwise(widths)
            ]
            self.body = nn.Sequential(
                nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.MaxPool2d(3, 2, 1), *stages,
            )  # fmt: skip
            self.fc = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.body(x), 1).flatten(1))


class Held(Residual):
    """The same, its trunk frozen in place: what cached features must equal."""

    def __init__(self, width: int = 64) -> None:
        super().__init__(width)
        self.body.requires_grad_(False)

    def train(self, mode: bool = True) -> Held:
        super().train(mode)
        self.body.eval()
        return self


def pictures(count: int, side: int) -> ImageSet:
    """Random images in colour; each class has a tint."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % len(CLASSES)
    tints = torch.randint(0, 128, (len(CLASSES), 3, 1, 1), generator=generator)
    noise = torch.randint(0, 128, (count, 3, side, side), generator=generator)
    return ImageSet("pictures", (noise + tints[labels]).to(torch.uint8), labels, CLASSES)


def compare(
    images: int, passes: int, rounds: int, side: int = 224, width: int = 64
) -> dict[str, object]:
    """Seconds of both ways in each round, and how far the posteriors are apart."""
    train = pictures(images, side)
    recipe = replace(
        DEFAULT, epochs=passes, minimum_steps=0, batch_size=min(128, images), augment="none"
    )
    ways: dict[str, Callable[[ImageSet], Fit]] = {
        "cached": lambda data: fit_frozen(Job(Residual(width), data, replace(recipe, freeze=True))),
        "uncached": lambda data: fit_guide(Job(Held(width), data, recipe)),
    }
    for fit in ways.values():  # what is done once in a process should not count
        fit(pictures(5, 32))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    a_pass: dict[str, list[float]] = {name: [] for name in ways}
    fits: dict[str, Fit] = {}
    for _ in range(rounds):
        for name, fit in ways.items():
            start = time.perf_counter()
            fits[name] = fit(train)
            seconds[name].append(time.perf_counter() - start)
            a_pass[name].append(median(epoch.seconds for epoch in fits[name].history))
    one, other = fits["cached"].guide, fits["uncached"].guide
    apart = [float((one.loc[n] - other.loc[n]).detach().abs().max()) for n in one.loc]
    return {
        "images": images,
        "side": side,
        "passes": passes,
        "threads": torch.get_num_threads(),
        "seconds": {name: median(values) for name, values in seconds.items()},
        "seconds a pass": {name: median(values) for name, values in a_pass.items()},
        "largest mean": max(float(value.detach().abs().max()) for value in other.loc.values()),
        "means apart by": max(apart),
    }


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    json.dump(compare(chosen.images, chosen.passes, chosen.rounds), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
