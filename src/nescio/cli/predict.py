"""``nescio predict``: a decision for each image."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_error, print_json, print_result
from nescio.cli.evaluate import check_risk, open_model
from nescio.cli.options import ColumnOptions, Common, ManyOptions, RiskOptions
from nescio.cli.sources import open_source
from nescio.errors import UsageError
from nescio.files import atomic_path, check_output, check_output_folder, check_writable
from nescio.launch import find_place
from nescio.progress import Part

if TYPE_CHECKING:
    from torch import Tensor

    from nescio.classifier import Classifier, Predictor
    from nescio.progress import Reporter
    from nescio.refusal import Decision, Rule
    from nescio.scoring import Batch


def predict(
    model: Path,
    *sources: str,
    rule: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    csv_file: Annotated[Path | None, Parameter(name="--csv")] = None,
    plot: Path | None = None,
    max_plots: int = 100,
    samples_fixed: Annotated[bool, Parameter(negative="")] = False,
    network: str | None = None,
    skip_unreadable: Annotated[bool, Parameter(negative="")] = False,
    max_pixels: int | None = None,
    many: ManyOptions = ManyOptions(),  # noqa: B008 - frozen
    columns: ColumnOptions = ColumnOptions(),  # noqa: B008 - frozen
    risk: RiskOptions = RiskOptions(),  # noqa: B008 - frozen
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """Decide for each image: a label, or "I don't know" and why.

    Parameters
    ----------
    model
        The model file.
    sources
        Image files, folders (searched through), .npz, IDX, .tar or .parquet files, or named sets.
    rule
        calibrated, none, or QUANTILE:THRESHOLD such as median:0.2. [the model's own]
    as_json
        Print one JSON object a line, in input order.
    csv_file
        Also write the decisions to this CSV file.
    plot
        Also draw the picture of each answer into this folder, as PNG.
    max_plots
        Draw at most so many pictures.
    samples_fixed
        Draw all --samples networks for every image. Otherwise an image takes no more than its
        decision needs (but where pictures are drawn).
    network
        Allow a model's own network code: module:factory or timm:NAME.
    skip_unreadable
        Leave out, and tell of, folders that cannot be opened. Otherwise the first one is an error,
        before any image is answered.
    max_pixels
        Read images of up to so many pixels. [as many as in training]
    """
    if not sources:
        raise UsageError("name at least one image, folder or data set to predict")
    check_risk(risk, () if rule is None else (rule,))
    one = as_json or csv_file is not None or plot is not None
    files = csv_file is not None or plot is not None
    _check_many(many, one=one, files=files, device=common.device)
    if many.out is not None:
        opening = _Opening(model, network, rule, risk, columns, common, skip_unreadable, max_pixels)
        return _predict_many(opening, sources, many.out, many, adaptive=not samples_fixed)
    if csv_file is not None:
        check_output(csv_file, force=many.force)
    if plot is not None:
        check_output_folder(plot, force=many.force)
    reporter = make_reporter(quiet=common.quiet)
    classifier, chosen = open_model(
        model, network, rule, common, reporter, risk=risk, max_pixels=max_pixels
    )
    adaptive = not samples_fixed and plot is None
    run = _Run(
        classifier, chosen, common, columns, plot, max_plots, adaptive, reporter, skip_unreadable
    )
    with ExitStack() as stack:
        table = None
        if csv_file is not None:
            temporary = stack.enter_context(atomic_path(csv_file))
            table = stack.enter_context(temporary.open("w", newline="", encoding="utf-8"))
        writer = None if table is None else _csv_writer(table, classifier.classes)
        for answer in run.answers(sources):
            if as_json:
                print_json(answer.as_record())
            else:
                print_result(answer.as_line())
            if writer is not None:
                writer.writerow(answer.as_row())
    if run.failures:
        _tell_failures(run.first_failure, run.failures, run.answered)
        return 2
    return 0


@dataclass(frozen=True)
class _Opening:
    """Which model is to be opened, and how."""

    model: Path
    network: str | None
    rule: str | None
    risk: RiskOptions
    columns: ColumnOptions
    common: Common
    skip_unreadable: bool
    max_pixels: int | None


def _check_many(many: ManyOptions, *, one: bool, files: bool, device: str) -> None:
    """See that options fit each other; several processes refuse together, and one of them tells.

    Raises:
        UsageError: They do not.
    """
    several = find_place().size > 1
    why = ""
    if many.out is None and several:
        why = "several processes write one result: name it with --out FILE"
    elif many.out is None and (many.resume or (many.force and not files)):
        why = "--resume belongs to --out FILE, and --force to that, --csv or --plot: add it"
    elif many.out is not None and one:
        why = "--out writes one result: leave out --json, --csv and --plot"
    elif many.resume and many.force:
        why = "--resume goes on and --force begins anew: leave one of them out"
    if not why:
        return
    if several:
        from nescio.ranks import join_ranks, together

        # None may end before the first one has said why: the launcher would end that, too.
        with together(join_ranks(device)):
            raise UsageError(why)
    raise UsageError(why)


def _predict_many(
    opening: _Opening, sources: tuple[str, ...], out: Path, many: ManyOptions, *, adaptive: bool
) -> int:
    """Score any number of images into one file, by all processes of this job."""
    from nescio.ranks import join_ranks, together
    from nescio.scoring import Settings, score
    from nescio.scoring.parts import PartsFolder

    common = opening.common
    ranks = join_ranks(common.device)
    device = common.device if ranks.size == 1 else str(ranks.place)
    reporter = make_reporter(quiet=common.quiet or ranks.rank > 0)
    with together(ranks):
        check_writable(out)
        classifier, rule = open_model(
            opening.model,
            opening.network,
            opening.rule,
            replace(common, device=device),
            reporter,
            risk=opening.risk,
            max_pixels=opening.max_pixels,
        )
    settings = Settings(
        rule,
        common.samples,
        adaptive,
        common.seed,
        resume=many.resume,
        force=many.force,
        skip_unreadable=opening.skip_unreadable,
        image_column=opening.columns.image_column,
    )
    try:
        result = score(classifier, sources, out, settings, ranks=ranks, reporter=reporter)
    except KeyboardInterrupt as error:
        parts = PartsFolder(out).path
        raise (
            KeyboardInterrupt(
                f"what is complete stays in {parts}: go on with --resume, or begin anew with "
                "--force"
            )
            if parts.is_dir()
            else error
        ) from None
    counts = result.counts
    if ranks.rank == 0:
        print_result(
            f"{out}: {counts.images:,} images: {counts.answered:,} answered, "
            f"{counts.ambiguous:,} refused as ambiguous, {counts.unfamiliar:,} as unfamiliar, "
            f"{counts.unreadable:,} not readable"
        )
        if counts.unreadable:
            _tell_failures(result.first_error, counts.unreadable, counts.images - counts.unreadable)
    # The others end well: torchrun would end process 0 before it has told all.
    return 2 if counts.unreadable and not ranks.rank else 0


def _tell_failures(first: str, failures: int, answered: int) -> None:
    several = f" and {failures - 1:,} more" if failures > 1 else ""
    rest = "; the other images were answered" if answered else ""
    print_error(f"{first}{several}{rest}")


@dataclass(frozen=True)
class _Answer:
    """One line of output: a decision, or why there is none."""

    image: str
    decision: Decision | None = None
    error: str | None = None

    def as_line(self) -> str:
        if self.decision is None:
            return f"{self.image}\tcannot be read: {self.error}"
        probability = self.decision.probability[self.decision.forced]
        sure = f"\t{probability:.3f}" if self.decision.accepted else ""
        return f"{self.image}\t{self.decision}{sure}"

    def as_row(self) -> dict[str, Any]:
        record = self.as_record()
        for group in ("probability", "median", "scores"):
            prefix = "" if group == "scores" else f"{group} "
            values: Mapping[str, float | None] = record.pop(group, {})
            record |= {f"{prefix}{name}": value for name, value in values.items()}
        if "proposed" in record:
            record["proposed"] = "|".join(record["proposed"])
        return record

    def as_record(self) -> dict[str, Any]:
        if self.decision is None:
            return {"image": self.image, "error": self.error}
        return {"image": self.image, **self.decision.to_json()}


def _csv_writer(file: TextIO, classes: tuple[str, ...]) -> csv.DictWriter[str]:
    from nescio.scoring import table_columns

    writer = csv.DictWriter(file, table_columns(classes), restval="")
    writer.writeheader()
    return writer


@dataclass
class _Run:
    """One run of ``predict``."""

    classifier: Classifier
    rule: Rule
    common: Common
    columns: ColumnOptions
    plot: Path | None
    max_plots: int
    adaptive: bool
    reporter: Reporter
    skip_unreadable: bool
    failures: int = 0
    first_failure: str = ""
    answered: int = 0
    plotted: int = field(default=0, init=False)

    def answers(self, sources: tuple[str, ...]) -> Iterator[_Answer]:
        """An answer for each image of all sources, in input order."""
        from nescio.data import NOTHING

        remarks = NOTHING
        for source in sources:
            opened = open_source(
                source,
                self.classifier,
                self.reporter,
                skip_unreadable=self.skip_unreadable,
                columns=self.columns,
            )
            samples = self.common.samples
            total = len(opened) * samples
            with self.reporter.task("predicting", total, "image samples") as task:
                for batch in opened.batches(self.classifier):
                    remarks += batch.remarks
                    task.advance(len(batch.errors) * samples)
                    decisions = self._decide(batch, Part(task, self.reporter))
                    for place, name in enumerate(batch.names):
                        if place in batch.errors:
                            self._fail(batch.errors[place])
                            yield _Answer(name, error=batch.errors[place])
                        else:
                            self.answered += 1
                            yield _Answer(name, next(decisions))
        remarks.tell(self.classifier.preprocessing, self.reporter)

    @cached_property
    def _predictor(self) -> Predictor:
        """One for the whole run: what it draws, it keeps."""
        from nescio.scoring import KEEP

        return self.classifier.predictor(keep=KEEP)

    def _fail(self, error: str) -> None:
        self.first_failure = self.first_failure or error
        self.failures += 1

    def _decide(self, batch: Batch, reporter: Reporter) -> Iterator[Decision]:
        from nescio.data import ImageSet

        images = ImageSet("", batch.images, None, ())
        if self.plot is None:
            for decisions in self._predictor.stream_decisions(
                self.classifier.prepare(images),
                rule=self.rule,
                samples=self.common.samples,
                adaptive=self.adaptive,
                seed=self.common.seed,
                reporter=reporter,
            ):
                yield from decisions
            return
        readable = batch.readable
        done = 0
        for logits, evidence in self._predictor.stream_judged(
            self.classifier.prepare(images),
            judges=self.rule.needs_evidence,
            samples=self.common.samples,
            seed=self.common.seed,
            reporter=reporter,
        ):
            decisions = self.classifier.decide_from_logits(logits, self.rule, evidence)
            for i, decision in enumerate(decisions):
                if self.plotted < self.max_plots:
                    self._draw(batch, done + i, readable[done + i], decision, logits[:, i])
                yield decision
            done += len(decisions)

    def _draw(self, batch: Batch, row: int, place: int, decision: Decision, logits: Tensor) -> None:
        from nescio.report import Reference, save_answer

        assert self.plot is not None  # noqa: S101 - the caller looked
        self.plotted += 1
        save_answer(
            self.plot / f"{self.plotted:04d}-{_safe_stem(batch.names[place])}.png",
            logits.log_softmax(-1).cpu(),
            decision,
            self.classifier.classes,
            image=batch.images[row],
            actual=batch.actual[place],
            title=Path(batch.names[place]).name,
            reference=Reference.of(self.classifier, self.rule),
        )
        if self.plotted == self.max_plots:
            self.reporter.note(f"{self.max_plots} pictures are drawn; --max-plots sets how many")


def _safe_stem(name: str) -> str:
    """A file name's stem with nothing in it that a file system could trip over."""
    stem = Path(name).stem
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)[:80]
