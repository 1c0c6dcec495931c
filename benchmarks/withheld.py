"""What refusal makes of classes that a network never saw, measured on training images alone.

    python benchmarks/withheld.py --data mnist --without 2,7,8 --without 0,3,5,9 --without 1,4,6

Networks are trained without some classes. Of the rest some images are held out: thresholds that
refuse 1 % of them are set, errors among those answered are counted, and the share of the withheld
classes that is refused. This is what choices about familiarity and about the budget are made by: no
test image and no out-of-distribution image has a part in it. Prints a table for the weights that
stages may have and the ways to share the budget, and writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

import nescio
from nescio import Classifier
from nescio.cli.console import make_reporter
from nescio.data import ImageSet
from nescio.familiarity import Familiarity
from nescio.refusal import (
    answer,
    class_unfamiliarity,
    conformal_threshold,
    find_frontier,
    joint_probability,
)
from nescio.training import TEST_FRACTION, find_recipe

MOST_IMAGES = 1_000
"""Of each withheld class."""

SAMPLES = 20
"""Networks drawn for each image."""

MOST_DOUBT = 0.5
"""What is more doubtful is refused in any case, as by the rule."""


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


def weightings(familiarity: Familiarity) -> dict[str, Tensor]:
    """What is added to the evidence of each stage ``(L,)``, for other weights, by their names."""
    in_force = torch.tensor([stage.log_weight for stage in familiarity.stages])
    count = len(in_force)
    alone = {
        f"stage {name} alone": torch.where(torch.arange(count) == number, -in_force, -torch.inf)
        for number, name in enumerate(familiarity.names)
    }
    return {"in force": torch.zeros(count), "alike": -math.log(count) - in_force, **alone}


@dataclass(frozen=True)
class Seen:
    """Evidence ``(N, L, C)`` and probabilities ``(S, N, C)`` for ``N`` images."""

    evidence: Tensor
    probabilities: Tensor

    @staticmethod
    def by(classifier: Classifier, images: Tensor) -> Seen:
        read = classifier.evidence_reader()
        raw = ImageSet("seen", images, None, ())
        logits = torch.cat(list(classifier.stream_logits(raw, samples=SAMPLES)), 1)
        return Seen(read(images), logits.softmax(-1).cpu())

    def scores(self, more: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unfamiliarity, doubt and answers, ``(N,)`` each, as the calibrated rule has them."""
        by_class = class_unfamiliarity(self.evidence + more[:, None])
        joint = joint_probability(self.probabilities, by_class)
        top, doubt = answer(self.probabilities, joint, "error_probability")
        return by_class.min(1).values, doubt, top


Gate: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From unfamiliarity and doubt to what is refused."""


def all_to_familiarity(strange: Tensor, doubt: Tensor, share: float) -> Gate:  # noqa: ARG001
    limit = conformal_threshold(strange, share)
    return lambda u, d: (u > limit) | (d > MOST_DOUBT)


def even_split(strange: Tensor, doubt: Tensor, share: float) -> Gate:
    limit = conformal_threshold(strange, share / 2)
    most = min(MOST_DOUBT, conformal_threshold(doubt[strange <= limit], share / 2))
    return lambda u, d: (u > limit) | (d > most)


def half_and_together(strange: Tensor, doubt: Tensor, share: float) -> Gate:
    limit = conformal_threshold(strange, share / 2)
    passed = strange <= limit
    rest = together(strange[passed], doubt[passed], share / 2)
    return lambda u, d: (u > limit) | rest(u, d)


def together(strange: Tensor, doubt: Tensor, share: float) -> Gate:
    frontier = find_frontier(strange, doubt, share, MOST_DOUBT)
    assert frontier is not None
    return lambda u, d: d > frontier.allowed(u)


BUDGETS = {
    "unfamiliarity alone": all_to_familiarity,
    "half and half": even_split,
    "together": together,
    "half for the strange, the rest together (in force)": half_and_together,
}
"""The ways to share the budget."""


def judge(
    held_out: Seen, labels: Tensor, withheld: Mapping[str, Seen], weights: Tensor, share: float
) -> dict[str, dict[str, Any]]:
    """For each way to share the budget: errors answered of all, and refusals by class."""
    strange, doubt, top = held_out.scores(weights)
    wrong = top != labels
    found = {}
    for name, budget in BUDGETS.items():
        gate = budget(strange, doubt, share)
        answered = ~gate(strange, doubt)
        found[name] = {
            "errors": int(wrong.sum()),
            "errors_answered": int((wrong & answered).sum()),
            "refused": {
                digit: float(gate(*seen.scores(weights)[:2]).double().mean())
                for digit, seen in withheld.items()
            },
        }
    return found


def fitted(options: argparse.Namespace, others: ImageSet, name: str) -> Classifier:
    """The classifier for these classes; with ``--models`` it is kept, and found there again."""
    path = None if options.models is None else options.models / f"without-{name}.nescio"
    if path is not None and path.exists():
        return nescio.load_model(path)
    recipe = replace(find_recipe("default"), epochs=options.epochs, minimum_steps=0)
    classifier = nescio.fit(
        "cnn", others, recipe=recipe, seed=options.seed, reporter=make_reporter(quiet=False)
    )
    if path is not None:
        classifier.save(path)
    return classifier


def measure(options: argparse.Namespace) -> dict[str, dict[str, dict[str, Any]]]:
    """By weights and way to share the budget: errors, errors answered, refusals by class."""
    data = nescio.load(options.data).train
    total: dict[str, dict[str, dict[str, Any]]] = {}
    for text in options.without:
        others, withheld = without(data, text.split(","))
        classifier = fitted(options, others, text.replace(",", "-"))
        assert classifier.familiarity is not None
        parts = nescio.split(
            nescio.Dataset(others.name, others),
            seed=options.seed,
            calibration=classifier.recipe.calibration,
            test=TEST_FRACTION,
        )
        held_out = Seen.by(classifier, parts.calibration.images)
        labels = parts.calibration.require_labels()
        strange = {name: Seen.by(classifier, images) for name, images in withheld.items()}
        for name, weights in weightings(classifier.familiarity).items():
            found = judge(held_out, labels, strange, weights, options.max_refusal)
            for budget, counts in found.items():
                row = total.setdefault(name, {}).setdefault(
                    budget, {"images": 0, "errors": 0, "errors_answered": 0, "refused": {}}
                )
                row["images"] += len(labels)
                row["errors"] += counts["errors"]
                row["errors_answered"] += counts["errors_answered"]
                row["refused"].update(counts["refused"])
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--without", action="append", required=True, metavar="CLASS,CLASS,...")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-refusal", type=float, default=0.01)
    parser.add_argument("--models", type=Path, help="a folder to keep the networks in")
    parser.add_argument("--out", type=Path, default=Path("docs/withheld.json"))
    options = parser.parse_args()
    total = measure(options)
    print("| weights | budget | errors answered | withheld refused, mean |\n|---|---|---|---|")
    for name, budgets in total.items():
        for budget, row in budgets.items():
            shares = row["refused"].values()
            print(
                f"| {name} | {budget} | {row['errors_answered']} of {row['errors']} "
                f"({row['images']} images) | {100 * sum(shares) / len(shares):.1f} % |"
            )
    record = {
        "data": options.data,
        "without": options.without,
        "epochs": options.epochs,
        "seed": options.seed,
        "samples": SAMPLES,
        "max_refusal": options.max_refusal,
        "images": MOST_IMAGES,
        "found": total,
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
