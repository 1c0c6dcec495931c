"""``nescio calibrate``: set a model's thresholds anew, without training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_error, print_result
from nescio.cli.options import Common, FileOptions, GroupOptions, PromiseOptions
from nescio.cli.sources import read_as
from nescio.files import check_output


def calibrate(
    model: Path,
    data: str,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    network: str | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    files: FileOptions = FileOptions(),  # noqa: B008 - frozen
    groups: GroupOptions = GroupOptions(),  # noqa: B008 - frozen
    promises: PromiseOptions = PromiseOptions(),  # noqa: B008 - frozen
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
    network
        Allow a model's own network code: module:factory or timm:NAME.
    force
        Overwrite the file if it exists, such as the model itself.
    """
    check_output(out, force=force)
    from nescio.classifier import Promises, calibrate_classifier, calibration_set, load_model
    from nescio.data import Grouping
    from nescio.prediction import check_samples

    promised = Promises(**asdict(promises))
    grouping = Grouping.of(groups.group_by, groups.groups)
    check_samples(common.samples)
    reporter = make_reporter(quiet=common.quiet)
    classifier = load_model(model, network, device=common.device, precision=common.precision)
    images = calibration_set(classifier, data, reporter, reading=read_as(files), grouping=grouping)
    calibrated = calibrate_classifier(
        classifier, images, promised, samples=common.samples, reporter=reporter
    )
    rule = calibrated.calibrated
    if promises.max_risk is not None and rule is not None and not rule.keeps_promise:
        print_error(f"{rule.describe()} Nothing was written")
        return 2
    calibrated.save(out)
    print_result(f"{out}: {calibrated.rule.describe()}")
    return 0
