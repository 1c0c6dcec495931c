"""What the default recipe is worth beyond MNIST, and with few images a class.

    python benchmarks/quality.py --out docs/quality.json

Training sets of 5, 20 and 100 images a class are drawn again and again; of each the whole way is
gone: split, fit, calibrate, judge on test images that are the same for all. The sets are colour
shapes (:mod:`nescio.data.shapes`), whose truth is known, scikit-learn's digits, and Fashion-MNIST
where its files are. What is counted is written down for each repeat; `quality_page.py` draws the
page from it. Nothing is chosen here. What a file of results already holds is not measured again, so
that the work, 45 minutes of one slow core, can be done in parts; `--fresh` begins anew, `--jobs N`
works on N training sets at once, each with one thread.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from promises import NOWHERE, answers
from torch import Tensor

import nescio
from nescio import DEFAULT, Dataset, Decisions, ImageSet, Recipe
from nescio.classifier import Promises
from nescio.cli.console import make_reporter
from nescio.data import Preprocessing, mixed_shapes, novel_shapes, shapes, striped_shapes
from nescio.devices import choose_device
from nescio.errors import DownloadError
from nescio.files import write_text
from nescio.progress import SILENT, Reporter
from nescio.refusal import CalibrationScores, calibrate
from nescio.training import library_versions

COLOUR = Preprocessing(3, 32, 32)
TEST_SEED = 0
"""Of all test images and of all strange ones; training sets have seeds of their own."""

FIRST_SEED = 1
"""Of the first training set."""

CALIBRATIONS = (16, 80, 400)
"""Images of repeated calibrations."""

MAX_RISK, CONFIDENCE = 0.05, 0.95
"""The risk that is promised in them."""

BINS = 5
"""Groups of mixed shapes, by the share of the weaker parent: 0 to a half."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        repeats: Training sets, by the images of each class in them; ``None`` for all there are.
        test: Test images of a set that is drawn.
        strange: Images of each strange set.
        recalibrations: Repeated calibrations of one fit.
        recipe: What is measured.
    """

    repeats: Mapping[int | None, int]
    test: int = 1_000
    strange: int = 500
    recalibrations: int = 200
    recipe: Recipe = DEFAULT


FULL = Sizes({5: 6, 20: 5, 100: 3, None: 2})
GUARD = Sizes({300: 6}, recipe=replace(DEFAULT, epochs=12, minimum_steps=0))
"""A short training that tests/test_quality.py repeats: `--guard` measures how it spreads."""

TINY = Sizes({5: 2}, 160, 80, 5, replace(DEFAULT, epochs=1, minimum_steps=0))
"""To see that the script runs; the figures mean nothing."""


@dataclass(frozen=True)
class World:
    """Where images come from.

    Attributes:
        name: Of the data set.
        train: A labelled training set: so many images of each class (``None``: all), by seed.
        test: Labelled images that are in no training set.
        strange: Sets to refuse, by name.
        others: Labelled sets in another look, by name.
        mixed: Shapes between two classes, if there are any.
        most: Images a class that there are at most; ``None`` where they are made.
        augment: How images are varied in training.
    """

    name: str
    train: Callable[[int | None, int], ImageSet]
    test: ImageSet
    strange: Mapping[str, ImageSet]
    others: Mapping[str, ImageSet]
    mixed: nescio.data.MixedShapes | None = None
    most: int | None = None
    augment: str = "auto"


WORLDS = ("shapes", "shapes-told", "shapes-mixed", "shapes-mixed-told", "digits", "fashion-mnist")
"""All that is measured."""

TOLD = "shift:2,rotate:180,zoom:0.2,shear:0.1,bend:0.46,colour:0.7,flip"
"""What somebody may write who knows that turn, side and colour say nothing of these shapes."""


def shapes_world(sizes: Sizes) -> World:
    def train(each: int | None, seed: int) -> ImageSet:
        assert each is not None
        return shapes(8 * each, COLOUR, seed)

    return World(
        "shapes",
        train,
        shapes(sizes.test, COLOUR, TEST_SEED),
        {"shapes-novel": novel_shapes(sizes.strange, COLOUR, TEST_SEED), **made(COLOUR, sizes)},
        {"shapes-striped": striped_shapes(sizes.strange, COLOUR, TEST_SEED)},
        mixed_shapes(sizes.strange, COLOUR, TEST_SEED),
    )


def mixed_world(sizes: Sizes) -> World:
    """Labels that are drawn: nobody can know them better than their probability."""

    def train(each: int | None, seed: int) -> ImageSet:
        assert each is not None
        return mixed_shapes(8 * each, COLOUR, seed).images

    mixed = mixed_shapes(sizes.test, COLOUR, TEST_SEED)
    return World("shapes-mixed", train, mixed.images, {}, {}, mixed)


def fixed_world(dataset: Dataset, sizes: Sizes) -> World:
    """A set that is there: test images are its own, or three tenths of each class."""
    if dataset.test is None:
        parts = nescio.split(dataset, seed=TEST_SEED, calibration=0.0, test=0.3)
        pool, test = parts.train, parts.test
    else:
        pool, test = dataset.train, dataset.test

    def train(each: int | None, seed: int) -> ImageSet:
        return pool if each is None else some_of_each(pool, each, seed)

    most = int(torch.bincount(pool.require_labels()).min())
    return World(dataset.name, train, test, made(pool.preprocessing, sizes), {}, most=most)


def made(shape: Preprocessing, sizes: Sizes) -> dict[str, ImageSet]:
    count = sizes.strange
    return {
        "noise": nescio.data.noise(count, shape, TEST_SEED),
        "letters": nescio.data.letters(count, shape, TEST_SEED),
    }


def some_of_each(images: ImageSet, each: int, seed: int) -> ImageSet:
    """So many images of each class, chosen by seed."""
    generator = np.random.default_rng(seed)
    labels = images.require_labels().numpy()
    chosen = [
        generator.permutation(np.flatnonzero(labels == c))[:each]
        for c in range(len(images.classes))
    ]
    return images.subset(torch.from_numpy(np.sort(np.concatenate(chosen))))


def worlds(names: Sequence[str], sizes: Sizes) -> tuple[list[World], dict[str, str]]:
    """Those that can be had, and why the others cannot."""
    found: list[World] = []
    missing: dict[str, str] = {}
    for name in names:
        if name == "shapes":
            found.append(shapes_world(sizes))
        elif name == "shapes-told":
            found.append(replace(shapes_world(sizes), name=name, augment=TOLD))
        elif name == "shapes-mixed":
            found.append(mixed_world(sizes))
        elif name == "shapes-mixed-told":
            found.append(replace(mixed_world(sizes), name=name, augment=TOLD))
        else:
            try:
                found.append(fixed_world(nescio.load(name), sizes))
            except DownloadError:
                missing[name] = "its files were not there and could not be fetched"
    return found, missing


def repeat(
    world: World, each: int | None, seed: int, sizes: Sizes, reporter: Reporter = SILENT
) -> dict[str, Any]:
    """Train on one training set; what was counted."""
    start = time.perf_counter()
    train = world.train(each, seed)
    data = Dataset(world.name, train, world.test)
    recipe = replace(sizes.recipe, augment=world.augment)
    classifier = nescio.fit("cnn", data, recipe=recipe, seed=seed, reporter=reporter)
    trained = time.perf_counter()
    familiar = classifier.decide(world.test)
    rule = classifier.calibrated
    assert rule is not None
    found: dict[str, Any] = {
        "seed": seed,
        "training_images": classifier.record.train_images,
        "calibration_images": classifier.record.calibration_images,
        "max_refusal": rule.max_refusal,
        "familiarity_gate": rule.familiarity_gate,
        "shared_budget": rule.frontier is not None,
        "test": labelled_counts(familiar, world.test.require_labels()),
        "strange": {
            name: strange_counts(classifier.decide(images), familiar)
            for name, images in world.strange.items()
        },
        "others": {
            name: labelled_counts(classifier.decide(images), images.require_labels())
            for name, images in world.others.items()
        },
    }
    if world.mixed is not None:
        found["mixed"] = mixed_counts(classifier.decide(world.mixed.images), world.mixed)
    if world.mixed is None or len(world.mixed.images) != len(world.test):
        found["promises"] = recalibrations(familiar, world.test.require_labels(), sizes, seed)
    found["seconds"] = {
        "training": round(trained - start, 1),
        "judging": round(time.perf_counter() - trained, 1),
    }
    return found


def labelled_counts(decisions: Decisions, labels: Tensor) -> dict[str, Any]:
    """Of images whose class is known."""
    accepted, verdicts = decisions.accepted, decisions.verdicts
    probability = decisions.probability.gather(1, labels[:, None])
    top, answer = decisions.probability.max(1)
    return {
        "images": len(labels),
        "right_forced": int((decisions.forced == labels).sum()),
        "answered": int(accepted.sum()),
        "right_answered": int((accepted & (verdicts.top == labels)).sum()),
        "ambiguous": int((verdicts.ambiguous & ~verdicts.unfamiliar).sum()),
        "unfamiliar": int(verdicts.unfamiliar.sum()),
        "nll": float(-probability.clamp_min(1e-30).log().mean()),
        # How much more often it is right than it says, over all images.
        "underconfidence": float((answer == labels).float().mean() - top.mean()),
    }


def strange_counts(decisions: Decisions, familiar: Decisions) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    scores = [own.verdicts.unfamiliarity.numpy() for own in (familiar, decisions)]
    strange = np.repeat([0, 1], [len(own) for own in scores])
    return {
        "images": len(decisions),
        "refused": decisions.refused,
        "unfamiliar": int(decisions.verdicts.unfamiliar.sum()),
        "auroc": float(roc_auc_score(strange, np.concatenate(scores))),
    }


def mixed_counts(decisions: Decisions, mixed: nescio.data.MixedShapes) -> dict[str, Any]:
    """By the share of the weaker parent; and the probabilities against the truth."""
    weaker = mixed.share.minimum(1 - mixed.share)
    verdicts = decisions.verdicts
    ambiguous = verdicts.ambiguous & ~verdicts.unfamiliar
    of_parents = verdicts.proposed.gather(1, mixed.parents)
    stronger = mixed.parents.gather(1, (mixed.share > 0.5).long()[:, None])[:, 0]
    bins = (weaker * 2 * BINS).long().clamp_max(BINS - 1)
    second = decisions.probability.gather(1, mixed.parents[:, 1:])[:, 0]
    truth = mixed.probability
    divergence = (truth * (truth / decisions.probability.clamp_min(1e-30)).log()).nansum(1)
    steps = (mixed.share * 10).long().clamp_max(9)
    return {
        "bins": [
            {
                "images": int(here.sum()),
                "ambiguous": int((here & ambiguous).sum()),
                "unfamiliar": int((here & verdicts.unfamiliar).sum()),
                "both_proposed": int((here & ambiguous & of_parents.all(1)).sum()),
                "answered": int((here & decisions.accepted).sum()),
                "answered_stronger": int(
                    (here & decisions.accepted & (verdicts.top == stronger)).sum()
                ),
            }
            for here in (bins == b for b in range(BINS))
        ],
        "probability_of_second": [float(second[steps == s].mean()) for s in range(10)],
        "mean_absolute_error": float((second - mixed.share).abs().mean()),
        "divergence": float(divergence.mean()),
        "probability_of_parents": float(
            decisions.probability.gather(1, mixed.parents).sum(1).mean()
        ),
    }


def recalibrations(
    familiar: Decisions, labels: Tensor, sizes: Sizes, seed: int
) -> list[dict[str, Any]]:
    """Calibrate one fitted network again and again on fresh familiar images.

    Each calibration is judged on the test images that it did not see.
    """
    verdicts = familiar.verdicts
    pool = CalibrationScores(
        verdicts.unfamiliarity[:, None], verdicts.ambiguity, verdicts.top, labels
    )
    generator = torch.Generator().manual_seed(seed)
    return [
        recalibrated(pool, images, promise, sizes.recalibrations, generator)
        for images in CALIBRATIONS
        if images <= len(labels) // 2
        for promise in (None, MAX_RISK)
    ]


def recalibrated(
    pool: CalibrationScores,
    images: int,
    max_risk: float | None,
    times: int,
    generator: torch.Generator,
) -> dict[str, Any]:
    refused, broken, promised = [], 0, 0
    for _ in range(times):
        order = torch.randperm(len(pool.labels), generator=generator)
        own, rest = chosen(pool, order[:images]), chosen(pool, order[images:])
        max_refusal = Promises().budget(images)
        rule = calibrate(
            own, NOWHERE, max_refusal=max_refusal, max_risk=max_risk, confidence=CONFIDENCE
        )
        passed, accepted = answers(rule, rest)
        within = passed if rule.frontier is None else accepted
        refused.append(1 - float(within.float().mean()))
        promised += rule.keeps_promise
        wrong = (rest.top != rest.labels) & accepted
        broken += max_risk is not None and int(wrong.sum()) > max_risk * int(accepted.sum())
    return {
        "images": images,
        "max_risk": max_risk,
        "max_refusal": max_refusal,
        "times": times,
        "refused": float(np.mean(refused)),
        "refused_error": float(np.std(refused, ddof=1) / np.sqrt(times)),
        "promised": promised,
        "broken": broken,
    }


def chosen(scores: CalibrationScores, index: Tensor) -> CalibrationScores:
    return CalibrationScores(
        scores.unfamiliarity[index], scores.doubt[index], scores.top[index], scores.labels[index]
    )


def cases(world: World, sizes: Sizes) -> Iterator[tuple[int | None, int]]:
    """How many images of each class, and how many training sets."""
    for each, repeats in sizes.repeats.items():
        if world.name.startswith("shapes-mixed"):
            if each == 100 or sizes is TINY:
                yield each, min(repeats, 3)
        elif world.name == "shapes-told":
            if each in (20, 100):
                yield each, min(repeats, 3)
        elif (each is None and world.most is not None and world.most < 1000) or (
            each is not None and (world.most is None or each <= world.most)
        ):
            yield each, repeats


@dataclass(frozen=True)
class Task:
    """One training set of one case."""

    data: str
    each: int | None
    seed: int


def tasks(found: Sequence[World], record: dict[str, Any], sizes: Sizes) -> list[Task]:
    """What is not measured yet, where all that is needed is there."""
    open_ones = [
        (number, Task(world.name, each, FIRST_SEED + number))
        for world in found
        for each, repeats in cases(world, sizes)
        for number in range(repeats)
        if FIRST_SEED + number not in seeds_of(case_of(record, world.name, each))
    ]
    # One training set of every case, then a second: what is known so far is whole.
    return [task for _, task in sorted(open_ones, key=lambda one: one[0])]


def seeds_of(case: dict[str, Any]) -> list[int]:
    return [done["seed"] for done in case["repeats"]]


def measure(task: Task, sizes: Sizes, reporter: Reporter = SILENT) -> tuple[dict[str, Any], int]:
    """One training set, whole; what was counted, and the processor's seconds."""
    reporter.note(f"{task.data}, {task.each or 'all'} images a class, seed {task.seed}")
    start = time.process_time()
    (world,), _ = worlds([task.data], sizes)
    found = repeat(world, task.each, task.seed, sizes, reporter)
    return found, round(time.process_time() - start)


