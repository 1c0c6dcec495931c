"""The classifier: a fitted posterior with everything that is needed to answer.

It joins the packages below it and adds no mathematics of its own. Read in this
order: :mod:`record`, :mod:`classifier`, :mod:`calibrating`, :mod:`judging`, :mod:`modelfile`.
"""

from nescio.classifier.calibrating import (
    CONFIDENCE,
    MAX_REFUSAL,
    Promises,
    calibrate_classifier,
)
from nescio.classifier.classifier import SAMPLES, Classifier, Images
from nescio.classifier.describe import describe_model
from nescio.classifier.judging import (
    Judgement,
    calibration_set,
    familiar_set,
    judge,
    shifted_sets,
)
from nescio.classifier.modelfile import load_model, read_header
from nescio.classifier.record import TrainingRecord

__all__ = [
    "CONFIDENCE",
    "MAX_REFUSAL",
    "SAMPLES",
    "Classifier",
    "Images",
    "Judgement",
    "Promises",
    "TrainingRecord",
    "calibrate_classifier",
    "calibration_set",
    "describe_model",
    "familiar_set",
    "judge",
    "load_model",
    "read_header",
    "shifted_sets",
]
