"""A Gaussian for every class, with what is not known of it integrated out.

The features ``z`` of the images of class ``c`` are Normal(m_c, S_c). The prior of m_c is
flat, that of S_c is inverse Wishart around what all classes share,

    S_c ~ IW(k + d + 1, k S),        E S_c = S,

with the strength ``k`` in images. A new image is then Student's t about the class mean with
squared distance (Gelman et al. 2013, *Bayesian data analysis*, section 3.6)

    D_c(z) = (z - m_c)' [(k S + scatter_c) (1 + 1/n_c) / (n_c + k + 2)]^-1 (z - m_c).

``k`` is the one of a grid that makes the training features most probable (empirical Bayes),
so classes with few images lean on the others. Where a matrix for each class would be too
much memory all share one. Features are first standardised and brought to their principal
axes; what the axes leave is kept as one more feature, the logarithm of its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.familiarity.axes import LEAST_VARIANCE, Axes, zeros
from nescio.ranks import Ranks, total_

MOST_NUMBERS = 2**23
"""Numbers in all classes' matrices of a stage (32 MiB); with more, all classes share one."""

STRENGTHS = tuple(2.0**power for power in range(-3, 11))
"""The grid of prior strengths, in images for each dimension."""

NOTHING = 1e-7
"""A variance within classes below this share of the largest variance of all images is none: it
would be rounding, and in its units images lie too far away for the numbers that keep them."""


