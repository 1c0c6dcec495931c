"""What was fitted, with what it was fitted to, as a classifier that never refuses yet."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version

import torch

from nescio.classifier import Classifier, GroupRecord, TrainingRecord
from nescio.data import Grouping, count_groups, split_fingerprint
from nescio.inference import Fit, Prior
from nescio.refusal import NeverRefuse
from nescio.training.asked import Asked
from nescio.training.prepare import Ready


def as_classifier(
    ready: Ready,
    fitted: Fit,
    asked: Asked,
    prior: Prior | None,
    precision: str,
) -> Classifier:
    """What was fitted, as a classifier that never refuses yet."""
    by_file = asked.split_file is not None
    fixed = split_fingerprint(ready.dataset, ready.splits) if by_file else ""
    names = {} if by_file else ready.dataset.part_names
    record = _record(ready, fitted, asked.seed)
    record = replace(
        record,
        parts=ready.parts,
        split_fingerprint=fixed,
        part_names=names,
        dropped=ready.dropped,
        groups=ready.dataset.train.groups,
        grouped=_group_record(ready, asked.grouping),
    )
    if ready.loaded is not None:
        record = replace(
            record, weights=ready.loaded.file, weights_fingerprint=ready.loaded.fingerprint
        )
    recipe = ready.recipe if prior is None else replace(ready.recipe, prior=str(prior))
    return Classifier(
        network=fitted.network,
        guide=fitted.guide,
        spec=ready.spec,
        preprocessing=ready.splits.train.preprocessing,
        classes=ready.dataset.classes,
        recipe=recipe,
        rule=NeverRefuse(),
        calibrated=None,
        record=record,
        precision=precision,
    )


def _record(ready: Ready, fitted: Fit, seed: int) -> TrainingRecord:
    splits, extra = ready.splits, ready.joined
    return TrainingRecord(
        data=ready.dataset.name,
        fingerprint=ready.fingerprint,
        train_images=len(splits.train),
        calibration_images=len(splits.calibration),
        test_fraction=ready.test_fraction,
        seed=seed,
        history=fitted.history,
        stopped=fitted.stopped,
        versions=library_versions(),
        diagnostics=dict(fitted.diagnostics),
        seen=torch.cat([splits.train.hashes(), splits.calibration.hashes()]),
        extra_images=0 if extra is None else len(extra),
        extra_fingerprint="" if extra is None else extra.fingerprint(),
    )


def _group_record(ready: Ready, grouping: Grouping | None) -> GroupRecord | None:
    if ready.dataset.train.groups is None:
        return None
    return GroupRecord(
        count=count_groups(ready.dataset.train),
        calibration=count_groups(ready.splits.calibration),
        pattern=None if grouping is None else grouping.pattern,
        file="" if grouping is None or grouping.file is None else grouping.file.name,
        fingerprint="" if grouping is None else grouping.fingerprint(),
    )


def library_versions() -> dict[str, str]:
    """Of what computes: nescio, PyTorch, Pyro, NumPy and Python."""
    names = {"nescio": "nescio", "torch": "torch", "pyro": "pyro-ppl", "numpy": "numpy"}
    found = {name: version(package) for name, package in names.items()}
    return {**found, "python": platform.python_version()}
