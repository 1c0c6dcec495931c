"""``nescio export``: a model as one ONNX file that decides without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_facts
from nescio.cli.options import FileOptions
from nescio.cli.sources import read_as
from nescio.errors import UsageError
from nescio.files import check_output

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.data import ImageSet, Reading
    from nescio.export import Exported
    from nescio.progress import Reporter
    from nescio.refusal import Rule

SHOWN = 5
"""Images that are told of, of those that are decided differently."""


def export(
    model: Path,
    *,
    onnx: Annotated[bool, Parameter(negative="")] = False,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    rule: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    check: tuple[str, ...] = (),
    check_images: int = 1000,
    network: str | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    files: FileOptions = FileOptions(),  # noqa: B008 - frozen
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a model as one file that other runtimes run, and check that it decides alike.

    The file holds everything from the image to the decision: resizing, the sampled networks, both
    gates and the thresholds. It needs pip install 'nescio[onnx]'; whoever runs it needs a runtime
    for ONNX alone.

    Parameters
    ----------
    model
        The model file.
    onnx
        As ONNX, the one form there is.
    out
        The file to write. [the model's name with .onnx]
    rule
        calibrated, none, or QUANTILE:THRESHOLD such as median:0.2. [the model's own]
    samples
        How many networks are in the file; its promises hold for as many as it was calibrated with.
        Fewer make it smaller. [as many as the rule was calibrated with, or 100]
    seed
        Of the networks. [the one that the rule was calibrated with, or the model's]
    check
        Compare the file with the model on these images too, beside made ones: any data set, such as
        mnist, letters or a folder; may be repeated.
    check_images
        At most so many of each; the test images where a set has them.
    network
        Allow a model's own network code: module:factory.
    force
        Overwrite the file if it exists.
    quiet
        No progress and no warnings.
    """
    if not onnx:
        raise UsageError("name the form to export to: nescio export MODEL --onnx")
    from nescio.export import export_onnx, require_onnx

    require_onnx()
    path = model.with_suffix(".onnx") if out is None else out
    check_output(path, force=force)
    from nescio.classifier import load_model

    reporter = make_reporter(quiet=quiet)
    classifier = load_model(model, network, device="cpu", precision="float32")
    chosen = classifier.choose_rule(rule)
    _warn(chosen, samples, seed, reporter)
    exported = export_onnx(
        classifier,
        path,
        rule=chosen,
        samples=samples,
        seed=seed,
        check=[_some(classifier, name, check_images, read_as(files), reporter) for name in check],
        force=force,
        reporter=reporter,
    )
    print_facts(str(path), _facts(exported))


def _warn(rule: Rule, samples: int | None, seed: int | None, reporter: Reporter) -> None:
    """Say so where the rule's promises do not cover the file."""
    from nescio.refusal import CalibratedRule

    if not isinstance(rule, CalibratedRule):
        return
    on = rule.calibrated_on
    for option, value, bound in (("samples", samples, on.samples), ("seed", seed, on.seed)):
        if value not in (None, bound):
            reporter.note(
                f"the rule was calibrated with --{option} {bound}, not {value}: its promises do "
                "not cover this file"
            )
    if on.precision != "float32":
        reporter.note(
            f"the rule was calibrated in {on.precision}, the file computes in float32: its "
            "promises do not cover it; set them anew with nescio calibrate --precision float32"
        )


def _some(
    classifier: Classifier, source: str, most: int, reading: Reading, reporter: Reporter
) -> ImageSet:
    """At most so many images of a set, evenly spaced, in the model's size and colour."""
    import torch

    from nescio.data import all_images, load

    if most < 1:
        raise UsageError(f"--check-images must be at least 1, got {most}")
    dataset = load(
        source,
        labelled=False,
        preprocessing=classifier.preprocessing,
        seed=classifier.record.seed,
        reading=reading,
        reporter=reporter,
    )
    images = all_images(dataset, reporter)
    count = min(most, len(images))
    return images.subset(torch.arange(count) * len(images) // max(1, count))


def _facts(exported: Exported) -> dict[str, str]:
    """What was found, in plain words."""
    agreement, draw = exported.agreement, exported.draw
    rates = {name: agreement.images / spent for name, spent in agreement.seconds.items()}
    facts = {
        "size": f"{exported.size / 2**20:.1f} MiB, {draw.samples} networks of seed {draw.seed}",
        "decided alike": f"{agreement.equal:,} of {agreement.images:,} images, of which the model "
        f"answers {agreement.accepted:,}",
        "scores": f"probabilities differ by at most {agreement.probability:.2g}, unfamiliarities "
        f"by at most {100 * agreement.unfamiliarity:.2g} %",
        "speed": f"{rates['exported']:,.0f} images/s by ONNX Runtime, "
        f"{rates['classifier']:,.0f} by nescio",
    }
    for place, d in enumerate(agreement.differences[:SHOWN], 1):
        facts[f"decided otherwise {place}"] = (
            f"{d.image}: {d.exported}, not {d.classifier}; within {d.rounding:g} of a threshold"
        )
    more = len(agreement.differences) - SHOWN
    if more > 0:
        facts["and"] = f"{more} more, all within rounding of a threshold"
    return facts
