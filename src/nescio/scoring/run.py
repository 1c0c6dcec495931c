"""Score everything that sources name, by all processes of a job, into one file.

Pieces that are not done yet are dealt out to the processes; each writes a part for every piece; the
first process joins the parts. Nothing but the folder of parts is remembered, so a run that was
killed goes on, with as many processes as one likes, and no image is lost or answered twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import nescio
from nescio.classifier import Classifier, Predictor
from nescio.classifier.fingerprint import posterior_digest
from nescio.data import NOTHING, Remarks
from nescio.data.shard_index import describe_left
from nescio.devices import choose_precision
from nescio.errors import DataError
from nescio.files import atomic_path, claimed
from nescio.names import name_of
from nescio.progress import SILENT, Reporter
from nescio.ranks import SOLO, Ranks, agree, exchange, together
from nescio.refusal import Decisions, Rule
from nescio.scoring.answers import Answers
from nescio.scoring.batches import Batch
from nescio.scoring.formats import choose_format
from nescio.scoring.parts import Counts, Part, PartsFolder, explained
from nescio.scoring.sources import Plan, open_plan
from nescio.scoring.watch import Watch
from nescio.scoring.writing import Format

KEEP = 2**28
"""Bytes of drawn networks that are kept for the whole run: 256 MiB."""

ASK_SECONDS = 0.2
"""How often a process that is done looks whether the others are."""


@dataclass(frozen=True)
class Settings:
    """What is to be decided, and how.

    Attributes:
        rule: By which.
        samples: How many networks are drawn; with ``adaptive`` at most.
        adaptive: Draw no more for an image than its decision needs.
        seed: Of the networks; ``None`` for the one that the model was fitted with.
        resume: Go on with an earlier run.
        force: Begin anew, whatever is there.
        skip_unreadable: Leave out folders that cannot be opened.
        image_column: Of Parquet files, the column of images; ``None`` to find it.
    """

    rule: Rule
    samples: int = 100
    adaptive: bool = True
    seed: int | None = None
    resume: bool = False
    force: bool = False
    skip_unreadable: bool = False
    image_column: str | None = None


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        counts: What became of all images.
        first_error: Why the first image that could not be read was not; empty where all were.
    """

    counts: Counts
    first_error: str = ""


def score(
    classifier: Classifier,
    sources: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    ranks: Ranks = SOLO,
    reporter: Reporter = SILENT,
) -> Result:
    """Decide for every image of all sources, and write the answers in input order.

    Args:
        classifier: What decides.
        sources: Files, folders, data sets, shards, Parquet files.
        out: Where the answers go: ``.csv``, ``.jsonl`` or ``.parquet``.
        settings: How.
        ranks: The processes that share the work; all call it alike, on a disk that they share.
        reporter: Told of progress, and of what is left out.

    Returns:
        What came of it, the same for all processes.

    Raises:
        UsageError: The result is there already, or parts of another run; or ``out`` cannot be
            used, or another run is writing there.
        DataError: A source cannot be used, or the disk is full; parts that are complete stay.
        DistributedError: The processes were given different things, or one of them failed.
    """
    with together(ranks):
        form = choose_format(out, classifier.classes)
    plan = _open(classifier, sources, settings, ranks, reporter)
    about = describe_run(classifier, sources, settings)
    outline = json.dumps(about, sort_keys=True)
    facts = {key: json.dumps(value, sort_keys=True) for key, value in about.items()}
    agree(ranks, {**facts, "files": plan.outline(), "all of it": outline})
    folder = PartsFolder(out)
    with ExitStack() as held:
        with together(ranks):
            if ranks.rank == 0:
                held.enter_context(claimed(out, out.with_name(f".{out.name}.lock")))
                folder.begin(about, resume=settings.resume, force=settings.force)
        with together(ranks):
            folder.check_shared(about)
        return _Run(classifier, settings, plan, form, folder).go(ranks, reporter)


