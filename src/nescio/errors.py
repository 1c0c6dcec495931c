"""Every error that nescio raises on purpose.

::

    NescioError
    ├── UsageError            an option, name or argument that cannot be used
    │   └── RuleError         a refusal rule that cannot be parsed or applied
    ├── DataError             images or labels that cannot be used
    │   ├── UnreadableImage   one image file that cannot be decoded
    │   ├── StudyError        a study that is damaged or foreign, or unlike another
    │   └── DownloadError     a named data set that cannot be fetched
    ├── ArchitectureError     a network that does not fit the data or cannot be built
    ├── DivergenceError       training produced a loss that is not finite
    ├── CalibrationError      what comes after training failed; it carries what was fitted
    ├── ExportError           an exported file does not decide as its classifier does
    ├── OutOfMemoryError      the memory does not hold what was asked for
    ├── ServiceError          the service cannot start
    ├── CheckpointError       checkpoints that are damaged, of something else, or in the way
    ├── DistributedError      processes of one job disagree, or one of them is lost
    └── ModelFileError        a model file that is damaged, foreign, newer or does not match

A message is one line: what was expected, what came, and the mend. The command
line prints it after ``error:`` and exits with status 2. Beside them stands
:class:`CalibrationInterrupt`, a ``KeyboardInterrupt`` that carries what was fitted.
"""

from __future__ import annotations

import errno
from typing import Any

from nescio.names import printable


class NescioError(Exception):
    """Base class of every error that nescio raises on purpose.

    Attributes:
        shared: Whether every process of a job raises it, so that one of them tells it for all.
    """

    shared: bool = False

    def __str__(self) -> str:
        """The message, of which any terminal and any file can be told."""
        return printable(super().__str__(), lines=True)


class UsageError(NescioError, ValueError):
    """An option, a name or an argument is unknown or out of range."""


class RuleError(UsageError):
    """A refusal rule cannot be parsed, or the model lacks what it needs."""


class DataError(NescioError, ValueError):
    """Images or labels cannot be used as they are."""


class UnreadableImage(DataError):  # noqa: N818 - the name says what it is, as in Pillow
    """One image file cannot be decoded."""


class DownloadError(DataError):
    """A named data set is not on this machine and cannot be fetched."""


class StudyError(DataError):
    """A study is damaged, foreign or of another version, or cannot be held against another."""


class ArchitectureError(NescioError, ValueError):
    """A network cannot be built, or does not fit the images or the classes."""


class DivergenceError(NescioError):
    """Training produced a loss that is not finite, before one pass was complete."""


class CalibrationError(NescioError):
    """Training is done, but fitting the familiarity model, or calibrating, failed.

    Attributes:
        classifier: A :class:`nescio.Classifier` (errors stand below it, so its type is not named
            here) with the fitted posterior, and the rule that never refuses. Where it has a
            familiarity model, only calibration failed, and can be done again.
    """

    def __init__(self, message: str, classifier: Any) -> None:
        super().__init__(message)
        self.classifier = classifier


class CalibrationInterrupt(KeyboardInterrupt):
    """Ctrl-C came after training, before the end of calibration.

    Attributes:
        classifier: As of :class:`CalibrationError`.
    """

    def __init__(self, message: str, classifier: Any) -> None:
        super().__init__(message)
        self.classifier = classifier


class OutOfMemoryError(NescioError, MemoryError):
    """The memory of the machine or the device does not hold what was asked for."""


NO_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "can't start new thread",
)
"""What a ``RuntimeError`` says where memory is short."""


def says_no_memory(error: BaseException) -> bool:
    """Whether this is how Python, or PyTorch on the CPU, says that there is no memory left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # PyTorch has no type of its own for it, and a thread that has no memory for its stack neither.
    told = isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    return told or isinstance(error, MemoryError)


class ServiceError(NescioError):
    """The service cannot start: none of its workers does."""


class CheckpointError(NescioError, ValueError):
    """Checkpoints cannot be used: damaged, of something else, or where others are."""


class DistributedError(NescioError):
    """Processes of one job were given different things, or one of them failed or is lost."""


class ExportError(NescioError):
    """An exported file does not decide as its classifier does."""


class ModelFileError(NescioError, ValueError):
    """A model file is damaged, foreign, newer than this version or does not match."""
