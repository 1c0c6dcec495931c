"""Gaussians for every class, with what is not known of them integrated out.

A class may look more than one way, so its images are parted into clusters of those that are alike
(k-means). The features ``z`` of the images of cluster ``b`` along some axes are Normal(m_b, S_b).
The prior of m_b is flat, that of S_b is inverse Wishart around what all clusters share,

    S_b ~ IW(k + d + 1, k S),        E S_b = S,

with the strength ``k`` in images. A new image is then Student's t about the mean of the cluster
with squared distance (Gelman et al. 2013, *Bayesian data analysis*, section 3.6)

    D_b(z) = (z - m_b)' [(k S + scatter_b) (1 + 1/n_b) / (n_b + k + 2)]^-1 (z - m_b),

and from a class it is as far as from the nearest of its clusters. ``k`` is the one of a grid that
makes the training features most probable (empirical Bayes), so clusters with few images lean on
the others. Where a matrix for each would be too much memory all share one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nescio.familiarity.subspace import class_means, squared_distances

MOST_NUMBERS = 2**20
"""Numbers in all classes' matrices (4 MiB); with more, all classes share one."""

MOST_CLUSTERS, IMAGES_A_CLUSTER = 16, 100
"""Clusters of a class at most, and so many of its images for each."""

STRENGTHS = tuple(2.0**power for power in range(-3, 11))
"""The grid of prior strengths, in images for each dimension."""

LEAST_VARIANCE = 1e-5
"""A variance is taken for at least this share of the largest one."""

NOTHING = 1e-7
"""A variance within classes below this share of the largest variance of all images is none: it
would be rounding, and in its units images lie too far away for the numbers that keep them."""


@dataclass(frozen=True)
class ClassGaussians:
    """The predictive densities of all classes on one stage: of ``B`` clusters.

    Attributes:
        centre: ``(d,)``, the mean of all images.
        axes: ``(d, r)``, orthonormal: what is judged of features.
        means: ``(B, r)``, the means of the clusters along the axes.
        whiteners: ``(B, r, r)``, or ``(1, r, r)`` where all share one: lower triangular,
            ``|W (z - m)|^2`` is the squared distance.
        strength: The prior strength ``k``, in images.
        counts: ``(B,)``, training images of each cluster.
        owners: ``(B,)`` int64, rising: the class of each cluster.
    """

    centre: Tensor
    axes: Tensor
    means: Tensor
    whiteners: Tensor
    strength: float
    counts: Tensor
    owners: Tensor

    @staticmethod
    def fit(
        features: Tensor,
        labels: Tensor,
        classes: int,
        *,
        axes: Tensor,
        most_numbers: int = MOST_NUMBERS,
    ) -> ClassGaussians:
        """The densities of features ``(n, d)`` along ``axes`` ``(d, r)``.

        Args:
            features: ``(n, d)``.
            labels: ``(n,)`` int64; every class occurs.
            classes: ``C``.
            axes: Orthonormal.
            most_numbers: Above this all share one covariance; clusters are as many as fit.
        """
        centre = features.double().mean(0)
        z = ((features - centre.float()) @ axes).double()
        fitting = max(1, most_numbers // (classes * z.shape[1] ** 2))
        clusters, owners = _clusters(z, labels, classes, min(MOST_CLUSTERS, fitting))
        count = len(owners)
        counts = torch.bincount(clusters, minlength=count).double()
        means = class_means(z, clusters, count)
        shared = count * z.shape[1] ** 2 > most_numbers
        scatters = _scatters(z - means[clusters], clusters, count, shared=shared)
        root = torch.linalg.cholesky(_within(scatters, z))
        if shared:
            strength, whiteners = math.inf, _inverse(root)[None]
        else:
            strength = _best_strength(scatters, counts, root)
            scale = (1 + 1 / counts) / (counts + strength + 2)
            covariances = (strength * (root @ root.T) + scatters) * scale[:, None, None]
            whiteners = _inverse(torch.linalg.cholesky(covariances))
        return ClassGaussians(
            centre.float(),
            axes.float(),
            means.float(),
            whiteners.float().contiguous(),
            strength,
            counts.float(),
            owners,
        )

    @property
    def classes(self) -> int:
        """``C``."""
        return int(self.owners[-1]) + 1

    def describe(self) -> str:
        """In plain words."""
        kept = f"{self.axes.shape[1]} of {len(self.axes)} axes"
        many = f", {len(self.owners)} clusters" if len(self.owners) > self.classes else ""
        if self.shared:
            return f"{kept}{many}, one covariance for all classes"
        each = "cluster" if many else "class"
        return (
            f"{kept}{many}, a covariance for each {each} "
            f"(the shared one weighs {self.strength:.3g} images)"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        return {
            "centre": self.centre,
            "axes": self.axes,
            "means": self.means,
            "whiteners": self.whiteners,
            "strength": torch.tensor(self.strength),
            "counts": self.counts,
            "owners": self.owners,
        }

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor]) -> ClassGaussians:
        """What :meth:`tensors` gave.

        Raises:
            ValueError: They do not fit together.
        """
        centre, axes, means, whiteners, counts, owners = (
            tensors[name] for name in ("centre", "axes", "means", "whiteners", "counts", "owners")
        )
        size = axes.shape[-1] if axes.ndim else 0
        if (
            axes.shape[:-1] != centre.shape
            or means.shape[1:] != (size,)
            or len(whiteners) not in (1, len(means))
            or whiteners.shape[1:] != (size, size)
            or counts.shape != means.shape[:1]
            or owners.shape != counts.shape
            or not len(owners)
            or int(owners.min()) < 0
            or int(owners.max()) >= len(owners)
            or not torch.equal(owners.unique(), torch.arange(int(owners[-1]) + 1).to(owners))
            or not torch.equal(owners, owners.sort().values)
        ):
            raise ValueError("the tensors of a stage do not fit together")
        strength = float(tensors["strength"])
        return ClassGaussians(centre, axes, means, whiteners, strength, counts, owners)

    @property
    def shared(self) -> bool:
        """Whether all classes share one covariance."""
        return len(self.whiteners) == 1

    def distances(self, features: Tensor) -> Tensor:
        """``(n, C)``: squared distances of features ``(n, d)`` from each class."""
        return self._nearest(self._from_clusters(features))

    def _nearest(self, away: Tensor) -> Tensor:
        """``(n, C)`` of ``(n, B)``."""
        if len(self.owners) == self.classes:
            return away
        places = self.owners.expand(len(away), -1)
        far = away.new_full((len(away), self.classes), torch.inf)
        return far.scatter_reduce_(1, places, away, "amin")

    def _from_clusters(self, features: Tensor) -> Tensor:
        z = (features - self.centre) @ self.axes
        if self.shared:
            white = self.whiteners[0].T
            return squared_distances(z @ white, self.means @ white) / (1 + 1 / self.counts)
        count, size = self.means.shape
        # One product for all clusters; rows of one lie together.
        flat = self.whiteners.reshape(count * size, size)
        offsets = torch.bmm(self.whiteners, self.means[:, :, None]).reshape(-1)
        white = torch.addmm(-offsets, z, flat.T).view(len(z), count, size)
        return white.square().sum(2)

    def left_out(self, features: Tensor, labels: Tensor) -> Tensor:
        """``(n,)``: the distance of each training image from its own class without it.

        In closed form: an image is a rank-one part of its class's scatter and of what all
        classes share, so leaving it out divides by ``1 - h q`` (Sherman & Morrison 1950).

        Args:
            features: ``(n, d)`` of images that the densities were fitted to.
            labels: ``(n,)`` int64, their classes.
        """
        away = self._from_clusters(features)
        ours = self.owners == labels[:, None]
        # An image is of the cluster that k-means put it into: nearly always the nearest.
        clusters = away.masked_fill(~ours, torch.inf).argmin(1)
        n = self.counts[clusters].double()
        own = away.gather(1, clusters[:, None])[:, 0].double()
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
        farther = (n / (n - 1).clamp_min(1)).square()
        without = farther * q / (1 - weight * q).clamp_min(1.0 / (degrees + size)) / scale_without
        away = away.scatter(1, clusters[:, None], torch.where(n > 1, without, own).float()[:, None])
        return away.masked_fill(~ours, torch.inf).amin(1)