def measured(
    todo: Sequence[Task], sizes: Sizes, jobs: int, reporter: Reporter
) -> Iterator[tuple[Task, dict[str, Any], int]]:
    """Each task with what came of it, as soon as it is done."""
    if jobs == 1:
        for task in todo:
            yield task, *measure(task, sizes, reporter)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, torch.set_num_threads, (1,)) as pool:
        running = {pool.submit(measure, task, sizes): task for task in todo}
        for done in as_completed(running):
            task = running[done]
            reporter.note(f"{task.data}, {task.each or 'all'} images a class, seed {task.seed}")
            yield task, *done.result()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=WORLDS)
    parser.add_argument("--tiny", action="store_true", help="to see that it runs")
    parser.add_argument("--guard", action="store_true", help="the short training of the slow test")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--jobs", type=int, default=1, help="training sets at once")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--out", type=Path, help="docs/quality.json, or docs/quality-guard.json")
    options = parser.parse_args(arguments)
    if options.out is None:
        name = "quality-guard.json" if options.guard else "quality.json"
        options.out = Path(__file__).parent.parent / "docs" / name
    sizes = TINY if options.tiny else GUARD if options.guard else FULL
    reporter = make_reporter(quiet=options.quiet)
    found, missing = worlds(options.data, sizes)
    record: dict[str, Any] = {"processor_seconds": 0, "cases": []}
    if options.out.exists() and not options.fresh:
        record = json.loads(options.out.read_text())
    record |= {
        "device": str(choose_device("auto")),
        "threads": torch.get_num_threads() if options.jobs == 1 else 1,
        "versions": library_versions(),
        "missing": missing,
        "max_risk": MAX_RISK,
        "confidence": CONFIDENCE,
    }
    todo = tasks(found, record, sizes)
    for task, one, seconds in measured(todo, sizes, options.jobs, reporter):
        case = case_of(record, task.data, task.each)
        case["repeats"] = sorted([*case["repeats"], one], key=lambda done: done["seed"])
        record["processor_seconds"] += seconds
        write_text(options.out, json.dumps(record, indent=1) + "\n")


def case_of(record: dict[str, Any], data: str, each: int | None) -> dict[str, Any]:
    """The case in the record, which is added if it is not there."""
    for case in record["cases"]:
        if (case["data"], case["each"]) == (data, each):
            return case
    case = {"data": data, "each": each, "repeats": []}
    record["cases"].append(case)
    return case


if __name__ == "__main__":
    main()
