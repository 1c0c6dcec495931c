"""One Gaussian for all classes about their means: the distance of Mahalanobis.

    D_c(z) = (z - m_c)' (S + r I)^-1 (z - m_c)

with the class means ``m_c`` and the covariance ``S`` within classes (Lee et al. 2018, *A simple
unified framework for detecting out-of-distribution samples*), a ridge ``r`` for what so many
images can't tell of ``S``, and features of unit length (:func:`nescio.familiarity.subspace.unit`).
It is kept along its principal axes, the largest first, of which those that say
least can be left out (:meth:`SharedGaussian.shortened`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nescio.familiarity.subspace import about, class_means, principal, squared_distances

RIDGE = 0.1
"""Of the mean variance of a feature, added to each."""

MOST_AXES = 128
"""Axes that are kept."""

LEAST = 1e-30
"""A variance below this is none."""

LEAST_LEFT = 1e-6
"""What an image may leave of the covariance once it is left out, as a share; with all axes it
leaves more than the ridge, with some of them rounding could have it leave nothing."""


@dataclass(frozen=True)
class SharedGaussian:
    """The class means of one stage, and the covariance that the classes share.

    Attributes:
        centre: ``(d,)``, the mean of all images: what is near 0 loses no digits.
        means: ``(C, d)``, of the classes, less the centre.
        axes: ``(d, r)``, orthonormal.
        variances: ``(r,)``, along them, ridge included.
        rest: One over the variance in every other direction; 0 where there is none.
        counts: ``(C,)``, training images of each class.
    """

    centre: Tensor
    means: Tensor
    axes: Tensor
    variances: Tensor
    rest: float
    counts: Tensor

    @staticmethod
    def fit(
        features: Tensor,
        labels: Tensor,
        classes: int,
        *,
        ridge: float = RIDGE,
    ) -> SharedGaussian:
        """The Gaussian of features ``(n, d)`` of unit length.

        Args:
            features: ``(n, d)``.
            labels: ``(n,)`` int64; every class occurs.
            classes: ``C``.
            ridge: A share of the mean variance.

        Raises:
            ArchitectureError: Features are NaN or infinite.
        """
        centre = features.double().mean(0)
        means = class_means(features, labels, classes)
        covariance = about(features, means[labels])
        counts = torch.bincount(labels, minlength=classes)
        if float(covariance.trace()) <= LEAST * len(covariance):
            # One image a class, or all alike: taken to vary as all images do.
            covariance = about(features, centre)
        values, axes = principal(covariance)
        values = values + ridge * float(values.mean()) + LEAST
        return SharedGaussian(
            centre.float(),
            (means - centre).float(),
            axes.float().contiguous(),
            values.float(),
            0.0,
            counts.float(),
        )

    def shortened(self, most: int = MOST_AXES) -> SharedGaussian:
        """With the largest axes alone; the others are taken to vary alike, as they do on average.

        So a model file stays small. Distances of new images are the same on average; those of
        training images are not any more what :meth:`left_out` could take them out of.
        """
        others = self.variances[most:]
        if not len(others):
            return self
        return replace(
            self,
            axes=self.axes[:, :most].contiguous(),
            variances=self.variances[:most],
            rest=float(1 / others.mean()),
        )

    @property
    def classes(self) -> int:
        """``C``."""
        return len(self.means)

    def distances(self, features: Tensor) -> Tensor:
        """``(n, C)``: squared distances of features ``(n, d)`` from each class."""
        scale = self.variances.rsqrt()
        away = features - self.centre
        along, centres = away @ self.axes, self.means @ self.axes
        near = squared_distances(along * scale, centres * scale)
        if not self.rest:
            return near
        beyond = squared_distances(away, self.means) - squared_distances(along, centres)
        return near + self.rest * beyond.clamp_min(0)

    def left_out(self, features: Tensor, labels: Tensor) -> Tensor:
        """``(n,)``: the distance of each training image from its own class without it.

        In closed form: it moves the mean of its class, and takes a part of rank one from the
        covariance (Sherman & Morrison 1950).

        Args:
            features: ``(n, d)`` of all images that this was fitted to, with all axes.
            labels: ``(n,)`` int64, their classes.
        """
        own = self._own(features, labels)
        n = self.counts[labels].double()
        more = n / (n - 1).clamp_min(1)
        left = (1 - more * own / float(self.counts.sum())).clamp_min(LEAST_LEFT)
        # A class of one image has no mean without it: its own distance must do.
        return torch.where(n > 1, more.square() * own / left, own).float()

    def _own(self, features: Tensor, labels: Tensor) -> Tensor:
        """``(n,)`` float64, from their own classes, with all digits."""
        away = (features - self.centre - self.means[labels]).double()
        along = away @ self.axes.double()
        near = (along.square() / self.variances.double()).sum(1)
        beyond = away.square().sum(1) - along.square().sum(1)
        return near + self.rest * beyond.clamp_min(0)

    def describe(self) -> str:
        """In plain words."""
        return f"{self.axes.shape[1]} of {len(self.axes)} axes, one covariance for all classes"

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        return {
            "centre": self.centre,
            "means": self.means,
            "axes": self.axes,
            "variances": self.variances,
            "rest": torch.tensor(self.rest),
            "counts": self.counts,
        }

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> SharedGaussian:
        """What :meth:`tensors` gave.

        Raises:
            ValueError: They do not fit together.
        """
        centre, means, axes, variances, counts = (
            tensors[name] for name in ("centre", "means", "axes", "variances", "counts")
        )
        if (
            means.shape[1:] != centre.shape
            or axes.shape != (means.shape[1], len(variances))
            or counts.shape != means.shape[:1]
        ):
            raise ValueError("the tensors of a stage do not fit together")
        rest = float(tensors["rest"])
        return SharedGaussian(centre, means, axes, variances, rest, counts)
