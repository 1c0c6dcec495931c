"""``nescio calibrate``: set a model's thresholds anew, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_error, print_result
from nescio.cli.options import Common
from nescio.files import check_writable


def calibrate(
    model: Path,
    data: str,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    max_refusal: float = 0.01,
    max_risk: float | None = None,
    confidence: float = 0.95,
    per_class: Annotated[bool, Parameter(negative="")] = False,
    network: str | None = None,
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """Set a model's thresholds from images of your own, or for another promise.

    Parameters
    ----------
    model
        The model file.
    data
        Labelled images like those that will come, and that were not trained on. Where it is the
        set that the model was trained on, the part that training kept for this.
    out
        The model file to write.
    max_refusal
        The share of familiar images that the familiarity gate may refuse.
    max_risk
        Promise at most this share of errors among the familiar images that are answered.
    confidence
        With which the risk is promised.
    per_class
        Make both promises for each class.
    network
        Allow a model's own network code: module:factory.
    """
    check_writable(out)
    from nescio.classifier import Promises, calibrate_classifier, calibration_set, load_model
    from nescio.prediction import check_samples

    promises = Promises(max_refusal, max_risk, confidence, per_class)
    check_samples(common.samples)
    reporter = make_reporter(quiet=common.quiet)
    classifier = load_model(model, network, device=common.device, precision=common.precision)
    images = calibration_set(classifier, data, reporter)
    calibrated = calibrate_classifier(
        classifier, images, promises, samples=common.samples, reporter=reporter
    )
    rule = calibrated.calibrated
    if max_risk is not None and rule is not None and not rule.keeps_promise:
        print_error(f"{rule.describe()} Nothing was written")
        return 2
    calibrated.save(out)
    print_result(f"{out}: {calibrated.rule.describe()}")
    return 0
