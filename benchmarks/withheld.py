"""How well familiarity tells classes that a network never saw, made of training images alone.

    python benchmarks/withheld.py --data mnist --without 2,7,8 --without 0,3,5,9

Networks are trained without some classes; the threshold refuses 1 % of held-out images of the
others; counted is the share of the withheld classes that it refuses. This is what choices about
familiarity are made by: no test image and no out-of-distribution image has a part in it. Prints a
table of the weights that stages may have, and writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import nescio
from nescio.cli.console import make_reporter
from nescio.data import ImageSet
from nescio.refusal import conformal_threshold
from nescio.refusal.scores import stage_weights
from nescio.training import find_recipe

MOST_IMAGES = 1_500
"""Of each withheld class."""

WEIGHTS = ((0.05, 1.0), (0.0, 0.5), (0.25, 0.5), (1.0, 1.0))
"""Of the stages between the image and the output, and of the output; the image's own is 1."""


def without(data: ImageSet, withheld: Sequence[str]) -> tuple[ImageSet, dict[str, Tensor]]:
    """The images of the other classes, and some ``(n, K, H, W)`` of each of the withheld ones."""
    labels = data.require_labels()
    numbers = [data.classes.index(name) for name in withheld]
    left = [number for number in range(len(data.classes)) if number not in numbers]
    place = torch.full((len(data.classes),), -1)
    place[left] = torch.arange(len(left))
    kept = place[labels] >= 0
    others = ImageSet(
        data.name,
        data.images[kept],
        place[labels[kept]],
        tuple(data.classes[number] for number in left),
    )
    return others, {
        data.classes[number]: data.images[labels == number][:MOST_IMAGES] for number in numbers
    }


def weightings(stages: Sequence[str]) -> dict[str, Tensor]:
    """Weights ``(L,)`` by what they are called."""
    count = len(stages)
    chosen = {}
    for between, output in WEIGHTS:
        weights = torch.full((count,), between)
        weights[-1], weights[0] = output, 1.0
        chosen[f"between {between:g}, output {output:g}"] = weights
    alone = {f"stage {name} alone": torch.eye(count)[number] for number, name in enumerate(stages)}
    in_force = stage_weights(count)
    in_force = in_force / in_force[0]
    name = f"between {in_force[1]:.2g}, output {in_force[-1]:.2g} (in force)"
    return {name: in_force, **chosen, **alone}


def refused(
    familiar: Tensor, strange: Mapping[str, Tensor], weights: Tensor, max_refusal: float
) -> dict[str, float]:
    """The share of each strange set that is refused, from evidence ``(N, L, C)``."""

    def unfamiliarity(evidence: Tensor) -> Tensor:
        return torch.einsum("nlc,l->nc", evidence, weights).min(1).values

    threshold = conformal_threshold(unfamiliarity(familiar), max_refusal)
    return {
        name: float((unfamiliarity(evidence) > threshold).double().mean())
        for name, evidence in strange.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--without", action="append", required=True, metavar="CLASS,CLASS,...")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-refusal", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=Path("docs/withheld.json"))
    options = parser.parse_args()
    data = nescio.load(options.data).train
    recipe = replace(find_recipe("default"), epochs=options.epochs, minimum_steps=0)
    shares: dict[str, dict[str, float]] = {}
    for text in options.without:
        others, withheld = without(data, text.split(","))
        classifier = nescio.fit(
            "cnn", others, recipe=recipe, seed=options.seed, reporter=make_reporter(quiet=False)
        )
        assert classifier.familiarity is not None
        read = classifier.evidence_reader()
        parts = nescio.split(
            nescio.Dataset(others.name, others),
            seed=options.seed,
            calibration=recipe.calibration,
            test=nescio.training.TEST_FRACTION,
        )
        familiar = read(parts.calibration.images)
        strange = {name: read(images) for name, images in withheld.items()}
        for name, weights in weightings(classifier.familiarity.names).items():
            found = refused(familiar, strange, weights, options.max_refusal)
            shares.setdefault(name, {}).update(found)
    names = sorted(next(iter(shares.values())))
    print(f"| weights | {' | '.join(names)} | mean |\n|---|{'---|' * (len(names) + 1)}")
    for name, by_class in shares.items():
        cells = [f"{100 * by_class[n]:.1f}" for n in names]
        print(f"| {name} | {' | '.join(cells)} | {100 * sum(by_class.values()) / len(names):.1f} |")
    record = {
        "data": options.data,
        "without": options.without,
        "epochs": options.epochs,
        "seed": options.seed,
        "max_refusal": options.max_refusal,
        "images": MOST_IMAGES,
        "refused": shares,
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
