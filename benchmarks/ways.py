"""The article's four ways to do better, one at a time and all together: a table, and JSON.

    python benchmarks/ways.py --data mnist --out docs/ways.json

The article names a convolutional network, longer optimisation, more than 100 samples and a
stricter rule. Each is tried alone and all together, with the article's objective and with the
ELBO as it is (its likelihood scaled to the whole set); nescio's own default stands below.

The article's recipe is run as it is, by the Pyro engine. What must be trained otherwise is by
default trained by the fast engine: the same objective and gradient, other random numbers and in
a part of the time (``--engine pyro`` runs all by Pyro). What is trained alike is trained once.
The forced answer is the article's, of the first ten networks, however many are drawn.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nescio
from nescio import ARTICLE, DEFAULT, Classifier, Decisions, ImageSet, Recipe
from nescio.classifier import familiar_set, shifted_sets
from nescio.classifier.judging import known_labels
from nescio.cli.console import make_reporter
from nescio.devices import choose_device
from nescio.errors import DivergenceError, DownloadError
from nescio.evaluation import summarise
from nescio.files import write_text
from nescio.progress import Reporter
from nescio.refusal import Rule
from nescio.training import library_versions

STRICTER = "0.1:0.5"
"""The article's: the 10 % quantile of a class's probabilities must exceed one half."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        passes: Over the training images, of the article's recipe.
        longer: Passes of longer optimisation.
        samples: Networks drawn.
        more: Networks of more samples.
        noise: Noise images tried.
        default: The recipe of the last row.
    """

    passes: int = 5
    longer: int = 20
    samples: int = 100
    more: int = 500
    noise: int = 1_000
    default: Recipe = DEFAULT


TINY = Sizes(1, 2, 4, 8, 50, replace(DEFAULT, epochs=1, minimum_steps=0))
"""To see that the script runs; the figures mean nothing."""


@dataclass(frozen=True)
class Training:
    """What is trained; ways with the same training share it."""

    network: str
    recipe: Recipe


@dataclass(frozen=True)
class Way:
    """One row of the table."""

    name: str
    training: Training
    samples: int
    rule: str


def ways(sizes: Sizes, engine: str = "torch") -> list[Way]:
    """All rows, in their order."""
    article = replace(ARTICLE, epochs=sizes.passes)
    fast = replace(article, engine=engine)
    elbo = replace(fast, name="elbo", scale_likelihood=True)
    rows = [
        *_four_ways("article's recipe", article, fast, sizes),
        *_four_ways("right ELBO", elbo, elbo, sizes),
    ]
    own = Training(sizes.default.network, sizes.default)
    return [*rows, Way("nescio's default recipe", own, sizes.samples, sizes.default.rule)]


def _four_ways(name: str, base: Recipe, changed: Recipe, sizes: Sizes) -> list[Way]:
    """A recipe, each of the four ways, and all together; ``changed`` is trained where it must."""
    rule, few, many = base.rule, sizes.samples, sizes.more
    as_it_is = Training("mlp", base)
    convolutional = Training("cnn", replace(changed, network="cnn"))
    longer = Training("mlp", replace(changed, epochs=sizes.longer))
    both = Training("cnn", replace(changed, network="cnn", epochs=sizes.longer))
    return [
        Way(name, as_it_is, few, rule),
        Way(f"{name}, convolutional network", convolutional, few, rule),
        Way(f"{name}, {sizes.longer} passes", longer, few, rule),
        Way(f"{name}, {many:,} samples", as_it_is, many, rule),
        Way(f"{name}, rule {STRICTER}", as_it_is, few, STRICTER),
        Way(f"{name}, all four", both, many, STRICTER),
    ]


def measure(
    rows: Sequence[Way],
    dataset: nescio.Dataset,
    ood: Sequence[nescio.Dataset],
    *,
    seed: int,
    device: str,
    reporter: Reporter,
) -> Iterator[dict[Way, dict[str, Any]]]:
    """What each way is worth: after each training the records of the ways that share it."""
    # The cheap ones first: what comes later may take an hour.
    trainings = dict.fromkeys(way.training for way in rows)
    for training in sorted(trainings, key=lambda t: (t.network != "mlp", t.recipe.epochs)):
        sharing = [way for way in rows if way.training == training]
        reporter.note(", ".join(way.name for way in sharing))
        start = time.perf_counter()
        try:
            classifier = nescio.fit(
                training.network,
                dataset,
                recipe=training.recipe,
                samples=sharing[0].samples,
                seed=seed,
                device=device,
                reporter=reporter,
            )
        except DivergenceError as error:
            yield {way: {**_describe(way), "error": str(error)} for way in sharing}
            continue
        if classifier.record.stopped == "interrupted":
            raise KeyboardInterrupt
        seconds = time.perf_counter() - start
        test = familiar_set(classifier, dataset, reporter)
        shifted = shifted_sets(classifier, ood, reporter)
        found: dict[Way, dict[str, Any]] = {}
        for samples in dict.fromkeys(way.samples for way in sharing):
            drawn = [way for way in sharing if way.samples == samples]
            judged = _judge(classifier, drawn, test, shifted, reporter)
            for way, evaluation in judged.items():
                found[way] = {
                    **_describe(way),
                    "stopped": classifier.record.stopped,
                    "training_s": round(seconds, 1),
                    "evaluation": evaluation,
                }
        yield found


def _describe(way: Way) -> dict[str, Any]:
    recipe = way.training.recipe
    return {
        "name": way.name,
        "network": way.training.network,
        "passes": recipe.epochs,
        "engine": recipe.engine,
        "scale_likelihood": recipe.scale_likelihood,
        "samples": way.samples,
        "rule": way.rule,
    }


def _judge(
    classifier: Classifier,
    drawn: Sequence[Way],
    test: ImageSet,
    shifted: Mapping[str, ImageSet],
    reporter: Reporter,
) -> dict[Way, dict[str, Any]]:
    """The evaluations of ways that draw as many networks from one posterior, drawn once."""
    rules = {way: classifier.choose_rule(way.rule) for way in drawn}
    samples = drawn[0].samples
    decisions, seconds = _decide(classifier, list(rules.values()), test, samples, reporter)
    others = {
        name: _decide(classifier, list(rules.values()), images, samples, reporter)[0]
        for name, images in shifted.items()
    }
    labels = {name: known_labels(classifier, images) for name, images in shifted.items()}
    return {
        way: summarise(
            test.name,
            test.require_labels(),
            decisions[place],
            rule,
            {name: other[place] for name, other in others.items()},
            seed=classifier.record.seed,
            seconds={test.name: round(seconds[place], 2)},
            ood_labels=labels,
        ).to_json()
        for place, (way, rule) in enumerate(rules.items())
    }


def _decide(
    classifier: Classifier,
    rules: Sequence[Rule],
    images: ImageSet,
    samples: int,
    reporter: Reporter,
) -> tuple[list[Decisions], list[float]]:
    """The decisions of each rule, and how long they would have taken with that rule alone."""
    prepared = classifier.prepare(images)
    known = any(rule.needs_evidence for rule in rules)
    evidence_of = classifier.evidence_reader() if known else lambda _: None
    parts: list[list[Decisions]] = [[] for _ in rules]
    own, shared, done = [0.0] * len(rules), 0.0, 0
    start = time.perf_counter()
    for logits in classifier.stream_logits(
        images, samples=samples, reporter=reporter, description=images.name
    ):
        evidence = evidence_of(prepared[done : done + logits.shape[1]])
        done += logits.shape[1]
        shared += time.perf_counter() - start
        for place, rule in enumerate(rules):
            start = time.perf_counter()
            parts[place].append(classifier.decide_from_logits(logits, rule, evidence))
            own[place] += time.perf_counter() - start
        start = time.perf_counter()
    return [Decisions.concatenate(part) for part in parts], [shared + seconds for seconds in own]


def table(record: Mapping[str, Any]) -> str:
    """The rows as a markdown table; shares with exact 95 % intervals."""
    ood = list(dict.fromkeys(n for row in record["rows"] for n in _ood(row)))
    head = [
        "way", "right when forced", "refused", "right when answered",
        *(f"{name} refused" for name in ood), "training, s", "prediction, s",
    ]  # fmt: skip
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [_line(row, ood) for row in record["rows"]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ood(row: Mapping[str, Any]) -> dict[str, Any]:
    return row["evaluation"]["ood"] if "evaluation" in row else {}


def _line(row: Mapping[str, Any], ood: Sequence[str]) -> list[str]:
    if "evaluation" not in row:
        return [row["name"], row["error"], *["-"] * (len(ood) + 4)]
    found = row["evaluation"]
    stopped = f" ({row['stopped']})" if row["stopped"] else ""
    coverage = found["coverage"]
    refused = {"value": 1 - coverage["value"], "low": 1 - coverage["high"]}
    refused["high"] = 1 - coverage["low"]
    others = [found["ood"].get(name) for name in ood]
    return [
        f"{row['name']}{stopped}",
        _share(found["forced_accuracy"]),
        _share(refused),
        _share(found["accepted_accuracy"]),
        *(_share(other and other["refusal_rate"]) for other in others),
        f"{row['training_s']:.0f}",
        f"{sum(found['seconds'].values()):.1f}",
    ]


def _share(interval: Mapping[str, float] | None) -> str:
    return "-" if interval is None else nescio.Interval(**interval).percent(2)


def _load_ood(names: Sequence[str], dataset: nescio.Dataset, seed: int) -> list[nescio.Dataset]:
    like = dataset.train.preprocessing
    sets = []
    for name in names:
        try:
            sets.append(nescio.load(name, labelled=False, preprocessing=like, seed=seed))
        except DownloadError as error:
            print(f"left out: {error}")
    return sets


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--ood", nargs="*", default=["noise", "notmnist"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="torch", choices=["torch", "pyro"])
    parser.add_argument(
        "--networks", nargs="*", default=["mlp", "cnn"], help="only the ways of these networks"
    )
    parser.add_argument("--tiny", action="store_true", help="to see that it runs")
    parser.add_argument("--quiet", action="store_true")
    default = Path(__file__).parent.parent / "docs" / "ways.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args(arguments)
    sizes = TINY if options.tiny else Sizes()
    dataset = nescio.load(options.data, seed=options.seed)
    named = [f"noise:{sizes.noise}" if name == "noise" else name for name in options.ood]
    record: dict[str, Any] = {
        "data": options.data,
        "seed": options.seed,
        "device": str(choose_device(options.device)),
        "versions": library_versions(),
        "rows": [],
    }
    rows = [w for w in ways(sizes, options.engine) if w.training.network in options.networks]
    found: dict[Way, dict[str, Any]] = {}
    for shared in measure(
        rows,
        dataset,
        _load_ood(named, dataset, options.seed),
        seed=options.seed,
        device=options.device,
        reporter=make_reporter(quiet=options.quiet),
    ):
        # Hours of work: what is known so far is kept whatever comes.
        found |= shared
        record["rows"] = [found[way] for way in rows if way in found]
        write_text(options.out, json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
