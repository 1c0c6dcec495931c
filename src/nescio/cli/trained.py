"""What ``nescio train`` writes and says at its end: of a training that ended well, or did not."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nescio.cli.console import print_error, print_result
from nescio.cli.options import PromiseOptions
from nescio.errors import CalibrationError, CalibrationInterrupt, UsageError

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.inference import Checkpoints

GO_ON = "go on from the checkpoints in {folder} with --resume"
"""What is to be done where training was stopped."""

LISTED = 12
"""How many classes the summary names."""

STATUS_OF_STOP = {"diverged": 2, "interrupted": 130}

ENDINGS = re.compile(
    r"(?:[-.](?:train-)?images[-.]idx3-ubyte(?:\.gz)?|\.(?:npz|tar|parquet|nescio))$", re.IGNORECASE
)
"""What of a file's name is not the name of its set."""


def default_out(data: str) -> Path:
    """The model file where none is named: ``NAME.nescio`` in the working folder.

    Args:
        data: What is to be learnt: a name, perhaps with a count, or the path of a folder or file.

    Raises:
        UsageError: It has no name, or another model would be written over by mistake: one in the
            shape of a pattern.
    """
    text = data.removeprefix("hf:")
    path = Path(text)
    name = path.resolve().name if path.exists() else path.name.partition(":")[0]
    name = re.split(r"[*?{\[]", ENDINGS.sub("", name))[0].strip("-_. ")
    if not name:
        raise UsageError(f"{data}: it has no name for the model; name its file with --out")
    return Path(f"{name}.nescio")


def finish(
    classifier: Classifier,
    out: Path,
    promises: PromiseOptions,
    saves: Checkpoints | None,
    *,
    force: bool,
) -> int:
    """Write what was fitted, and say so."""
    if classifier.record.stopped is not None:
        return _save_stopped(classifier, out, saves, force=force)
    if not _save(classifier, out, force=force):
        return 2
    print_result(f"{out}: {_summary(classifier)}")
    calibrated = classifier.calibrated
    if promises.max_risk is not None and calibrated is not None and not calibrated.keeps_promise:
        print_error(f"no valid threshold promises the risk; set others with nescio calibrate {out}")
        return 2
    return 0


def _save(classifier: Classifier, out: Path, *, force: bool) -> bool:
    """Write the model; where that fails, to the temporary folder, so that no work is lost."""
    from nescio.errors import ModelFileError

    try:
        if out.exists() and not force:  # another training was faster
            raise FileExistsError(f"{out} exists by now, and is not overwritten without --force")
        classifier.save(out)
    except (OSError, ModelFileError) as error:
        instead = Path(tempfile.mkdtemp(prefix="nescio-")) / out.name
        classifier.save(instead)
        print_error(f"{error}; the model is in {instead} instead")
        return False
    return True


def _summary(classifier: Classifier) -> str:
    record = classifier.record
    extra = f" ({record.extra_images} of them extra)" if record.extra_images else ""
    names = record.part_names
    parts = (
        f" ({', '.join(f'{part} from {name}' for part, name in names.items())})" if names else ""
    )
    classes = classifier.classes
    more = ", ..." if len(classes) > LISTED else ""
    return (
        f"{classifier.spec.name} on {record.data}, {record.train_images} training{extra} and "
        f"{record.calibration_images} calibration images{parts}, {len(classes)} classes "
        f"({', '.join(classes[:LISTED])}{more}), {len(record.history)} passes. "
        f"{classifier.rule.describe()}"
    )


def _save_stopped(
    classifier: Classifier, out: Path, saves: Checkpoints | None, *, force: bool
) -> int:
    """Keep what was fitted so far; an older model at ``out`` is replaced only if told to."""
    record = classifier.record
    passes = f"the state after pass {len(record.history)}"
    target = out.with_name(f"{out.name}.partial")
    if record.stopped == "interrupted" and sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"Stopped. Write {passes} to {out}? [Y/n] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("", "y", "yes"):
            target = out
    if not _save(classifier, target, force=force or target != out):
        return 2
    why = {
        "interrupted": "training was stopped",
        "diverged": "training diverged (the loss is not finite); lower --learning-rate",
    }
    stopped = record.stopped == "interrupted"
    more = f"; {GO_ON.format(folder=saves.folder)}" if saves is not None and stopped else ""
    more += " --force" if more and target == out else ""
    print_error(f"{why[record.stopped or '']}; {passes} is in {target}{more}")
    return STATUS_OF_STOP[record.stopped or ""]


def save_uncalibrated(error: CalibrationError | CalibrationInterrupt, out: Path) -> int:
    """Keep what was fitted, which answers but has no calibrated rule yet."""
    classifier = error.classifier
    target = out.with_name(f"{out.name}.partial")
    if not _save(classifier, target, force=True):
        return 2
    mend = (
        "use it with --rule median:0.2"
        if classifier.familiarity is None
        else "set its thresholds with nescio calibrate"
    )
    print_error(f"{error}; the trained model, without a rule, is in {target}: {mend}")
    return 130 if isinstance(error, KeyboardInterrupt) else 2
