"""``nescio demo``: the whole story on embedded data, in about a minute."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from nescio.cli.console import make_reporter, print_result
from nescio.cli.options import Common
from nescio.cli.tables import print_study
from nescio.files import check_writable

STRANGE = ("noise:1000", "letters:1000")
"""What the network is asked, and should refuse."""


def demo(
    *,
    out: Path = Path("nescio-demo"),
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """See a network answer "I don't know": train on digits, refuse noise and letters.

    Needs no network and no files. Writes report.html and the model digits.nescio.

    Parameters
    ----------
    out
        The folder to write into.
    """
    report, model = out / "report.html", out / "digits.nescio"
    check_writable(report)
    from nescio.classifier import familiar_set, make_study, shifted_sets
    from nescio.data import load
    from nescio.report import write_report
    from nescio.training import fit

    reporter = make_reporter(quiet=common.quiet)
    seed = common.seed or 0
    digits = load("digits")
    classifier = fit(
        "cnn",
        digits,
        samples=common.samples,
        seed=seed,
        device=common.device,
        precision=common.precision,
        reporter=reporter,
    )
    classifier.save(model)
    study = make_study(
        classifier,
        familiar_set(classifier, digits),
        shifted_sets(classifier, STRANGE),
        samples=common.samples,
        name=model.stem,
        command=f"nescio demo --seed {seed}",
        reporter=reporter,
    )
    write_report(report, study)
    print_study(study)
    print_result(f"\nThe report: {report}   Open it in a browser.")
    # After `make demo` the command is in .venv/bin, which is on nobody's path.
    program = "nescio" if shutil.which("nescio") else sys.argv[0]
    print_result(f"The model:  {model}   Try: {program} predict {model} letters:5")