def describe_run(
    classifier: Classifier, sources: Sequence[str], settings: Settings
) -> dict[str, Any]:
    """What binds parts to a run: all that an answer hangs on, but the content of the files."""
    seed = classifier.record.seed if settings.seed is None else settings.seed
    precision = choose_precision(classifier.precision, classifier.device)
    return {
        "model": _digest_of(classifier),
        "rule": json.dumps(settings.rule.to_json(), sort_keys=True),
        "samples": settings.samples,
        "adaptive": settings.adaptive,
        "seed": seed,
        "precision": str(precision).removeprefix("torch."),
        "sources": [name_of(source) for source in sources],
        "image_column": settings.image_column,
        "nescio": nescio.__version__,
    }


def _digest_of(classifier: Classifier) -> str:
    """Of everything in a model that answers depend on, but the rule."""
    reference = classifier.reference
    facts = {
        "posterior": posterior_digest(classifier),
        "classes": classifier.classes,
        "preprocessing": asdict(classifier.preprocessing),
        "recipe": [classifier.recipe.forced, classifier.recipe.forced_samples],
        "reference": None if reference is None else reference.tolist(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _open(
    classifier: Classifier,
    sources: Sequence[str],
    settings: Settings,
    ranks: Ranks,
    reporter: Reporter,
) -> Plan:
    """The plan; the first process opens it first, so that others find what it keeps."""
    plan: Plan | None = None
    for turn in (True, False):
        with together(ranks):
            if turn == (ranks.rank == 0):
                plan = open_plan(
                    sources,
                    classifier.preprocessing,
                    seed=classifier.record.seed,
                    skip_unreadable=settings.skip_unreadable,
                    image_column=settings.image_column,
                    reporter=reporter,
                )
    assert plan is not None  # noqa: S101 - each process had its turn
    if not len(plan):
        raise DataError(f"{', '.join(sources)}: there is no image in it")
    return plan


@dataclass(frozen=True)
class _Run:
    """One run, as one process sees it."""

    classifier: Classifier
    settings: Settings
    plan: Plan
    form: Format
    folder: PartsFolder
    left: Counter[str] = field(default_factory=Counter)  # what is no image, by kind

    def go(self, ranks: Ranks, reporter: Reporter) -> Result:
        """Do what is left, with all processes."""
        done, left = self.sort_out(ranks)
        mine, remarks = left[ranks.rank :: ranks.size], NOTHING
        with reporter.task("predicting", self.plan.images, "images") as task:
            watch = Watch(self.folder, task, enabled=ranks.rank == 0)
            watch.look()
            for piece in mine:
                done[piece], own = self.score_piece(piece, watch)
                remarks += own
            self.wait_for_all(ranks, watch)
        remarks.tell(self.classifier.preprocessing, reporter)
        return self.finish(done, ranks, reporter)

    def sort_out(self, ranks: Ranks) -> tuple[dict[int, Part], list[int]]:
        """The parts that this process found done, and the pieces that are left for all.

        Each process looks at some of the pieces.
        """
        there: dict[int, list[Part]] = {}
        for part in self.folder.parts():
            there.setdefault(part.piece, []).append(part)
        done: dict[int, Part] = {}
        left = []
        for piece in range(ranks.rank, len(self.plan), ranks.size):
            # Where nothing is done there is no need to look at a million files beforehand.
            stamp = self.plan.stamp(piece) if piece in there else ""
            for part in there.get(piece, ()):
                if part.stamp == stamp and part.suffix == self.form.suffix:
                    done[piece] = part
                else:  # its files have changed
                    (self.folder.path / part.name).unlink(missing_ok=True)
            if piece not in done:
                left.append(piece)
        every = [json.loads(said) for said in exchange(ranks, json.dumps(left))]
        return done, sorted(piece for some in every for piece in some)

    def score_piece(self, piece: int, watch: Watch) -> tuple[Part, Remarks]:
        """Read, decide and write one piece; with what should be said of its images."""
        stamp = self.plan.stamp(piece)
        counts, last, remarks = Counts(), "nothing in it", NOTHING
        with explained(self.folder.path), self.folder.open() as path:
            with self.form.writer(path) as writer:
                for batch in self.plan.batches(piece):
                    self.left.update(batch.left)
                    if not batch.names:
                        continue
                    answers = self._answer(batch)
                    remarks += batch.remarks
                    writer.write(answers)
                    counts, last = counts + _count(answers), answers.names[-1]
                    watch.advance(len(answers.names))
            if self.plan.stamp(piece) != stamp:
                raise DataError(
                    f"piece {piece}, with {last}: its files changed while they were read; let them "
                    "be, and go on with --resume"
                )
            part = Part(piece, stamp, counts, self.form.suffix)
            self.folder.keep(path, part)
        watch.finished()
        return part, remarks

    @cached_property
    def _predictor(self) -> Predictor:
        """One for the whole run: what it draws, it keeps."""
        return self.classifier.predictor(keep=KEEP)

    def _answer(self, batch: Batch) -> Answers:
        settings, chunks = self.settings, list[Decisions]()
        if len(batch.images):
            chunks += self._predictor.stream_decisions(
                batch.images.to(self.classifier.device),
                rule=settings.rule,
                samples=settings.samples,
                adaptive=settings.adaptive,
                seed=settings.seed,
            )
        return Answers(batch.names, batch.errors, Decisions.concatenate(chunks) if chunks else None)

    def wait_for_all(self, ranks: Ranks, watch: Watch) -> None:
        """Go on once all processes have done their shares.

        By files, not by what passes between processes: that would give up after a while, and
        shares may take days. A process that fails ends the job.
        """
        if ranks.size == 1:
            return
        with explained(self.folder.path):
            self.folder.say_done(ranks.rank)
        while not self.folder.are_done(ranks.size):
            time.sleep(ASK_SECONDS)
            watch.look()
        watch.look(now=True)

    def finish(self, done: Mapping[int, Part], ranks: Ranks, reporter: Reporter) -> Result:
        """Join the parts of all processes."""
        said = exchange(ranks, "\n".join(part.name for part in done.values()))
        found = [Part.parse(name) for text in said for name in text.split("\n") if name]
        parts = sorted((part for part in found if part is not None), key=lambda p: p.piece)
        if [part.piece for part in parts] != list(range(len(self.plan))):
            raise DataError(
                f"{self.folder.path}: {len(parts)} parts for {len(self.plan)} pieces; go on with "
                "--resume"
            )
        counts = sum((part.counts for part in parts), Counts())
        left = [Counter(json.loads(each)) for each in exchange(ranks, json.dumps(self.left))]
        held = describe_left(sum(left, Counter[str]()))
        first = ""
        with together(ranks):
            if not counts.images:
                if ranks.rank == 0:
                    self.folder.clear()
                raise DataError(f"there is no image in it{f'; it holds {held}' if held else ''}")
            if held:
                reporter.note(f"not answered, for they are no images: {held}")
            if ranks.rank == 0:
                first = self._join(parts, reporter)
        return Result(counts, exchange(ranks, first)[0])

    def _join(self, parts: Sequence[Part], reporter: Reporter) -> str:
        """Write the result, and remove the parts; gives the first error of an image, if any."""
        folder = self.folder.path
        with explained(folder):
            paths = [(folder / part.name, part.counts.images) for part in parts]
            with atomic_path(self.folder.out) as temporary:
                self.form.join(paths, temporary)
            bad = next((part for part in parts if part.counts.unreadable), None)
            first = "" if bad is None else self.form.first_error(folder / bad.name)
            others = self.folder.clear()
        if others:
            reporter.note(f"{folder} stays: {others[0]} in it is no part")
        return first


def _count(answers: Answers) -> Counts:
    decisions = answers.decisions
    if decisions is None:
        return Counts(unreadable=len(answers.errors))
    unfamiliar = int(decisions.verdicts.unfamiliar.sum())
    return Counts(
        answered=len(decisions) - decisions.refused,
        ambiguous=decisions.refused - unfamiliar,
        unfamiliar=unfamiliar,
        unreadable=len(answers.errors),
    )
