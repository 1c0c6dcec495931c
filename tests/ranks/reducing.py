"""Familiarity and calibration by all processes of a job, and by process 0 alone, to compare."""

import sys
from pathlib import Path

import torch

import nescio
from nescio.classifier import Promises, calibrate_classifier
from nescio.data import split
from nescio.familiarity import fit_familiarity
from nescio.ranks import SOLO, Ranks, join_ranks


def reduced(classifier: nescio.Classifier, data: Path, ranks: Ranks) -> dict[str, torch.Tensor]:
    parts = split(nescio.load(data), seed=0, calibration=0.1, test=0.15)
    familiarity = fit_familiarity(
        classifier.network,
        classifier.guide.center(),
        parts.train,
        classes=len(classifier.classes),
        ranks=ranks,
    )
    from dataclasses import replace

    known = replace(classifier, familiarity=familiarity)
    calibrated = calibrate_classifier(
        known, parts.calibration, Promises(0.05), samples=20, ranks=ranks
    )
    some = parts.test.images[:50]
    evidence = familiarity.evidence(
        known.familiarity.reader(known.network, known.guide.center()), some
    )
    kept = calibrated.kept
    return {"evidence": evidence, "reference": calibrated.reference, **kept.tensors()}


def main(model: str, data: str, folder: str) -> None:
    ranks = join_ranks("cpu")
    classifier = nescio.load_model(model, device="cpu")
    if ranks.rank == 0:
        torch.save(reduced(classifier, Path(data), SOLO), Path(folder, "reduced-0.pt"))
    found = reduced(classifier, Path(data), ranks)
    torch.save(found, Path(folder, f"reduced-{ranks.rank + 1}.pt"))


main(*sys.argv[1:])
