"""nescio: image classifiers that say "I don't know" when they should.

>>> import nescio
>>> data = nescio.load("digits")
>>> classifier = nescio.fit("mlp", data)                        # doctest: +SKIP
>>> classifier.decide(images)[0]                                # doctest: +SKIP

Everything public is in ``__all__``. PyTorch is imported when the first of these
names is used, so that ``import nescio`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nescio.errors import (
    ArchitectureError,
    CalibrationError,
    CalibrationInterrupt,
    CheckpointError,
    DataError,
    DistributedError,
    DivergenceError,
    DownloadError,
    ExportError,
    ModelFileError,
    NescioError,
    OutOfMemoryError,
    RuleError,
    ServiceError,
    StudyError,
    UnreadableImage,
    UsageError,
)

if TYPE_CHECKING:
    from nescio.classifier import Classifier, TrainingRecord, load_model
    from nescio.data import (
        DataLike,
        Dataset,
        ImageSet,
        ImagesLike,
        Preprocessing,
        Reading,
        image_set,
        load,
        split,
    )
    from nescio.estimator import NescioClassifier
    from nescio.evaluation import Evaluation, Interval, OutOfDistribution, Study, read_study
    from nescio.inference import ARTICLE, DEFAULT, Recipe
    from nescio.network import cnn, mlp
    from nescio.refusal import (
        CalibratedRule,
        Decision,
        Decisions,
        NeverRefuse,
        QuantileRule,
        Reason,
    )
    from nescio.training import fit

__version__: str

_HOMES = {
    "nescio.classifier": ("Classifier", "TrainingRecord", "load_model"),
    "nescio.data": (
        "DataLike",
        "Dataset",
        "ImageSet",
        "ImagesLike",
        "Preprocessing",
        "Reading",
        "image_set",
        "load",
        "split",
    ),
    "nescio.estimator": ("NescioClassifier",),
    "nescio.evaluation": (
        "Evaluation",
        "Interval",
        "OutOfDistribution",
        "Study",
        "read_study",
    ),
    "nescio.inference": ("ARTICLE", "DEFAULT", "Recipe"),
    "nescio.network": ("cnn", "mlp"),
    "nescio.refusal": (
        "CalibratedRule",
        "Decision",
        "Decisions",
        "NeverRefuse",
        "QuantileRule",
        "Reason",
    ),
    "nescio.training": ("fit",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ARTICLE",
    "DEFAULT",
    "ArchitectureError",
    "CalibratedRule",
    "CalibrationError",
    "CalibrationInterrupt",
    "CheckpointError",
    "Classifier",
    "DataError",
    "DataLike",
    "Dataset",
    "Decision",
    "Decisions",
    "DistributedError",
    "DivergenceError",
    "DownloadError",
    "Evaluation",
    "ExportError",
    "ImageSet",
    "ImagesLike",
    "Interval",
    "ModelFileError",
    "NescioClassifier",
    "NescioError",
    "NeverRefuse",
    "OutOfDistribution",
    "OutOfMemoryError",
    "Preprocessing",
    "QuantileRule",
    "Reading",
    "Reason",
    "Recipe",
    "RuleError",
    "ServiceError",
    "Study",
    "StudyError",
    "TrainingRecord",
    "UnreadableImage",
    "UsageError",
    "cnn",
    "fit",
    "image_set",
    "load",
    "load_model",
    "mlp",
    "read_study",
    "split",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes a tenth of what nescio --help may

        return version("nescio")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nescio' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
