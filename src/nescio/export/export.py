"""Write a classifier as one ONNX file, once it is known to decide as the classifier does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nescio.errors import UsageError
from nescio.files import check_output, write_bytes
from nescio.progress import SILENT, Reporter

if TYPE_CHECKING:
    from nescio.classifier import Classifier
    from nescio.data import ImageSet
    from nescio.export.check import Agreement
    from nescio.export.networks import Draw
    from nescio.refusal import Rule

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""What the extra ``nescio[onnx]`` installs."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: Where.
        size: In bytes.
        draw: The networks in it.
        agreement: How it compares with the classifier.
    """

    path: Path
    size: int
    draw: Draw
    agreement: Agreement


def require_onnx() -> None:
    """Fail before work is done, if what is needed is not installed.

    Raises:
        UsageError: Something is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"exporting needs {', '.join(missing)}; install it with pip install 'nescio[onnx]'"
        )


def export_onnx(
    classifier: Classifier,
    path: str | Path,
    *,
    rule: Rule | str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    check: Sequence[ImageSet] = (),
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write a classifier as one ONNX file that decides without PyTorch.

    The file is run by ONNX Runtime and compared with the classifier before it is written.

    Args:
        classifier: On the CPU.
        path: The file.
        rule: A rule or its name; ``None`` for the one in force.
        samples: How many networks; ``None`` for as many as the rule was calibrated with.
        seed: Of the networks; ``None`` for the one that the rule was calibrated with.
        check: Images to compare on beside made ones, in the model's colour, of any size.
        force: Whether a file that is there is overwritten.
        reporter: Told of progress.

    Raises:
        UsageError: A package is missing, the file cannot be written or would be too large.
        ArchitectureError: The network cannot be exported.
        RuleError: The rule cannot be used.
        ExportError: The file decides otherwise than the classifier; nothing is written.
    """
    require_onnx()
    path = Path(path)
    check_output(path, force=force)
    from nescio.export.check import compare, made_images
    from nescio.export.model import build_model, choose_draw, serialise, start

    chosen = classifier.choose_rule(rule)
    draw = choose_draw(classifier, chosen, samples, seed)
    with reporter.task("writing the graph", 3, "steps") as task:
        model = build_model(classifier, chosen, draw)
        task.advance()
        content = serialise(model)
        task.advance()
        session = start(content)
        task.advance()
    sets = [*made_images(classifier.preprocessing), *check]
    agreement = compare(session, classifier, chosen, draw, sets, reporter=reporter)
    agreement.require()
    write_bytes(path, content)
    return Exported(path, len(content), draw, agreement)
