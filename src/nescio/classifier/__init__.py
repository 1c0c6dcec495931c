"""The classifier: a fitted posterior with everything that is needed to answer.

It joins the packages below it and adds no mathematics of its own. Read in this
order: :mod:`record`, :mod:`predictor`, :mod:`classifier`, :mod:`calibrating`, :mod:`sets`,
:mod:`judging`, :mod:`specimens`, :mod:`studying`, :mod:`modelfile`, :mod:`promising`,
:mod:`describe`.
"""

from nescio.classifier.calibrating import (
    CONFIDENCE,
    MAX_REFUSAL,
    Promises,
    calibrate_classifier,
)
from nescio.classifier.classifier import SAMPLES, Classifier
from nescio.classifier.describe import describe_model
from nescio.classifier.judging import Judgement, judge
from nescio.classifier.modelfile import load_model, read_header
from nescio.classifier.predictor import Predictor, settled_after
from nescio.classifier.promising import read_promises
from nescio.classifier.record import GroupRecord, TrainingRecord
from nescio.classifier.sets import (
    calibration_set,
    common_familiar_sets,
    familiar_and_unknown,
    familiar_set,
    shifted_sets,
)
from nescio.classifier.studying import (
    CORRUPTED_IMAGES,
    choose_corruptions,
    complete_study,
    make_study,
)

__all__ = [
    "CONFIDENCE",
    "CORRUPTED_IMAGES",
    "MAX_REFUSAL",
    "SAMPLES",
    "Classifier",
    "GroupRecord",
    "Judgement",
    "Predictor",
    "Promises",
    "TrainingRecord",
    "calibrate_classifier",
    "calibration_set",
    "choose_corruptions",
    "common_familiar_sets",
    "complete_study",
    "describe_model",
    "familiar_and_unknown",
    "familiar_set",
    "judge",
    "load_model",
    "make_study",
    "read_header",
    "read_promises",
    "settled_after",
    "shifted_sets",
]