@dataclass(frozen=True)
class GaussianDensities:
    """The predictive densities of all classes on one stage.

    Attributes:
        axes: What features are brought to first.
        means: ``(C, r)``, the class means.
        whiteners: ``(C, r, r)``, or ``(1, r, r)`` where the classes share one: lower
            triangular, ``|W (z - m)|^2`` is the squared distance.
        strength: The prior strength ``k``, in images.
        counts: ``(C,)``, training images of each class.
    """

    axes: Axes
    means: Tensor
    whiteners: Tensor
    strength: float
    counts: Tensor

    @property
    def classes(self) -> int:
        """``C``."""
        return len(self.means)

    def describe(self) -> str:
        """In plain words."""
        if self.shared:
            return f"{self.axes.describe()}, one covariance for all classes"
        return (
            f"{self.axes.describe()}, a covariance for each class "
            f"(the shared one weighs {self.strength:.3g} images)"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        own = {"means": self.means, "whiteners": self.whiteners, "counts": self.counts}
        return {**self.axes.tensors(), **own, "strength": torch.tensor(self.strength)}

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> GaussianDensities:
        """What :meth:`tensors` gave.

        Raises:
            ValueError: They do not fit together.
        """
        axes = Axes.unpack(tensors)
        means, whiteners, counts = (tensors[n] for n in ("means", "whiteners", "counts"))
        size = axes.size
        if (
            means.shape[1:] != (size,)
            or len(whiteners) not in (1, len(means))
            or whiteners.shape[1:] != (size, size)
            or counts.shape != means.shape[:1]
        ):
            raise ValueError("the tensors of a stage do not fit together")
        return GaussianDensities(axes, means, whiteners, float(tensors["strength"]), counts)

    @property
    def shared(self) -> bool:
        """Whether all classes share one covariance."""
        return len(self.whiteners) == 1

    def distances(self, features: Tensor) -> Tensor:
        """``(n, C)``: squared distances of features ``(n, d)`` from each class."""
        return self._distances(self.axes(features))

    def _distances(self, z: Tensor) -> Tensor:
        if self.shared:
            white = self.whiteners[0].T
            away = torch.cdist(z @ white, self.means @ white)
            return away.square() / (1 + 1 / self.counts)
        classes, size = self.means.shape
        # One product for all classes; rows of class c lie together.
        flat = self.whiteners.reshape(classes * size, size)
        offsets = torch.bmm(self.whiteners, self.means[:, :, None]).reshape(-1)
        white = torch.addmm(-offsets, z, flat.T).view(len(z), classes, size)
        return white.square().sum(2)

    def left_out(self, features: Tensor, labels: Tensor) -> Tensor:
        """``(n,)``: the distance of each training image from its own class without it.

        In closed form: an image is a rank-one part of its class's scatter and of what all
        classes share, so leaving it out divides by ``1 - h q`` (Sherman & Morrison 1950).

        Args:
            features: ``(n, d)`` of images that the densities were fitted to.
            labels: ``(n,)`` int64, their classes.
        """
        n = self.counts[labels].double()
        own = self._distances(self.axes(features)).gather(1, labels[:, None])[:, 0].double()
        total, size = float(self.counts.sum()), self.means.shape[1]
        if self.shared:
            weight, degrees = n / (n - 1).clamp_min(1), torch.full_like(n, total)
            scale, scale_without = (1 + 1 / n) / total, (1 + 1 / (n - 1).clamp_min(1)) / total
        else:
            share = self.strength / total
            weight, degrees = (1 + share) * n / (n - 1).clamp_min(1), n + self.strength + 2
            scale = (1 + 1 / n) / degrees
            scale_without = (1 + 1 / (n - 1).clamp_min(1)) / (degrees - 1)
        q = own * scale
        # A class of one image has no mean without it: its own distance must do.
        away = (n / (n - 1).clamp_min(1)).square()
        without = away * q / (1 - weight * q).clamp_min(1.0 / (degrees + size)) / scale_without
        return torch.where(n > 1, without, own).float()


class ClassMoments:
    """Gathers features with labels batch by batch; gives the densities of the classes.

    Args:
        axes: What features are brought to.
        classes: ``C``.
        most_numbers: Above this the classes share one covariance.
    """

    def __init__(self, axes: Axes, classes: int, most_numbers: int = MOST_NUMBERS) -> None:
        size = axes.size
        shared = classes * size**2 > most_numbers
        self.classes = classes
        self._axes = axes
        self._counts = zeros(axes.basis, classes)
        self._sums = zeros(axes.basis, classes, size)
        self._squares = zeros(axes.basis, 1 if shared else classes, size, size)

    def add(self, z: Tensor, labels: Tensor) -> None:
        """One batch: features along the axes ``(n, r)`` and labels ``(n,)`` int64."""
        sizes = torch.bincount(labels, minlength=len(self._counts))
        self._counts += sizes
        z = z.double()  # classes may lie far from 0 and close together
        self._sums.index_add_(0, labels, z)
        if len(self._squares) == 1:
            self._squares[0] += z.T @ z
            return
        for label, own in enumerate(z[labels.argsort()].split(sizes.tolist())):
            if len(own):
                self._squares[label] += own.T @ own

    def reduce(self, ranks: Ranks) -> None:
        """Gather what all processes added."""
        total_(ranks, [self._counts, self._sums, self._squares])

    def _scatters(self) -> Tensor:
        """About the class means: one for each class, or their sum."""
        means = self._means()
        if len(self._squares) == 1:
            return self._squares - torch.einsum("c,ci,cj->ij", self._counts, means, means)
        outer = means[:, :, None] * means[:, None, :]
        return self._squares - self._counts[:, None, None] * outer

    def _means(self) -> Tensor:
        return self._sums / self._counts[:, None]

    def _pooled(self, scatters: Tensor) -> Tensor:
        """What all classes share, ``(r, r)``.

        Where no image differs from the others of its class, as where each class has one, nothing
        is known of how images of a class vary; then they are taken to vary as all images do.
        """
        count, within = float(self._counts.sum()), scatters.sum(0)
        mean = self._sums.sum(0) / count
        total = self._squares.sum(0) - count * mean[:, None] * mean
        least = NOTHING * float(total.diagonal().max())
        nothing = float(within.diagonal().max()) <= least
        return _pooled(total if nothing else within, count, least / count)

    def whitener(self) -> Tensor:
        """``(r, r)``: to units of the covariance within classes."""
        pooled = self._pooled(self._scatters())
        return _inverse(torch.linalg.cholesky(pooled)).float().contiguous()

    def densities(self) -> GaussianDensities:
        """The fitted Gaussians; every class has had an image."""
        counts, means, scatters = self._counts, self._means(), self._scatters()
        pooled = self._pooled(scatters)
        root = torch.linalg.cholesky(pooled)
        if len(scatters) == 1:
            strength, whiteners = math.inf, _inverse(root)[None]
        else:
            strength = _best_strength(scatters, counts, root)
            scale = (1 + 1 / counts) / (counts + strength + 2)
            covariances = (strength * pooled + scatters) * scale[:, None, None]
            whiteners = _inverse(torch.linalg.cholesky(covariances))
        return GaussianDensities(
            self._axes,
            means.float(),
            whiteners.float().contiguous(),
            strength,
            counts.float(),
        )


def _pooled(scatter: Tensor, count: float, least: float) -> Tensor:
    """What all classes share, pulled towards its diagonal as if by ``d`` more images.

    Args:
        scatter: ``(d, d)``, about the means.
        count: Of how many images.
        least: What its diagonal is taken for at least.
    """
    size = len(scatter)
    covariance = scatter / count
    diagonal = covariance.diagonal().clamp_min(least)
    diagonal = diagonal.clamp_min(LEAST_VARIANCE * float(diagonal.max().clamp_min(1e-30)))
    weight = size / (size + count)
    pulled = (1 - weight) * covariance
    pulled.diagonal().copy_(diagonal)
    return pulled


def _inverse(root: Tensor) -> Tensor:
    eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device).expand_as(root)
    inverse: Tensor = torch.linalg.solve_triangular(root, eye, upper=False)
    return inverse


def _best_strength(scatters: Tensor, counts: Tensor, root: Tensor) -> float:
    """The strength of the grid under which the features are most probable.

    Up to what does not depend on k, and with all in units of S (Murphy 2007, *Conjugate
    Bayesian analysis of the Gaussian distribution*, equation 266):

        log p = sum_c  log G_d((v + n_c) / 2) - log G_d(v / 2) + d v / 2 log k
                       - (v + n_c) / 2 log |k I + scatter_c|,      v = k + d + 1.
    """
    size = len(root)
    whitener = _inverse(root)
    values = torch.linalg.eigvalsh(whitener @ scatters @ whitener.T).clamp_min(0)
    dimension = torch.arange(size, dtype=torch.float64, device=root.device) / 2

    def log_gamma(half: Tensor) -> Tensor:
        return torch.lgamma(half[..., None] - dimension).sum(-1)

    def evidence(k: float) -> float:
        v = torch.tensor(k + size + 1, dtype=torch.float64, device=root.device)
        # The flat prior of the mean takes one image of each class.
        n = (counts - 1).clamp_min(0)
        terms = log_gamma((v + n) / 2) - log_gamma(v / 2) + size * v / 2 * math.log(k)
        return float((terms - (v + n) / 2 * (k + values).log().sum(1)).sum())

    return max((size * s for s in STRENGTHS), key=evidence)
