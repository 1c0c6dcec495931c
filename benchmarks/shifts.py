"""What models do where images are not as they were: strange sets, and corruptions by severity.

    python benchmarks/shifts.py m0.nescio m1.nescio m2.nescio --data mnist --out docs/shifts.json

Every model is judged with its own rule on the part of the data that it may be judged on, on sets
that it should refuse, and on that part corrupted. Nothing is chosen by what comes out. Networks
are drawn until a decision is settled, so that it is the decision that all would give but for a
chance of 0.001; ``--all-samples`` draws them all. Then draw it: ``benchmarks/shift_tables.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import nescio
from nescio.classifier import familiar_set
from nescio.data import CORRUPTIONS, ImageSet, all_images, parse_shift, shift_set
from nescio.data.shifts import SEVERITIES
from nescio.errors import DownloadError
from nescio.evaluation import RESAMPLES, Evaluation, summarise
from nescio.files import write_text
from nescio.refusal import Decisions
from nescio.training import library_versions

STRANGE = ("noise:10000", "blank", "constant", "checkerboard", "natural", "letters", "notmnist")
"""Sets that show none of the classes."""

REARRANGED = ("inverted", "turned", "pairs")
"""Shifts of the test images that should be refused; but a 0 that is turned is a 0 still."""

Json = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--images", type=int, help="judge so many test images, evenly taken [all]")
    parser.add_argument("--corrupted", type=int, help="corrupt so many of them [all]")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--all-samples", action="store_true")
    options = parser.parse_args(arguments)
    record = {
        "data": options.data,
        "samples": options.samples,
        "adaptive": not options.all_samples,
        "versions": library_versions(),
        "models": [],
    }
    for path in options.models:
        judged = judge_model(nescio.load_model(path), options)
        record["models"].append(judged)
        print_model(judged)
        # After every model, so that a run cut short has not been for nothing.
        if options.out is not None:
            write_text(options.out, json.dumps(record, indent=1, allow_nan=False) + "\n")


def judge_model(classifier: nescio.Classifier, options: argparse.Namespace) -> Json:
    """All figures of one model."""
    seed = classifier.record.seed

    def decide(images: ImageSet) -> Decisions:
        progress(f"seed {seed}: {images.name}, {len(images)} images")
        return classifier.decide(
            images, samples=options.samples, adaptive=not options.all_samples, seed=seed
        )

    test = evenly(familiar_set(classifier, options.data), options.images)
    few = evenly(test, options.corrupted)
    clean = decide(test)
    strange = {images.name: decide(images) for images in strange_sets(classifier, test)}
    evaluation = judgement(classifier, test, clean, strange)
    return {
        "seed": seed,
        "network": classifier.spec.name,
        "trained on": classifier.record.data,
        "images": len(test),
        "corrupted": len(few),
        "rule": classifier.rule.describe(),
        "clean": figures(evaluation),
        "ood": {name: other.to_json() for name, other in evaluation.ood.items()},
        "corruptions": {
            name: [
                {"severity": severity, **corrupted(classifier, few, f"{name}:{severity}", decide)}
                for severity in SEVERITIES
            ]
            for name in CORRUPTIONS
        },
    }


def strange_sets(classifier: nescio.Classifier, test: ImageSet) -> list[ImageSet]:
    """The sets to be refused, but those that are not on this machine."""
    seed, sets = classifier.record.seed, []
    for source in STRANGE:
        try:
            dataset = nescio.load(
                source, labelled=False, preprocessing=classifier.preprocessing, seed=seed
            )
        except DownloadError as error:
            progress(f"left out: {error}")
            continue
        sets.append(all_images(dataset))
    return sets + [shift_set(test, parse_shift(name), seed) for name in REARRANGED]


def corrupted(classifier: nescio.Classifier, test: ImageSet, text: str, decide: Any) -> Json:
    images = shift_set(test, parse_shift(text), classifier.record.seed)
    # No figure is kept that has a bootstrap.
    return figures(judgement(classifier, images, decide(images), {}, resamples=1))


def judgement(
    classifier: nescio.Classifier,
    images: ImageSet,
    decisions: Decisions,
    strange: dict[str, Decisions],
    resamples: int = RESAMPLES,
) -> Evaluation:
    return summarise(
        images.name,
        images.require_labels(),
        decisions,
        classifier.rule,
        strange,
        seed=classifier.record.seed,
        seconds={},
        resamples=resamples,
    )


def figures(evaluation: Evaluation) -> Json:
    """What of an evaluation does not hang on how many networks were drawn."""
    kept = ("n", "refused", "reasons", "forced_accuracy", "coverage", "accepted_accuracy")
    return {name: value for name, value in evaluation.to_json().items() if name in kept}


def evenly(images: ImageSet, count: int | None) -> ImageSet:
    """So many images, evenly from the first to the last: MNIST's first half is the easier."""
    if count is None or count >= len(images):
        return images
    places = torch.arange(count) * len(images) // count
    # Without the places in its image names, which no figure shows.
    return replace(images.subset(places), names=())


def print_model(judged: Json) -> None:
    """The figures as a table, in per cent."""
    print(f"\nseed {judged['seed']}, {judged['network']}, {judged['images']} test images")
    print(
        "| to be refused | images | refused | unfamiliar | AUROC | FPR95 |\n|---"
        + "|---:" * 5
        + "|"
    )
    for name, other in judged["ood"].items():
        print(
            f"| {name} | {other['n']} | {percent(other['refusal_rate'])} "
            f"| {other['reasons']['unfamiliar']} | {other['auroc']:.4f} | {other['fpr95']:.4f} |"
        )
    print("\n| test images | answered | right when answered | forced |\n|---" + "|---:" * 3 + "|")
    rows = {"as they are": judged["clean"]}
    for name, grades in judged["corruptions"].items():
        rows |= {f"{name} {grade['severity']}": grade for grade in grades}
    for name, row in rows.items():
        cells = (percent(row[key]) for key in ("coverage", "accepted_accuracy", "forced_accuracy"))
        print(f"| {name} | {' | '.join(cells)} |")


def percent(share: Json | None) -> str:
    return "-" if share is None else nescio.Interval(**share).percent(2)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
