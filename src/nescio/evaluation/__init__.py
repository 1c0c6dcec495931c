"""Evaluation: figures with their intervals, and the study that holds all of them.

Read in this order: :mod:`intervals`, :mod:`bootstrap`, :mod:`study`, :mod:`checks`; the figures as
functions of weights, :mod:`calibration`, :mod:`selective`, :mod:`detection`; :mod:`figures`,
:mod:`evaluation`, :mod:`classes`, :mod:`metrics`, :mod:`studyfile`; :mod:`paired`, :mod:`compare`.
"""

from nescio.evaluation.bootstrap import RESAMPLES
from nescio.evaluation.calibration import ReliabilityBin, reliability
from nescio.evaluation.classes import ClassFigures, class_figures
from nescio.evaluation.compare import Compared, Comparison, compare, judged_by
from nescio.evaluation.evaluation import (
    Evaluation,
    OutOfDistribution,
    evaluation_of,
    results_json,
    summarise,
)
from nescio.evaluation.figures import count_reasons
from nescio.evaluation.intervals import Interval, exact_share
from nescio.evaluation.metrics import (
    area_under_generalised_risk_coverage,
    area_under_risk_coverage,
    aupr,
    auroc,
    brier_score,
    classwise_calibration_error,
    coverage_at_risk,
    excess_area_under_risk_coverage,
    expected_calibration_error,
    fpr_at_95_tpr,
    negative_log_likelihood,
    risk_at_coverage,
)
from nescio.evaluation.study import (
    AMBIGUOUS,
    ANSWERED,
    GALLERIES,
    UNFAMILIAR,
    Answers,
    CorruptionCurve,
    ForcedFigures,
    Grade,
    JudgedSet,
    ModelCard,
    RiskCurve,
    SelectiveFigures,
    ShiftedFigures,
    Specimen,
    StudiedRule,
    Study,
    TrainingPass,
)
from nescio.evaluation.studyfile import read_study, study_from_json, study_to_json, write_study

__all__ = [
    "AMBIGUOUS",
    "ANSWERED",
    "GALLERIES",
    "RESAMPLES",
    "UNFAMILIAR",
    "Answers",
    "ClassFigures",
    "Compared",
    "Comparison",
    "CorruptionCurve",
    "Evaluation",
    "ForcedFigures",
    "Grade",
    "Interval",
    "JudgedSet",
    "ModelCard",
    "OutOfDistribution",
    "ReliabilityBin",
    "RiskCurve",
    "SelectiveFigures",
    "ShiftedFigures",
    "Specimen",
    "StudiedRule",
    "Study",
    "TrainingPass",
    "area_under_generalised_risk_coverage",
    "area_under_risk_coverage",
    "aupr",
    "auroc",
    "brier_score",
    "class_figures",
    "classwise_calibration_error",
    "compare",
    "count_reasons",
    "coverage_at_risk",
    "evaluation_of",
    "exact_share",
    "excess_area_under_risk_coverage",
    "expected_calibration_error",
    "fpr_at_95_tpr",
    "judged_by",
    "negative_log_likelihood",
    "read_study",
    "reliability",
    "results_json",
    "risk_at_coverage",
    "study_from_json",
    "study_to_json",
    "summarise",
    "write_study",
]
