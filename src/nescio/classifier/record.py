"""Where a fitted posterior comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from nescio.inference import Epoch


@dataclass(frozen=True)
class GroupRecord:
    """How it was told which images of a data set belong together.

    Attributes:
        count: How many groups its training images are of, before they are split.
        calibration: How many of these are for calibration.
        pattern: The regular expression that found them, see :class:`nescio.data.Grouping`;
            ``None`` where none did.
        file: The name of the file that named them; empty where none did.
        fingerprint: SHA-256 of that file.
    """

    count: int
    calibration: int
    pattern: str | None = None
    file: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class TrainingRecord:
    """Where a posterior comes from.

    Attributes:
        data: The name of the data set.
        fingerprint: SHA-256 of all images and labels that the splits were made of.
        train_images: How many were trained on, extra images and all.
        calibration_images: How many were kept for calibration.
        test_fraction: The share left out for ``evaluate``; 0 when the set has a test
            split of its own.
        seed: Of the splits, the fit and the predictions.
        history: One entry for each complete pass.
        stopped: Why training ended early, or ``None``.
        versions: Of the libraries that fitted it.
        seen: ``(M,)`` int64, content hashes of all training and calibration images.
        extra_images: How many of the training images came from beside the data set.
        extra_fingerprint: SHA-256 of these and their labels; empty where there are none.
        diagnostics: Figures that tell whether the posterior can be trusted, where its method
            has any.
        weights: The file of weights that the network began with; empty where there was none.
        weights_fingerprint: SHA-256 of that file.
        parts: ``(N,)`` uint8, for each image that the splits were made of its place in
            :data:`nescio.data.split.PARTS`, where a file, the folders or groups said so; else
            ``None``.
        split_fingerprint: SHA-256 of that file as nescio writes it; empty where there is none.
        part_names: What the data set itself calls its parts, such as ``calibration``: ``val``;
            empty where it has none.
        groups: ``(N,)`` int64, which of these images belong together; ``None`` where that is not
            known.
        grouped: How that was told.
        dropped: Classes that the data have, and that training left out with too few images.
    """

    data: str
    fingerprint: str
    train_images: int
    calibration_images: int
    test_fraction: float
    seed: int
    history: tuple[Epoch, ...]
    stopped: str | None
    versions: Mapping[str, str]
    seen: Tensor
    extra_images: int = 0
    extra_fingerprint: str = ""
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    weights: str = ""
    weights_fingerprint: str = ""
    parts: Tensor | None = None
    split_fingerprint: str = ""
    part_names: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    groups: Tensor | None = None
    grouped: GroupRecord | None = None
