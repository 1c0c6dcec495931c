"""``nescio compare``: models side by side, with paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_json
from nescio.cli.evaluate import open_model
from nescio.cli.options import Common, FileOptions
from nescio.cli.sources import read_as
from nescio.cli.tables import print_comparison
from nescio.errors import UsageError

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.data import Reading
    from nescio.evaluation import Study
    from nescio.progress import Reporter
    from nescio.refusal import Rule


def compare(
    *items: str,
    ood: tuple[str, ...] = (),
    rule: str | None = None,
    resamples: int = 1000,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    network: str | None = None,
    files: FileOptions = FileOptions(),  # noqa: B008 - frozen
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Judge models on the same images, side by side: A B ... DATA, or their studies.

    Parameters
    ----------
    items
        Two or more model files or studies (FILE.json, of evaluate --study); the others are held
        against the first. Then, if there is a model among them, the labelled set to judge it on.
    ood
        A set that is out of distribution, such as noise:1000 or letters; may be repeated.
    rule
        calibrated, none, or QUANTILE:THRESHOLD such as median:0.2. [each model's own]
    resamples
        Of the bootstrap behind each interval that is not exact.
    as_json
        Print one JSON object.
    network
        Allow the models' own network code: module:factory or timm:NAME.
    """
    from nescio.evaluation import compare as hold_together

    sources, data = _sort(items, ood)
    reporter = make_reporter(quiet=common.quiet)
    judge = _Judge(data, ood, rule, resamples, network, read_as(files), common, reporter)
    result = hold_together(judge.studies(sources), resamples=resamples, seed=common.seed or 0)
    if result.left_out:
        reporter.note(f"not in all studies, and left out: {', '.join(result.left_out)}")
    if as_json:
        print_json(result.to_json())
    else:
        print_comparison(result)


def _sort(items: Sequence[str], ood: Sequence[str]) -> tuple[list[Path], str | None]:
    """The models and studies among the arguments, and the data that come last."""
    models = [item for item in items if not _is_study(item)]
    if not models:
        if ood:
            raise UsageError("--ood is for models; a study holds the sets that it was judged on")
        sources, data = list(items), None
    elif _is_study(items[-1]):
        raise UsageError(
            f"the labelled set to judge {models[0]} on comes last: nescio compare A B DATA"
        )
    else:
        sources, data = list(items[:-1]), items[-1]
    if len(sources) < 2:
        raise UsageError(
            "a comparison needs two or more: nescio compare A B DATA, or nescio compare A.json "
            "B.json"
        )
    return [Path(source) for source in sources], data


def _is_study(item: str | Path) -> bool:
    return str(item).endswith(".json")


@dataclass(frozen=True)
class _Judge:
    """Reads studies, and makes those of models."""

    data: str | None
    ood: tuple[str, ...]
    rule: str | None
    resamples: int
    network: str | None
    reading: Reading
    common: Common
    reporter: Reporter

    def studies(self, sources: Sequence[Path]) -> list[Study]:
        """The studies of all sources; what is made at run time is made alike for all."""
        read = {source: self._read(source) for source in sources if _is_study(source)}
        models = [source for source in sources if source not in read]
        opened = [
            open_model(model, self.network, self.rule, self.common, self.reporter)
            for model in models
        ]
        seeds = [read[sources[0]].model.seed] if sources[0] in read else []
        seeds += [classifier.record.seed for classifier, _ in opened]
        seed = seeds[0] if self.common.seed is None else self.common.seed
        judged = iter(self._judge(models, opened, seed))
        return [read[source] if source in read else next(judged) for source in sources]

    def _read(self, source: Path) -> Study:
        from nescio.evaluation import judged_by, read_study

        study = read_study(source)
        return study if self.rule is None else judged_by(study, self.rule)

    def _judge(
        self, models: Sequence[Path], opened: Sequence[tuple[Classifier, Rule]], seed: int
    ) -> list[Study]:
        from nescio.classifier import common_familiar_sets, judge, shifted_sets

        if not models:
            return []
        assert self.data is not None  # noqa: S101 - asked before
        classifiers = [classifier for classifier, _ in opened]
        familiar = common_familiar_sets(
            classifiers, self.data, self.reporter, seed=seed, reading=self.reading
        )
        studies = []
        for model, (classifier, rule), test in zip(models, opened, familiar, strict=True):
            study = judge(
                classifier,
                test,
                shifted_sets(classifier, self.ood, self.reporter, seed=seed, reading=self.reading),
                rule=rule,
                samples=self.common.samples,
                seed=self.common.seed,
                resamples=self.resamples,
                reporter=self.reporter,
            ).study
            studies.append(replace(study, model=replace(study.model, name=model.stem)))
        return studies
