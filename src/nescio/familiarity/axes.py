"""Principal axes of the features of a stage: from many numbers that vary together to a few.

Features are first standardised; what the axes leave of them is kept as one more number, the
logarithm of its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.errors import ArchitectureError
from nescio.ranks import Ranks, total_

MOST_AXES = 128
"""Principal axes that are kept."""

SHARE = 0.4
"""At most so many axes for each image. Four fifths of the images, to which densities are fitted for
distances of the rest, then still have two for each axis (:mod:`nescio.familiarity.crossfit`)."""

LEAST_SPREAD = 0.01
"""A feature's standard deviation is taken for at least this share of the average one."""

LEAST_VARIANCE = 1e-5
"""Axes with less than this share of the largest variance are left to the remainder."""

ROUNDING = 1e-5
"""Features that vary by less than this share of their size do not vary."""


@dataclass(frozen=True)
class Axes:
    """From the features of a stage to few uncorrelated numbers.

    Attributes:
        centre: ``(d,)``, the mean.
        spread: ``(d,)``, the standard deviation.
        basis: ``(d, r)``, principal axes of the standardised features.
        remainder: ``()``, the mean squared size of what the axes leave; 0 where it is nothing.
    """

    centre: Tensor
    spread: Tensor
    basis: Tensor
    remainder: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """``(n, r)``, or ``(n, r + 1)`` with the logarithm of what is left."""
        standard = (features - self.centre) / self.spread
        along = standard @ self.basis
        if not float(self.remainder):
            return along
        # Not as a difference of squares, which would lose the digits of a small remainder.
        left = (standard - along @ self.basis.T).square().sum(1) / self.remainder
        return torch.cat([along, (left + LEAST_VARIANCE).log()[:, None]], 1)

    @property
    def size(self) -> int:
        """How many numbers come out."""
        return self.basis.shape[1] + bool(self.remainder)

    def describe(self) -> str:
        """In plain words."""
        features, kept = self.basis.shape
        left = " and what they leave" if bool(self.remainder) else ""
        return f"{kept} axes of {features} features{left}"

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        return {
            "centre": self.centre,
            "spread": self.spread,
            "basis": self.basis,
            "remainder": self.remainder,
        }

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> Axes:
        """What :meth:`tensors` gave.

        Raises:
            ValueError: They do not fit together.
        """
        axes = Axes(*(tensors[name] for name in ("centre", "spread", "basis", "remainder")))
        features = len(axes.basis)
        if axes.centre.shape != (features,) or axes.spread.shape != (features,):
            raise ValueError("the tensors of a stage do not fit together")
        return axes


class AxesMoments:
    """Gathers features batch by batch; gives their principal axes."""

    def __init__(self) -> None:
        self._count = 0
        self._shift: Tensor | None = None

    def add(self, features: Tensor) -> None:
        """One batch of features ``(n, d)``."""
        if self._shift is None:
            self._shift = features.mean(0)  # near the mean, so that the sums lose no digits
            self._sum = zeros(features, features.shape[1])
            self._squares = zeros(features, features.shape[1], features.shape[1])
        near = features - self._shift
        self._count += len(near)
        self._sum += near.sum(0).double()
        self._squares += (near.T @ near).double()

    def reduce(self, ranks: Ranks, like: Tensor) -> None:
        """Gather what all processes added; those of ``like`` ``(n, d)`` may have added nothing.

        Sums about one's own shift become sums about that of process 0: with ``t`` the difference of
        shifts, ``sum (x + t)(x + t)' = sum x x' + t (sum x)' + (sum x) t' + n t t'``.
        """
        if ranks.size == 1:
            return
        if self._shift is None:
            self.add(like[:0].new_zeros(1, like.shape[1]))
            self._count = 0
            self._sum.zero_()
            self._squares.zero_()
        assert self._shift is not None  # noqa: S101 - something was added
        shift = ranks.gather(self._shift.to(ranks.place))[0].to(self._shift.device)
        apart = (self._shift - shift).double()
        cross = apart[:, None] * self._sum
        self._squares += cross + cross.T + self._count * apart[:, None] * apart
        self._sum += self._count * apart
        self._shift = shift
        count = torch.tensor(float(self._count), dtype=torch.float64, device=like.device)
        total_(ranks, [self._sum, self._squares, count])
        self._count = int(count)

    def axes(self, most: int = MOST_AXES) -> Axes | None:
        """At most ``most`` axes; ``None`` where no feature varies.

        Raises:
            ArchitectureError: Features are NaN or infinite.
        """
        assert self._shift is not None  # noqa: S101 - something was added
        mean = self._sum / self._count
        covariance = self._squares / self._count - mean[:, None] * mean
        if not bool(torch.isfinite(covariance).all()):
            raise ArchitectureError("the network gives features that are NaN or infinite")
        spread = _spread(covariance.diagonal().clamp_min(0), self._shift)
        if spread is None:
            return None
        values, vectors = _eigen(covariance / (spread[:, None] * spread))
        centre = (self._shift.double() + mean).float()
        # With nearly as many axes as images nothing is left of these, and much of any other.
        return _principal(centre, spread, values, vectors, min(most, int(SHARE * self._count)))


def axes_of_few(features: Tensor, most: int) -> Axes | None:
    """``most`` principal axes of features ``(n, d)``, in little time where ``n < d``.

    The same as of :class:`AxesMoments`, by the singular values of the features themselves.
    """
    centre = features.mean(0)
    near = (features - centre).double()
    spread = _spread(near.square().mean(0), centre)
    if spread is None:
        return None
    standard = near / (spread * math.sqrt(len(near)))
    _, singular, vectors = torch.linalg.svd(standard, full_matrices=False)
    values, vectors = singular.square().flip(0), vectors.T.flip(1)
    return _principal(centre, spread, values, vectors, most)


def _spread(variance: Tensor, size: Tensor) -> Tensor | None:
    """What features ``(d,)`` are divided by; ``None`` where none varies, for its size."""
    typical = float(variance.mean().sqrt())
    if not typical > ROUNDING * float(size.abs().max()):
        return None
    return variance.sqrt().clamp_min(LEAST_SPREAD * typical)


def _principal(centre: Tensor, spread: Tensor, values: Tensor, vectors: Tensor, most: int) -> Axes:
    """The axes with the largest of the rising ``values``."""
    kept = int((values > LEAST_VARIANCE * values[-1]).sum())
    kept = max(1, min(kept, most))
    left = 0.0
    if kept < len(spread):
        # Where training images leave nothing, anything that is left is strange.
        left = float(values[:-kept].clamp_min(0).sum().clamp_min(LEAST_VARIANCE * values[-1]))
    return Axes(
        centre=centre,
        spread=spread.float(),
        basis=vectors[:, -kept:].float().contiguous(),
        remainder=torch.tensor(left),
    )


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Rising eigenvalues and their vectors of a covariance ``(d, d)``."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # not in its stubs
        # LAPACK's divide and conquer may fail where many features never vary (seen with a
        # thousand dead units); the singular values of a covariance are its eigenvalues.
        vectors, values, _ = torch.linalg.svd(matrix)
        values, vectors = values.flip(0), vectors.flip(1)
    return values, vectors


def zeros(like: Tensor, *shape: int) -> Tensor:
    """Zeros to sum in, where ``like`` is."""
    return torch.zeros(shape, dtype=torch.float64, device=like.device)
