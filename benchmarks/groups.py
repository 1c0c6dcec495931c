"""Near-copies: what is guaranteed with and without groups, for objects that are new.

    python benchmarks/groups.py --repeats 20

Each repeat draws objects of four classes, each seen in shifted, noisy frames, trains on them once
as if frames were independent and once by groups, and shows both models frames of new objects. The
risk that is promised may be broken in a share 1 - P of repeats.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

import nescio
from nescio.data import Dataset, ImageSet, near_copies, split

CLASSES, SIDE, SHIFT, FRAMES = 4, 24, 4, 8
OBJECTS, NEW = 300, 600
OWN = 1.6
"""How large the pattern of an object is beside that of its class, which is 0.5."""

MAX_RISK, CONFIDENCE = 0.2, 0.9
CALIBRATION, TEST = 0.3, 0.05


@dataclass(frozen=True)
class Outcome:
    """What one model does with new objects.

    Attributes:
        answered: Of their frames.
        wrong: Of the frames that are answered.
        promised: Whether a threshold was found.
    """

    answered: float
    wrong: float
    promised: bool

    @property
    def broken(self) -> bool:
        """Whether the risk is above the promised one."""
        return self.promised and self.wrong > MAX_RISK


def frames(objects: int, each: int, rng: np.random.Generator, prototypes: np.ndarray) -> ImageSet:
    """Shifted, noisy frames of new objects of each class in turn; each object is a group."""
    width = SIDE + SHIFT
    pixels = np.empty((objects, each, 1, SIDE, SIDE), np.uint8)
    for number, own in enumerate(pixels):
        thing = 0.5 * prototypes[number % CLASSES] + OWN * pattern(rng, width)
        for place, (y, x) in enumerate(rng.integers(0, SHIFT + 1, (each, 2))):
            seen = thing[y : y + SIDE, x : x + SIDE]
            noisy = 128 + 40 * seen + rng.normal(0, 8, seen.shape)
            own[place, 0] = np.clip(noisy, 0, 255)
    number = torch.arange(objects).repeat_interleave(each)
    images = torch.from_numpy(pixels.reshape(-1, 1, SIDE, SIDE))
    names = tuple("abcd")
    return ImageSet("objects", images, number % CLASSES, names, groups=number)


def pattern(rng: np.random.Generator, width: int) -> np.ndarray:
    """Smooth noise of unit size."""
    smooth = gaussian_filter(rng.normal(size=(width, width)), 2.5)
    return smooth / smooth.std()


def outcome(train: ImageSet, new: ImageSet, seed: int) -> Outcome:
    """Train, and show new objects."""
    quick = replace(nescio.DEFAULT.with_effort("quick"), calibration=CALIBRATION)
    model = nescio.fit(
        "mlp",
        Dataset("objects", train),
        recipe=quick,
        max_risk=MAX_RISK,
        max_refusal=0.02,
        confidence=CONFIDENCE,
        test=TEST,
        samples=30,
        seed=seed,
    )
    decided = model.decide(new, samples=30)
    accepted = decided.accepted
    wrong = decided.forced != new.require_labels()
    share = float(wrong[accepted].double().mean()) if bool(accepted.any()) else 0.0
    rule = model.calibrated
    return Outcome(float(accepted.double().mean()), share, rule is not None and rule.keeps_promise)


def main() -> None:
    """Repeat, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    found: dict[str, list[Outcome]] = {"one by one": [], "by groups": []}
    copies = {"one by one": 0.0, "by groups": 0.0}
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        prototypes = np.stack([pattern(rng, SIDE + SHIFT) for _ in range(CLASSES)])
        train = frames(OBJECTS, FRAMES, rng, prototypes)
        new = frames(NEW, 1, rng, prototypes)
        for how, images in (("one by one", replace(train, groups=None)), ("by groups", train)):
            found[how].append(outcome(images, new, seed))
            parts = split(Dataset("objects", images), seed=seed, calibration=CALIBRATION, test=TEST)
            copies[how] += near_copies(parts, seed).share / repeats
    print(f"{OBJECTS} objects x {FRAMES} frames, at most {MAX_RISK:.0%} wrong at {CONFIDENCE:.0%}")
    print("| counted | promised | broken | answered of new | wrong of these | near-copies |")
    print("|---|---|---|---|---|---|")
    for how, all_ in found.items():
        kept = [each for each in all_ if each.promised]
        print(
            f"| {how} | {len(kept)} of {repeats} | {sum(each.broken for each in kept)} | "
            f"{100 * np.mean([each.answered for each in all_]):.1f} % | "
            f"{100 * np.mean([each.wrong for each in kept]) if kept else 0:.1f} % | "
            f"{100 * copies[how]:.1f} % |"
        )


if __name__ == "__main__":
    main()
