"""Methods: how each kind of posterior is fitted. One face for all, :func:`fit_posterior`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from nescio.data import ImageSet
from nescio.errors import UsageError
from nescio.inference.choice import Choice, parse_posterior
from nescio.inference.dropout import Dropout
from nescio.inference.ensemble import fit_ensemble, fit_mean_field_ensemble
from nescio.inference.fit import Fit
from nescio.inference.gaussian import FullNormal, KroneckerNormal
from nescio.inference.guide import MeanField
from nescio.inference.ivon import ivon
from nescio.inference.job import Job
from nescio.inference.learner import low_rank, mean_field
from nescio.inference.likelihood import Categorical, Likelihood
from nescio.inference.lowrank import LowRank
from nescio.inference.mixture import Mixture
from nescio.inference.point import dropped
from nescio.inference.prior import Prior, parse_prior
from nescio.inference.recipe import Recipe
from nescio.inference.swag import fit_swag
from nescio.progress import SILENT, Reporter

FAMILIES: dict[
    str,
    type[MeanField]
    | type[LowRank]
    | type[Mixture]
    | type[Dropout]
    | type[FullNormal]
    | type[KroneckerNormal],
] = {
    each.family: each
    for each in (MeanField, LowRank, Mixture, Dropout, FullNormal, KroneckerNormal)
}
"""The forms in which posteriors are kept, by their name in the model file."""


def _hmc(job: Job, choice: Choice) -> Fit:
    from nescio.inference.hmc import fit_hmc

    return fit_hmc(job, choice)


def _laplace(job: Job, choice: Choice) -> Fit:
    from nescio.inference.laplace import fit_laplace

    return fit_laplace(job, choice)


METHODS: dict[str, Callable[[Job, Choice], Fit]] = {
    "mean-field": lambda job, _: job.fit(mean_field),
    "low-rank": lambda job, choice: job.fit(low_rank(int(choice.number))),
    "ensemble": fit_ensemble,
    "mean-field-ensemble": fit_mean_field_ensemble,
    "dropout": lambda job, choice: job.fit(dropped(choice.number)),
    "laplace": _laplace,
    "swag": fit_swag,
    "ivon": lambda job, _: job.fit(ivon),
    "hmc": _hmc,
}
"""How each kind of posterior is fitted, by the names of :data:`nescio.inference.choice.KINDS`."""


def fit_posterior(
    network: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    again: Callable[[int], nn.Module] | None = None,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    precision: torch.dtype = torch.float32,
    compiled: bool = False,
    watch: ImageSet | None = None,
    reporter: Reporter = SILENT,
) -> Fit:
    """Fit the kind of posterior that ``recipe.posterior`` names.

    Args:
        network: Any module from ``(n, K, H, W)`` to logits ``(n, C)``; not changed.
        train: Labelled images.
        recipe: How to fit.
        again: Builds the network with other initial weights, by a seed, for ensembles.
        prior: Instead of the one that the recipe names.
        likelihood: Instead of the categorical one.
        seed: Of everything.
        device: Where to compute; the CPU when ``None``.
        precision: As of :func:`nescio.inference.fit_guide`.
        compiled: As of :func:`nescio.inference.fit_guide`; for mean fields alone.
        watch: Labelled images whose accuracy is shown after each pass.
        reporter: Told of progress.

    Returns:
        The fit. One that was stopped before its posterior was complete holds the network as it
        was then, alone.

    Raises:
        UsageError: The kind of posterior is not for such a network, prior or number of images.
        NescioError: As of :func:`nescio.inference.fit_guide`.
    """
    choice = parse_posterior(recipe.posterior)
    if compiled and choice.name not in ("mean-field", "mean-field-ensemble"):
        raise UsageError(f"--compile is for mean fields alone, not for --posterior {choice.name}")
    job = Job(
        network,
        train,
        recipe,
        prior=prior or parse_prior(recipe.prior),
        likelihood=likelihood or Categorical(),
        seed=seed,
        device=device or torch.device("cpu"),
        precision=precision,
        compiled=compiled,
        watch=watch,
        again=again,
        reporter=reporter,
    )
    return METHODS[choice.name](job, choice)
