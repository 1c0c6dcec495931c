"""``nescio evaluate``: forced and selective figures, refusal on other sets."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_json
from nescio.cli.options import Common, FileOptions, GroupOptions, RiskOptions, StudyOptions
from nescio.cli.sources import read_as
from nescio.cli.tables import print_study
from nescio.errors import UsageError
from nescio.files import check_output

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.data import ImageSet
    from nescio.progress import Reporter
    from nescio.refusal import Rule


def evaluate(
    model: Path,
    data: str,
    *,
    ood: tuple[str, ...] = (),
    rule: tuple[str, ...] = (),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    report: Path | None = None,
    network: str | None = None,
    files: FileOptions = FileOptions(),  # noqa: B008 - frozen
    groups: GroupOptions = GroupOptions(),  # noqa: B008 - frozen
    more: StudyOptions = StudyOptions(),  # noqa: B008 - frozen
    risk: RiskOptions = RiskOptions(),  # noqa: B008 - frozen
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Judge a model on DATA's test split, and on sets that it should refuse.

    Parameters
    ----------
    model
        The model file.
    data
        A labelled set; its test split counts, or what training left out of it.
    ood
        A set that is out of distribution, such as noise:1000 or letters; may be repeated.
    rule
        calibrated, none, or QUANTILE:THRESHOLD such as median:0.2; may be repeated, for rules side
        by side, of which the first is in force. [the model's own]
    as_json
        Print one JSON object.
    report
        Write a self-contained HTML report to this file.
    network
        Allow a model's own network code: module:factory or timm:NAME.
    """
    check_risk(risk, rule)
    if report is not None:
        check_output(report, force=more.force)
    if more.study is not None:
        check_output(more.study, force=more.force)
    from nescio.classifier import (
        choose_corruptions,
        complete_study,
        familiar_and_unknown,
        familiar_set,
        judge,
        shifted_sets,
    )
    from nescio.data import Grouping
    from nescio.evaluation import results_json, write_study

    grouping = Grouping.of(groups.group_by, groups.groups)
    corruptions = choose_corruptions(more.corruptions)
    reporter = make_reporter(quiet=common.quiet)
    classifier, first = open_model(
        model, network, rule[0] if rule else None, common, reporter, risk=risk
    )
    reading = read_as(files)
    if more.unknown_classes == "unfamiliar":
        test, unknown = familiar_and_unknown(
            classifier, data, reporter, reading=reading, grouping=grouping
        )
    else:
        test, unknown = (
            familiar_set(classifier, data, reporter, reading=reading, grouping=grouping),
            None,
        )
    strange: list[ImageSet | str] = [*([] if unknown is None else [unknown]), *ood]
    judgement = judge(
        classifier,
        test,
        shifted_sets(classifier, strange, reporter, reading=reading),
        rule=first,
        also=[classifier.choose_rule(each) for each in rule[1:]],
        samples=common.samples,
        seed=common.seed,
        resamples=more.resamples,
        reporter=reporter,
    )
    command = _command(
        [str(model), data],
        ood,
        rule,
        more,
        common,
        risk=risk,
        groups=groups,
        files=files,
        network=network,
    )
    study = complete_study(
        classifier,
        judgement,
        rule=first,
        corruptions=corruptions,
        corrupted_images=more.corruption_images,
        name=model.stem,
        command=command,
        reporter=reporter,
    )
    if more.study is not None:
        write_study(more.study, study)
        reporter.note(f"the study is in {more.study}")
    if report is not None:
        from nescio.report import write_report

        write_report(report, study)
        reporter.note(f"the report is in {report}")
    if as_json:
        print_json(results_json(study))
    else:
        print_study(study)


def _command(
    judged: Sequence[str],
    ood: Sequence[str],
    rules: Sequence[str],
    more: StudyOptions,
    common: Common,
    *,
    risk: RiskOptions,
    groups: GroupOptions,
    files: FileOptions,
    network: str | None,
) -> str:
    """What finds the same figures again."""
    words = ["nescio", "evaluate", *judged]
    words += [word for each in ood for word in ("--ood", each)]
    words += [word for each in rules for word in ("--rule", each)]
    if more.corruptions is not None:
        words += ["--corruptions", more.corruptions]
        words += ["--corruption-images", str(more.corruption_images)]
    columns = {name: getattr(files, name) for name in ("image_column", "label_column")}
    for name, value in (asdict(risk) | asdict(groups) | columns).items():
        words += [f"--{name.replace('_', '-')}", str(value)] * (value is not None)
    words += ["--unknown-classes", "unfamiliar"] * (more.unknown_classes == "unfamiliar")
    words += ["--skip-unreadable"] * files.skip_unreadable
    words += ["--resamples", str(more.resamples)] * (more.resamples != StudyOptions.resamples)
    words += ["--network", str(network)] * (network is not None)
    for name in ("precision", "device"):
        words += [f"--{name}", getattr(common, name)] * (getattr(common, name) != "auto")
    words += ["--samples", str(common.samples)] * (common.samples != Common.samples)
    words += ["--seed", str(common.seed)] * (common.seed is not None)
    return shlex.join(words)


def open_model(
    model: Path,
    network: str | None,
    rule: str | None,
    common: Common,
    reporter: Reporter,
    *,
    risk: RiskOptions = RiskOptions(),  # noqa: B008 - frozen
    max_pixels: int | None = None,
) -> tuple[Classifier, Rule]:
    """Load a model and choose the rule, and say if its promise does not cover the options.

    What cannot be used fails here, before any data are read.
    """
    from nescio.classifier import load_model
    from nescio.data import Reading
    from nescio.devices import choose_precision
    from nescio.prediction import check_samples
    from nescio.refusal import CalibratedRule

    check_samples(common.samples)
    classifier = load_model(model, network, device=common.device, precision=common.precision)
    if max_pixels is not None:
        reading = Reading(preprocessing=classifier.preprocessing, max_pixels=max_pixels)
        classifier = replace(classifier, preprocessing=reading.choose([], colour=False))
    if risk.max_risk is not None:
        classifier = classifier.promise(
            risk.max_risk, confidence=risk.confidence, max_refusal=risk.max_refusal
        )
    chosen = classifier.choose_rule(rule)
    if isinstance(chosen, CalibratedRule):
        own = {"samples": common.samples, "seed": common.seed}
        bound = {"samples": chosen.calibrated_on.samples, "seed": chosen.calibrated_on.seed}
        for name, value in own.items():
            if value not in (None, bound[name]):
                reporter.note(
                    f"the rule was calibrated with --{name} {bound[name]}, not {value}: "
                    "its promises do not cover this run"
                )
        precision = str(choose_precision(common.precision, classifier.device))
        if precision.removeprefix("torch.") != chosen.calibrated_on.precision:
            reporter.note(
                f"the rule was calibrated in {chosen.calibrated_on.precision}, this run computes "
                f"in {precision.removeprefix('torch.')}: its promises do not cover it"
            )
    return classifier, chosen


def check_risk(risk: RiskOptions, rules: Sequence[str]) -> None:
    """See that a promise that is asked for is one, and of the rule that decides.

    Raises:
        UsageError: It is not.
    """
    if risk.max_risk is None and risk != RiskOptions():
        raise UsageError("--confidence and --max-refusal belong to a --max-risk here: add one")
    if risk.max_risk is not None and rules and "calibrated" not in rules:
        raise UsageError(
            f"--max-risk sets the calibrated rule, and --rule {rules[0]} asks for another: leave "
            "one of them out"
        )
