"""The classifier: a fitted posterior with everything that is needed to answer.

It joins the packages below it and adds no mathematics of its own. Read in this
order: :mod:`record`, :mod:`classifier`, :mod:`judging`, :mod:`modelfile`.
"""

from nescio.classifier.classifier import SAMPLES, Classifier, Images
from nescio.classifier.judging import Judgement, familiar_set, judge, shifted_sets
from nescio.classifier.modelfile import describe_model, load_model, read_header
from nescio.classifier.record import TrainingRecord

__all__ = [
    "SAMPLES",
    "Classifier",
    "Images",
    "Judgement",
    "TrainingRecord",
    "describe_model",
    "familiar_set",
    "judge",
    "load_model",
    "read_header",
    "shifted_sets",
]
