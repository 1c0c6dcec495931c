"""Covariances of features, and the axes along which they vary."""

from __future__ import annotations

import torch
from torch import Tensor

from nescio.errors import ArchitectureError

NOTHING = 1e-12
"""Features that vary by less than this share of their squared size do not vary: rounding alone
makes some 1e-14."""


def unit(features: Tensor) -> Tensor:
    """Features ``(n, d)`` brought to length 1; what is all zeros stays.

    How long features are tells little of what an image shows, and hides in which direction they
    point: Mahalanobis distances of unit vectors find strangers better (Müller & Hein 2025,
    *Mahalanobis++*).
    """
    return torch.nn.functional.normalize(features, dim=1)


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """``(C, d)`` float64; every class occurs."""
    counts = torch.bincount(labels, minlength=classes).double()
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    return sums.index_add_(0, labels, features.double()) / counts[:, None]


def about(features: Tensor, centres: Tensor) -> Tensor:
    """The covariance ``(d, d)`` float64 of features about as many ``centres``, or about one.

    Raises:
        ArchitectureError: Features are NaN or infinite.
    """
    # Products in the features' own precision, of what is near 0, lose no digits that count.
    away = (features - centres.to(features.dtype)).float()
    covariance = (away.T @ away).double() / len(away)
    if not bool(torch.isfinite(covariance).all()):
        raise ArchitectureError("the network gives features that are NaN or infinite")
    return covariance


def varies(features: Tensor) -> bool:
    """Whether features ``(n, d)`` differ from image to image by more than rounding."""
    variance = features.double().var(0, correction=0).sum()
    return bool(variance > NOTHING * features.double().square().mean(0).sum())


def principal(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Falling variances ``(d,)``, not negative, and their axes ``(d, d)``, column by column."""
    try:
        values, vectors = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # not in its stubs
        # LAPACK's divide and conquer may fail where many features never vary (seen with a
        # thousand dead units); the singular values of a covariance are its eigenvalues.
        vectors, values, _ = torch.linalg.svd(covariance)
        return values, vectors
    return values.flip(0).clamp_min(0), vectors.flip(1)


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """``(n, m)``, of ``(n, r)`` from ``(m, r)``, with all digits.

    Not by the squares and products of both, as is quicker where ``m`` is large: where classes
    hardly vary and lie far apart that loses what counts.
    """
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(points, centres, compute_mode=mode).square()
