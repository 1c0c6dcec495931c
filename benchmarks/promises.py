"""Do the promises hold? Calibrate again and again on fresh draws whose truth is known.

    python benchmarks/promises.py --repeats 10000

Each draw is a set of familiar images as calibration sees them: their strangeness for each
class, their doubt, the answer and the truth. The promise of risk is broken when the true error
rate of what a calibration's thresholds accept is above the promised one; that may happen in a
share 1 - P of calibrations. The promise of refusals holds on average over calibrations.

Of the table of promises each row is judged by itself; and so is whoever chooses among the rows once
he has seen them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from scipy import stats
from torch import Tensor

from nescio.refusal import (
    RISKS,
    CalibratedOn,
    CalibratedRule,
    CalibrationScores,
    KeptScores,
    PromiseRow,
    calibrate,
    promise_table,
)

POPULATION = 200_000
"""Images that the truth is counted on; its error is far below what is told apart here."""

NOWHERE = CalibratedOn("simulated", 0, "", "", 1, 0, "float32")


@dataclass(frozen=True)
class World:
    """Where images are drawn from.

    Attributes:
        classes: ``C``; the first is the commonest, twice as common as the last.
        error: How often the most doubtful answers are wrong; others less.
        bumpy: Whether errors also come at low doubt, so that the risk does not just rise.
        sure: Whether doubts are small, as a good network's: of the order of a thousandth.
        noise: How often a label is wrong whatever the doubt.
        surest: How often the surest fiftieth of the answers is wrong besides.
    """

    classes: int = 3
    error: float = 0.5
    bumpy: bool = False
    sure: bool = False
    noise: float = 0.0
    surest: float = 0.0

    def draw(self, count: int, generator: torch.Generator) -> CalibrationScores:
        """``count`` independent images."""
        weights = torch.linspace(2, 1, self.classes)
        labels = torch.multinomial(weights, count, replacement=True, generator=generator)
        doubt = torch.rand(count, generator=generator)
        # Harder classes are more often wrong, and strange images more doubtful.
        chance = self.error * doubt**3 * (0.5 + labels / self.classes)
        if self.bumpy:
            chance = torch.where((doubt > 0.3) & (doubt < 0.35), 0.3, chance)
        chance = chance + self.noise + self.surest * (doubt < 0.02)
        wrong = torch.rand(count, generator=generator) < chance
        other = torch.randint(1, self.classes, (count,), generator=generator)
        top = torch.where(wrong, (labels + other) % self.classes, labels)
        strange = torch.rand(count, self.classes, generator=generator) + 0.3 * doubt[:, None]
        if self.sure:
            doubt = 0.4 * 1e-3 ** (1 - doubt)
        return CalibrationScores(strange, doubt, top, labels)


@dataclass(frozen=True)
class Outcome:
    """What repeated calibration showed.

    Attributes:
        repeats: Calibrations.
        answered: Those that found a valid threshold (for some class).
        violations: Those whose risk was above the promised one (for some class).
        refusal: The mean share refused within the budget: as unfamiliar (of the class where it is
            largest), or for both reasons where they share it.
        coverage: The mean share of familiar images accepted.
    """

    repeats: int
    answered: int
    violations: int
    refusal: float
    coverage: float

    def risk_holds(self, confidence: float) -> float:
        """The p-value of: at most a share 1 - P of calibrations breaks the promise of risk."""
        return holds(self.violations, self.repeats, confidence)


@dataclass(frozen=True)
class TableOutcome:
    """What repeated calibration showed of the table of promises.

    Attributes:
        repeats: Calibrations.
        risks: The rows.
        answered: For each row the calibrations that found a valid threshold.
        violations: For each row those whose risk was above the promised one.
        coverage: For each row the mean share of familiar images accepted.
        holes: Calibrations in which a larger error rate answers less than a smaller one.
        any_broken: Calibrations in which some row was broken.
        chosen_broken: Those in which the row was broken that a reader of the table would take: the
            smallest error rate that answers most calibration images, or the largest if none does.
    """

    repeats: int
    risks: tuple[float, ...]
    answered: tuple[int, ...]
    violations: tuple[int, ...]
    coverage: tuple[float, ...]
    holes: int
    any_broken: int
    chosen_broken: int

    def rows_hold(self, confidence: float) -> tuple[float, ...]:
        """For each row the p-value of: at most a share 1 - P of calibrations breaks it."""
        return tuple(holds(broken, self.repeats, confidence) for broken in self.violations)


def holds(violations: int, repeats: int, confidence: float) -> float:
    """The p-value of: the chance of a violation is at most 1 - P."""
    test = stats.binomtest(violations, repeats, 1 - confidence, alternative="greater")
    return float(test.pvalue)


def simulate(
    world: World,
    *,
    images: int,
    repeats: int,
    max_risk: float | None = None,
    confidence: float = 0.95,
    max_refusal: float = 0.05,
    per_class: bool = False,
    seed: int = 0,
) -> Outcome:
    """Calibrate ``repeats`` times on ``images`` fresh images."""
    generator = torch.Generator().manual_seed(seed)
    population = world.draw(POPULATION, generator)
    answered = violations = 0
    refusals = torch.zeros(world.classes if per_class else 1)
    coverage = 0.0
    for _ in range(repeats):
        rule = calibrate(
            world.draw(images, generator),
            NOWHERE,
            max_refusal=max_refusal,
            max_risk=max_risk,
            confidence=confidence,
            per_class=per_class,
        )
        familiar, accepted = answers(rule, population)
        answered += rule.keeps_promise
        if max_risk is not None:
            risks = _risks(population, accepted, per_class)
            violations += any(risk > max_risk for risk in risks)
        within = familiar if rule.frontier is None else accepted
        refusals += _refusals(population, within, per_class)
        coverage += float(accepted.float().mean())
    return Outcome(
        repeats, answered, violations, float(refusals.max()) / repeats, coverage / repeats
    )


def simulate_table(
    world: World,
    *,
    images: int,
    repeats: int,
    confidence: float = 0.95,
    max_refusal: float = 0.05,
    risks: Sequence[float] = RISKS,
    seed: int = 0,
) -> TableOutcome:
    """Make the table ``repeats`` times from ``images`` fresh images."""
    generator = torch.Generator().manual_seed(seed)
    truth = _Truth.of(world.draw(POPULATION, generator))
    answered, broken = (torch.zeros(len(risks), dtype=torch.int64) for _ in range(2))
    coverage = torch.zeros(len(risks), dtype=torch.float64)
    some = chosen = holes = 0
    for _ in range(repeats):
        table = promise_table(
            KeptScores.of(world.draw(images, generator)),
            NOWHERE,
            max_refusal=max_refusal,
            confidence=confidence,
            risks=risks,
        )
        covers, errs = truth.of_rows(table)
        bad = [rate > row.max_risk for row, rate in zip(table, errs, strict=True)]
        broken += torch.tensor(bad)
        answered += torch.tensor([row.kept for row in table])
        coverage += torch.tensor(covers)
        limits = [row.rule.doubtful[0] for row in table]
        holes += limits != sorted(limits)
        some += any(bad)
        likes = [row.coverage > 0.5 for row in table]
        chosen += bad[likes.index(True) if any(likes) else -1]
    return TableOutcome(
        repeats,
        tuple(risks),
        tuple(answered.tolist()),
        tuple(broken.tolist()),
        tuple((coverage / repeats).tolist()),
        holes,
        some,
        chosen,
    )


@dataclass(frozen=True)
class _Truth:
    """The population in the order of its doubt, so that many thresholds are judged at once."""

    strangeness: Tensor
    doubt: Tensor
    wrong: Tensor

    @staticmethod
    def of(population: CalibrationScores) -> _Truth:
        kept, order = KeptScores.of(population), population.doubt.argsort()
        return _Truth(kept.unfamiliarity[order], kept.doubt[order], kept.wrong[order])

    def of_rows(self, table: Sequence[PromiseRow]) -> tuple[list[float], list[float]]:
        """The coverage and the error rate of each row; the gate is the same for all of them."""
        passes = self.strangeness <= table[0].rule.unfamiliar[0]
        limits = torch.tensor([row.rule.doubtful[0] for row in table], dtype=self.doubt.dtype)
        below = torch.searchsorted(self.doubt, limits, right=True)
        accepted, wrong = (
            torch.cat([torch.zeros(1, dtype=torch.int64), each.cumsum(0)])[below]
            for each in (passes, passes & self.wrong)
        )
        return (accepted / len(self.doubt)).tolist(), (wrong / accepted.clamp_min(1)).tolist()


def answers(rule: CalibratedRule, population: CalibrationScores) -> tuple[Tensor, Tensor]:
    familiar = (population.unfamiliarity <= torch.tensor(rule.unfamiliar)).any(-1)
    if rule.frontier is not None:
        allowed = rule.frontier.allowed(population.unfamiliarity.min(-1).values)
        return familiar, familiar & (population.doubt <= allowed)
    limits = torch.tensor(rule.doubtful)
    limits = limits if len(limits) == 1 else limits[population.top]
    return familiar, familiar & (population.doubt <= limits)


def _risks(population: CalibrationScores, accepted: Tensor, per_class: bool) -> list[float]:
    wrong = population.top != population.labels
    classes = range(population.unfamiliarity.shape[1]) if per_class else [None]
    groups = [accepted if c is None else accepted & (population.top == c) for c in classes]
    return [float(wrong[own].float().mean()) for own in groups if bool(own.any())]


def _refusals(population: CalibrationScores, kept: Tensor, per_class: bool) -> Tensor:
    refused = (~kept).float()
    if not per_class:
        return refused.mean()[None]
    classes = population.unfamiliarity.shape[1]
    return torch.stack([refused[population.labels == c].mean() for c in range(classes)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print tables; the worlds differ from those of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("single", "table"), help="one promise, or the table")
    options = parser.parse_args(arguments)
    if options.only != "table":
        print_single(options.repeats, options.seed)
    if options.only != "single":
        print_table(options.repeats, options.seed)


def print_single(repeats: int, seed: int) -> None:
    """Calibrations for one promise each."""
    head = "world, promise, images, no threshold, risk broken, allowed, p, refused, coverage"
    print(f"| {head.replace(', ', ' | ')} |")
    print("|---" * 9 + "|")
    for name, world, per_class, images in (
        ("rising", World(), False, 1000),
        ("rising", World(error=0.2), False, 3000),
        ("bumpy", World(bumpy=True), False, 1000),
        ("rising, 5 classes", World(classes=5), True, 4000),
    ):
        result = simulate(
            world,
            images=images,
            repeats=repeats,
            max_risk=0.03,
            confidence=0.9,
            max_refusal=0.02,
            per_class=per_class,
            seed=seed,
        )
        share = result.violations / result.repeats
        print(
            f"| {name} | 3 % risk and 2 % refused{' in each class' if per_class else ''} | "
            f"{images} | {result.repeats - result.answered} | {100 * share:.2f} % | 10 % | "
            f"{result.risk_holds(0.9):.3f} | {100 * result.refusal:.3f} % | "
            f"{100 * result.coverage:.1f} % |",
            flush=True,
        )
    for images in (300, 1000, 6000):
        result = simulate(
            World(sure=True), images=images, repeats=repeats, max_refusal=0.02, seed=seed
        )
        print(
            f"| both reasons | 2 % refused together | {images} | - | - | - | - | "
            f"{100 * result.refusal:.3f} % | {100 * result.coverage:.1f} % |",
            flush=True,
        )


PLAIN = (
    ("rising", World(), 1000),
    ("rising, fewer errors", World(error=0.2), 3000),
    ("rising and falling", World(bumpy=True), 1000),
)
"""Worlds of the table of promises, and the images of each calibration."""

HARDER = (
    ("few errors, some among the surest", World(error=0.02, surest=0.05), 1000),
    ("the same, more images", World(error=0.02, surest=0.05), 6000),
    ("wrong labels", World(error=0.1, noise=0.02), 2000),
    ("many classes", World(classes=100, error=0.8), 3000),
    ("few images", World(error=0.1), 150),
    ("hardly an error", World(error=0.004), 6000),
)
"""More of them, where a promise may be lost."""


def print_table(repeats: int, seed: int, confidence: float = 0.9) -> None:
    """The table of promises, each row with ``confidence``, and with what lets all hold at once."""
    together = 1 - (1 - confidence) / len(RISKS)
    for worlds, levels in ((PLAIN, (confidence, together)), (HARDER, (confidence,))):
        for (name, world, images), each in product(worlds, levels):
            result = simulate_table(
                world,
                images=images,
                repeats=repeats,
                confidence=each,
                max_refusal=0.02,
                seed=seed,
            )
            print(f"\n{name}, {images} images, each row with {100 * each:g} % confidence:")
            print_outcome(result, each)
            sys.stdout.flush()


def print_outcome(result: TableOutcome, confidence: float) -> None:
    """A line for each row of the table, and one for all of them."""
    repeats = result.repeats
    print("| errors at most | threshold found | broken | p | coverage |\n" + "|---" * 5 + "|")
    rows = zip(
        result.risks,
        result.answered,
        result.violations,
        result.rows_hold(confidence),
        result.coverage,
        strict=True,
    )
    for risk, answered, broken, p, coverage in rows:
        print(
            f"| {100 * risk:g} % | {answered} | {100 * broken / repeats:.2f} % | {p:.3f} | "
            f"{100 * coverage:.1f} % |"
        )
    some, chosen = result.any_broken / repeats, result.chosen_broken / repeats
    print(
        f"some row broken: {100 * some:.2f} %; the chosen row: {100 * chosen:.2f} %; "
        f"a larger error rate answers less: {100 * result.holes / repeats:.2f} %"
    )


if __name__ == "__main__":
    main()
