"""Small data, networks and recipes that tests share."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torch import nn

from nescio.classifier import Classifier
from nescio.data import ImageSet
from nescio.inference import ARTICLE, DEFAULT
from nescio.refusal import CalibratedOn, CalibratedRule, NeverRefuse

SEED = int(os.environ.get("NESCIO_TEST_SEED", "0"))
"""Shifts the seeds of data and networks that are made here: what is tested holds for any."""

SIDE = 6
CLASSES = ("left", "right", "top")


def stripes(count: int, seed: int, name: str = "stripes") -> ImageSet:
    """Images with one bright half: easy to tell apart, with some noise."""
    rng = np.random.default_rng(1000 * SEED + seed)
    labels = np.arange(count) % len(CLASSES)
    pixels = rng.integers(0, 60, (count, 1, SIDE, SIDE))
    pixels[labels == 0, :, :, :3] += 150
    pixels[labels == 1, :, :, 3:] += 150
    pixels[labels == 2, :, :3, :] += 150
    images = torch.from_numpy(pixels.astype(np.uint8))
    return ImageSet(name, images, torch.from_numpy(labels), CLASSES)


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """The file there: whichever of the processes of a run asks first makes it for all."""
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path


class Told:
    """A reporter that remembers: notes, and of each task the steps, and of how much they were."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: dict[str, list[int]] = {}
        self.totals: dict[str, int | None] = {}

    @contextmanager
    def task(self, description: str, total: int | None, unit: str) -> Iterator["Step"]:
        self.steps[description], self.totals[description] = [], total
        yield Step(self.steps[description])

    def note(self, message: str) -> None:
        self.notes.append(message)

    @property
    def tasks(self) -> dict[str, tuple[int, int | None]]:
        """How much was done of each, and of how much."""
        return {name: (sum(steps), self.totals[name]) for name, steps in self.steps.items()}


class Step:
    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def advance(self, amount: int = 1, status: str = "") -> None:
        self.steps.append(amount)


def small_network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(SIDE * SIDE, 8), nn.ReLU(), nn.Linear(8, len(CLASSES))
        )


def write_folder(root: Path, images: ImageSet) -> Path:
    """The set as a folder with one subfolder a class."""
    assert images.labels is not None
    for i, (image, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
        folder = root / images.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{i:04d}.png")
    return root


QUICK = replace(
    DEFAULT,
    epochs=30,
    minimum_steps=0,
    batch_size=32,
    learning_rate=0.02,
    initial_scale=0.05,
    random="all",
    augment="none",
)
QUICK_ARTICLE = replace(ARTICLE, epochs=3, batch_size=32)


def calibrated_rule(
    unfamiliar: float = 1.0,
    doubtful: float = 0.5,
    *,
    images: int = 500,
    samples: int = 2,
    max_risk: float | None = None,
    accepted: int = 0,
) -> CalibratedRule:
    """A calibrated rule with these thresholds, bound to nothing."""
    return CalibratedRule(
        unfamiliar=(unfamiliar,),
        doubtful=(doubtful,),
        doubt="error_probability",
        max_refusal=0.01,
        frontier=None,
        max_risk=max_risk,
        confidence=0.95,
        accepted=(accepted,) if max_risk else (),
        errors=(0,) if max_risk else (),
        calibrated_on=CalibratedOn("none", images, "", "", samples, 0, "float32"),
    )


def without_familiarity(classifier: Classifier) -> Classifier:
    """As an article's recipe leaves it: it answers everything."""
    return replace(
        classifier, familiarity=None, calibrated=None, reference=None, kept=None, rule=NeverRefuse()
    )


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_shards(folder: Path, images: ImageSet, size: int = 4, names: bool = False) -> str:
    """Shards of ``size`` images, some with .cls and some with .json beside them."""
    labels = images.require_labels().tolist()
    for number, start in enumerate(range(0, len(images), size)):
        members = []
        for i in range(start, min(start + size, len(images))):
            label = images.classes[labels[i]] if names else labels[i]
            members.append((f"part/{i:05d}.PNG", png(images.images[i, 0].numpy())))
            if i % 2:
                members.append((f"part/{i:05d}.cls", str(label).encode()))
            else:
                members.append((f"part/{i:05d}.json", json.dumps({"label": label}).encode()))
        write_tar(folder / f"set-{number:03d}.tar", members)
    return f"{folder}/set-{{000..{number:03d}}}.tar"
