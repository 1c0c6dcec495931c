"""``nescio evaluate``: forced and selective figures, refusal on other sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_result, print_table
from nescio.cli.options import Common
from nescio.files import check_writable

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.evaluation import Evaluation
    from nescio.progress import Reporter
    from nescio.refusal import Rule


def evaluate(
    model: Path,
    data: str,
    *,
    ood: tuple[str, ...] = (),
    rule: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    report: Path | None = None,
    network: str | None = None,
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
        calibrated, none, or QUANTILE:THRESHOLD such as median:0.2. [the model's own]
    as_json
        Print one JSON object.
    report
        Write a self-contained HTML report to this file.
    network
        Allow a model's own network code: module:factory.
    """
    if report is not None:
        check_writable(report)
    from nescio.classifier import familiar_set, judge, shifted_sets

    reporter = make_reporter(quiet=common.quiet)
    classifier, chosen = open_model(model, network, rule, common, reporter)
    judgement = judge(
        classifier,
        familiar_set(classifier, data, reporter),
        shifted_sets(classifier, ood, reporter),
        rule=chosen,
        samples=common.samples,
        seed=common.seed,
        reporter=reporter,
    )
    result = judgement.evaluation
    if report is not None:
        from nescio.classifier import complete_study
        from nescio.report import write_report

        command = f"nescio evaluate {model} {data}" + "".join(f" --ood {o}" for o in ood)
        study = complete_study(
            classifier, judgement, rule=chosen, name=model.stem, command=command, reporter=reporter
        )
        write_report(report, study)
        reporter.note(f"the report is in {report}")
    if as_json:
        print_result(json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        print_evaluation(result)


def open_model(
    model: Path, network: str | None, rule: str | None, common: Common, reporter: Reporter
) -> tuple[Classifier, Rule]:
    """Load a model and choose the rule, and say if its promise does not cover the options.

    What cannot be used fails here, before any data are read.
    """
    from nescio.classifier import load_model
    from nescio.devices import choose_precision
    from nescio.prediction import check_samples
    from nescio.refusal import CalibratedRule

    check_samples(common.samples)
    classifier = load_model(model, network, device=common.device, precision=common.precision)
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


def print_evaluation(result: Evaluation) -> None:
    """The figures as tables on stdout."""
    accepted = result.accepted_accuracy
    answered = "no image was answered" if accepted is None else accepted.percent(2)
    print_table(
        f"{result.data}: {result.n} test images, {result.samples} sampled networks",
        ("", "value [95 % interval]"),
        [
            ("right when an answer is forced", result.forced_accuracy.percent(2)),
            ("answered", result.coverage.percent(2)),
            ("right when answered", answered),
            ("refused as ambiguous", str(result.reasons["ambiguous"])),
            ("refused as unfamiliar", str(result.reasons["unfamiliar"])),
            ("AURC", f"{result.aurc:.5f}"),
            ("negative log-likelihood", f"{result.nll:.4f} nats"),
            ("expected calibration error", f"{result.ece:.4f}"),
        ],
    )
    if result.ood:
        print_table(
            "out of distribution: should be refused",
            (
                "set",
                "images",
                "refused [95 % interval]",
                "ambiguous",
                "unfamiliar",
                "AUROC",
                "FPR95",
            ),
            [
                (
                    name,
                    str(other.n),
                    other.refusal_rate.percent(2),
                    str(other.reasons["ambiguous"]),
                    str(other.reasons["unfamiliar"]),
                    f"{other.auroc:.4f}",
                    f"{other.fpr95:.4f}",
                )
                for name, other in result.ood.items()
            ],
        )
    print_result(f"Rule: {result.rule_text}")
