"""The Laplace approximation, through the library laplace-torch.

Daxberger et al. 2021, *Laplace redux*. The network is trained to the maximum of its posterior
density; there the log density of the random weights is replaced by its quadratic, with the
generalised Gauss-Newton matrix G of the training images (not augmented) for its curvature:

    w ~ Normal(w_map, (G + prior precision)^-1)

The prior is the model's own, in training and in the curvature; it is not fitted to the evidence.
``full`` keeps all of G, ``kron`` its Kronecker factors, layer by layer. The library computes G;
what is kept are our own tensors, so drawing and loading need it no more.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from nescio.errors import ArchitectureError, UsageError
from nescio.inference.choice import Choice
from nescio.inference.fit import fit_guide
from nescio.inference.fitted import Fit
from nescio.inference.gaussian import FullNormal, KroneckerNormal, matrix_shape
from nescio.inference.head import Head
from nescio.inference.ivon import normal_scales
from nescio.inference.job import Job
from nescio.inference.likelihood import Categorical
from nescio.inference.model import random_parameters
from nescio.inference.point import point
from nescio.network import first_line

MOST_FULL = 4_096
"""Random weights whose full covariance is feasible: 134 MB in double precision."""

BATCH = 128
"""Images at once."""


def fit_laplace(job: Job, choice: Choice) -> Fit:
    """Train a network, then take the curvature at its random weights."""
    full = choice.word == "full"
    _check(job, full=full)
    fitted = fit_guide(job, point)
    if fitted.stopped is not None:
        return fitted
    head = Head.of(job, fitted)
    try:
        guide = curvature(job, head, full=full)
    except KeyboardInterrupt:
        return replace(fitted, stopped="interrupted")
    return replace(fitted, guide=guide)


def _check(job: Job, *, full: bool) -> None:
    """Before training, what would fail after it."""
    if find_spec("laplace") is None:
        raise UsageError(
            "--posterior laplace needs laplace-torch; install it with pip install 'nescio[laplace]'"
        )
    if not isinstance(job.likelihood, Categorical):
        raise UsageError("--posterior laplace knows the categorical likelihood alone")
    normal_scales(job.bayesian(job.network), "laplace")
    weights = sum(p.numel() for p in random_parameters(job.network, job.recipe.random).values())
    if full and weights > MOST_FULL:
        raise UsageError(
            f"--posterior laplace: a full covariance of {weights:,} random weights is too large "
            f"(at most {MOST_FULL:,}); take laplace:kron, or let fewer be random (--random)"
        )


def curvature(job: Job, head: Head, *, full: bool) -> FullNormal | KroneckerNormal:
    """The Normal around the weights of a trained head.

    Raises:
        ArchitectureError: The library cannot take the curvature of such layers.
    """
    network = head.bayesian.network
    precisions = {
        name: job.recipe.kl_weight / scale**2
        for name, scale in normal_scales(head.bayesian, "laplace").items()
    }
    loc = {n: p.detach() for n, p in network.named_parameters() if n in precisions}
    trained = {name: p.requires_grad for name, p in network.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in precisions)
    try:
        library = _fit_library(head, "full" if full else "kron")
    except (RuntimeError, ValueError, NotImplementedError, KeyError) as error:
        raise ArchitectureError(
            f"laplace-torch cannot take the curvature of this network: {first_line(error)}; let "
            "other layers be random (--random), or take another posterior"
        ) from error
    finally:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(trained[name])
    if full:
        diagonal = torch.cat(
            [torch.full((value.numel(),), precisions[n]) for n, value in loc.items()]
        )
        return _full(loc, library.H.double().cpu() + diagonal.double().diag())
    return _kronecker(loc, precisions, library.H)


def _fit_library(head: Head, structure: str) -> Any:
    with warnings.catch_warnings():
        # The library compiles functions in a way that PyTorch means to give up.
        warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
        from laplace import Laplace
        from laplace.curvature import CurvlinopsGGN

        library = Laplace(
            head.cut.head,
            "classification",
            subset_of_weights="all",
            hessian_structure=structure,
            backend=CurvlinopsGGN,
        )
        library.fit(DataLoader(TensorDataset(head.features, head.labels), batch_size=BATCH))
    return library


def _full(loc: dict[str, Tensor], precision: Tensor) -> FullNormal:
    """With the inverse of ``precision`` (P, P) for covariance; its root is taken in float64."""
    # Flipped, the lower root of the precision gives that of the covariance in one solve.
    upper = torch.linalg.cholesky(precision.flip(0, 1)).flip(0, 1)
    identity = torch.eye(len(precision), dtype=precision.dtype)
    root = torch.linalg.solve_triangular(upper, identity, upper=True).T
    first = next(iter(loc.values()))
    return FullNormal(loc, root.to(first))


def _kronecker(
    loc: dict[str, Tensor], precisions: dict[str, float], decomposed: Any
) -> KroneckerNormal:
    """From eigenvectors and eigenvalues of the factors of each parameter, in their order."""
    left, right, scale = {}, {}, {}
    parts = zip(loc.items(), decomposed.eigenvectors, decomposed.eigenvalues, strict=True)
    for (name, value), vectors, values in parts:
        rows, columns = matrix_shape(value)
        left[name] = vectors[0]
        along = values[0].clamp_min(0)[:, None]
        if len(vectors) == 1:
            right[name] = torch.ones(1, 1, device=value.device, dtype=value.dtype)
        else:
            right[name] = vectors[1]
            along = along * values[1].clamp_min(0)
        scale[name] = (along + precisions[name]).rsqrt()
        if scale[name].shape != (rows, columns):
            raise ArchitectureError(
                f"laplace:kron cannot take {name} apart; leave it out (--random)"
            )
    return KroneckerNormal(loc, left, right, scale)