def _clusters(z: Tensor, labels: Tensor, classes: int, most: int) -> tuple[Tensor, Tensor]:
    """The cluster of each image ``(n,)`` and the class of each cluster ``(B,)``, rising.

    In units of the spread within classes, so that no axis counts more than another.
    """
    spread = (z - class_means(z, labels, classes)[labels]).std(0, correction=0)
    # What never varies within classes parts none of them.
    spread = spread.where(spread > NOTHING * spread.max(), torch.inf)
    found = torch.zeros_like(labels)
    owners: list[int] = []
    for label in range(classes):
        own = labels == label
        wanted = max(1, min(most, int(own.sum()) // IMAGES_A_CLUSTER))
        within = torch.zeros(int(own.sum()), dtype=torch.int64)
        if wanted > 1:
            # Here, since it takes long to import, and few commands part anything.
            from sklearn.cluster import KMeans

            places = (z[own] / spread).float().cpu().numpy()
            wanted = min(wanted, len(np.unique(places, axis=0)))
            fitted = KMeans(wanted, n_init=1, max_iter=30, random_state=0).fit(places)
            within = torch.from_numpy(fitted.labels_).long().unique(return_inverse=True)[1]
        found[own] = within.to(found.device) + len(owners)
        owners += [label] * (int(within.max()) + 1)
    return found, torch.tensor(owners, device=labels.device)


def _scatters(away: Tensor, labels: Tensor, classes: int, *, shared: bool) -> Tensor:
    """About the class means, ``(C, r, r)``; or their sum, ``(1, r, r)``."""
    if shared:
        return (away.T @ away)[None]
    sizes = torch.bincount(labels, minlength=classes).tolist()
    return torch.stack([own.T @ own for own in away[labels.argsort()].split(sizes)])


def _within(scatters: Tensor, z: Tensor) -> Tensor:
    """What all classes share, ``(r, r)``.

    Where no image differs from the others of its class, as where each class has one, nothing
    is known of how images of a class vary; then they are taken to vary as all images do.
    """
    within, total = scatters.sum(0), z.T @ z  # z is about the mean of all
    least = NOTHING * float(total.diagonal().max())
    nothing = float(within.diagonal().max()) <= least
    return _pooled(total if nothing else within, len(z), least / len(z))


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
