"""``nescio review``: a page on which a person labels what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_error, print_result
from nescio.cli.evaluate import open_model
from nescio.cli.options import ColumnOptions, Common
from nescio.cli.sources import Source, count_seen, open_source
from nescio.errors import UsageError
from nescio.files import check_output
from nescio.names import name_of, path_of, printable
from nescio.progress import Part

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.progress import Reporter
    from nescio.refusal import Rule
    from nescio.report import Question
    from nescio.scoring import Batch


def review(
    model: Path,
    data: str,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    answered: Annotated[bool, Parameter(name="--all", negative="")] = False,
    limit: int = 200,
    rule: str | None = None,
    network: str | None = None,
    skip_unreadable: Annotated[bool, Parameter(negative="")] = False,
    max_pixels: int | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    columns: ColumnOptions = ColumnOptions(),  # noqa: B008 - frozen
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """Write a page to label refused images on, for train --extra-labels.

    The page works by itself in any browser, without a network. Its labels are saved as a CSV file,
    image,label, which names images by their whole path, so that it may lie anywhere.

    Parameters
    ----------
    model
        The model file.
    data
        A folder of images (searched through), an image, an .npz or IDX file, or a named set.
    out
        The page to write, such as review.html.
    answered
        Also show the images that were answered, the least sure first.
    limit
        Show at most so many images; a page is never larger than 10 MB.
    rule
        calibrated, none, or QUANTILE:THRESHOLD such as median:0.2. [the model's own]
    network
        Allow a model's own network code: module:factory or timm:NAME.
    skip_unreadable
        Leave out, and tell of, folders that cannot be opened. Otherwise the first one is an error.
    max_pixels
        Read images of up to so many pixels. [as many as in training]
    force
        Replace a file that is there.
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    check_output(out, force=force)
    from nescio.data import NOTHING, ImageSet
    from nescio.report import compose_review, write_review

    reporter = make_reporter(quiet=common.quiet)
    classifier, chosen = open_model(model, network, rule, common, reporter, max_pixels=max_pixels)
    source = open_source(
        data, classifier, reporter, skip_unreadable=skip_unreadable, columns=columns
    )
    asked: list[Question] = []
    failures: list[tuple[str, str]] = []
    run, remarks, seen = _Run(classifier, chosen, common, answered), NOTHING, 0
    with reporter.task("predicting", len(source) * common.samples, "image samples") as task:
        for batch in source.batches(classifier):
            remarks += batch.remarks
            seen += count_seen(classifier, ImageSet("", batch.images, None, ()))
            failures += ((batch.names[place], error) for place, error in batch.errors.items())
            task.advance(len(batch.errors) * common.samples)
            for part in run.questions(source, batch, Part(task, reporter)):
                asked += part
    remarks.tell(classifier.preprocessing, reporter)
    page = compose_review(
        printable(Path(data).resolve().name if Path(data).exists() else data),
        asked,
        classifier.classes,
        looked=len(source),
        failures=failures,
        held_out=source.held_out,
        limit=limit,
        reporter=reporter,
    )
    write_review(out, page)
    if source.held_out:
        reporter.note(
            f"{data}: these are the test images of what the model was trained on, and "
            "train --extra-labels takes no labels of them; to label, review images of your own"
        )
    elif seen:
        reporter.note(
            f"{data}: {seen:,} of its {len(source):,} images were trained or calibrated on, and "
            "train --extra-labels takes no labels of them, nor of images that were set aside for "
            "tests among the same; to label, review images of your own"
        )
    what = "images" if answered else "refused images"
    shown = f"{len(page.cards)} of {page.wanted}" if page.wanted > len(page.cards) else page.wanted
    print_result(f"{out}: {shown} {what}, of {len(source)} looked through")
    _tell_of_more(reporter, len(page.cards), page.wanted, limit)
    if page.failures:
        several = f" and {len(page.failures) - 1} more" if len(page.failures) > 1 else ""
        name, error = page.failures[0]
        first = error if name in error else f"{name}: {error}"
        print_error(f"{first}{several}; the page is written, and lists them")
        return 2
    return 0


@dataclass(frozen=True)
class _Run:
    """How one run of ``review`` decides, and what it asks about."""

    classifier: Classifier
    rule: Rule
    common: Common
    answered: bool

    def questions(
        self, source: Source, batch: Batch, reporter: Reporter
    ) -> Iterator[list[Question]]:
        """What to ask, chunk by chunk."""
        from nescio.data import ImageSet
        from nescio.report import questions

        readable = batch.readable
        names = [_address(source, batch.names[place], place) for place in readable]
        files = [batch.files[place] for place in readable] if batch.files else None
        done = 0
        for decisions in self.classifier.stream_decisions(
            ImageSet("", batch.images, None, ()),
            rule=self.rule,
            samples=self.common.samples,
            adaptive=True,
            seed=self.common.seed,
            reporter=reporter,
        ):
            part = slice(done, done + len(decisions))
            pictures = batch.images[part] if files is None else files[part]
            yield questions(decisions, names[part], pictures, answered=self.answered)
            done += len(decisions)


def _address(source: Source, name: str, number: int) -> str:
    """How ``train --extra-labels`` finds an image, wherever its CSV file lies."""
    file, place = Path(path_of(name)), Path(source.name)
    if file.is_file():
        return name_of(file.absolute())
    return name_of(f"{place.absolute() if place.exists() else source.name}[{number}]")


def _tell_of_more(reporter: Reporter, shown: int, wanted: int, limit: int) -> None:
    if shown < wanted:
        mend = "--limit shows more" if shown >= limit else "the page would be larger than 10 MB"
        reporter.note(
            f"{wanted - shown} more images are not on the page: {mend}; or label these, train, "
            "and review again"
        )
