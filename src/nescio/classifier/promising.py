"""Other promises of a calibrated model, without its calibration images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from nescio.classifier.calibrating import Promises, no_threshold
from nescio.classifier.classifier import Classifier
from nescio.classifier.contents import KEPT, kept_scores
from nescio.classifier.modelfile import open_safetensors, read_header
from nescio.errors import ModelFileError, NescioError, RuleError
from nescio.refusal import (
    RISKS,
    CalibratedRule,
    KeptScores,
    PromiseRow,
    calibrate,
    promise_table,
)


def promise_rows(classifier: Classifier, risks: Sequence[float] = RISKS) -> tuple[PromiseRow, ...]:
    """See :meth:`Classifier.promises`."""
    return _rows(*_known(classifier), risks)


def promise(
    classifier: Classifier,
    max_risk: float,
    *,
    confidence: float | None = None,
    max_refusal: float | None = None,
) -> Classifier:
    """See :meth:`Classifier.promise`."""
    own, kept = _known(classifier)
    asked = Promises(
        max_refusal=own.max_refusal if max_refusal is None else max_refusal,
        max_risk=max_risk,
        confidence=own.confidence if confidence is None else confidence,
    )
    grouped = own.calibrated_on.grouped
    asked.check_images(len(kept), len(classifier.classes), grouped=grouped)
    rule = calibrate(
        kept.scores(),
        own.calibrated_on,
        max_refusal=asked.budget(len(kept)),
        max_risk=asked.max_risk,
        confidence=asked.confidence,
        doubt=own.doubt,
    )
    if not rule.keeps_promise:
        raise RuleError(no_threshold(rule))
    return replace(classifier, calibrated=rule, rule=rule)


def read_promises(path: Path) -> tuple[PromiseRow, ...] | None:
    """The table of a model file, without its network; ``None`` where it keeps what is needed not.

    Raises:
        ModelFileError: The file is missing, damaged, foreign or newer.
    """
    header = read_header(path)
    try:
        calibrated = header["calibrated"]
        kept = kept_scores(calibrated, _kept_tensors(path))
        return None if kept is None else _rows(CalibratedRule.from_json(calibrated), kept, RISKS)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, NescioError):
            raise
        raise ModelFileError(f"{path}: the file's description is not valid ({error!r})") from error


def _known(classifier: Classifier) -> tuple[CalibratedRule, KeptScores]:
    if classifier.calibrated is None or classifier.kept is None:
        raise RuleError(
            "this model keeps nothing of its calibration (it was not calibrated, or by an earlier "
            "nescio), so thresholds for another promise need images: nescio calibrate"
        )
    return classifier.calibrated, classifier.kept


def _rows(own: CalibratedRule, kept: KeptScores, risks: Sequence[float]) -> tuple[PromiseRow, ...]:
    return promise_table(
        kept,
        own.calibrated_on,
        max_refusal=own.max_refusal,
        confidence=own.confidence,
        risks=risks,
        doubt=own.doubt,
    )


def _kept_tensors(path: Path) -> Mapping[str, Tensor]:
    with open_safetensors(path) as file:
        names = [name for name in file.keys() if name.startswith(f"{KEPT}/")]  # noqa: SIM118
        return {name.removeprefix(f"{KEPT}/"): file.get_tensor(name) for name in names}
