"""Methods: how each kind of posterior is fitted. One face for all, :func:`fit_posterior`."""

from __future__ import annotations

from collections.abc import Callable

from nescio.errors import UsageError
from nescio.inference.choice import Choice, parse_posterior
from nescio.inference.dropout import Dropout
from nescio.inference.ensemble import fit_ensemble, fit_mean_field_ensemble
from nescio.inference.fit import fit_guide
from nescio.inference.fitted import Fit
from nescio.inference.gaussian import FullNormal, KroneckerNormal
from nescio.inference.guide import MeanField
from nescio.inference.ivon import ivon
from nescio.inference.job import Job
from nescio.inference.learner import low_rank
from nescio.inference.lowrank import LowRank
from nescio.inference.mixture import Mixture
from nescio.inference.point import dropped
from nescio.inference.swag import fit_swag

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
    "mean-field": lambda job, _: fit_guide(job),
    "low-rank": lambda job, choice: fit_guide(job, low_rank(int(choice.number))),
    "ensemble": fit_ensemble,
    "mean-field-ensemble": fit_mean_field_ensemble,
    "dropout": lambda job, choice: fit_guide(job, dropped(choice.number)),
    "laplace": _laplace,
    "swag": fit_swag,
    "ivon": lambda job, _: fit_guide(job, ivon),
    "hmc": _hmc,
}
"""How each kind of posterior is fitted, by the names of :data:`nescio.inference.choice.KINDS`."""


def fit_posterior(job: Job) -> Fit:
    """Fit the kind of posterior that ``job.recipe.posterior`` names.

    Returns:
        The fit. One that was stopped before its posterior was complete holds the network as it
        was then, alone.

    Raises:
        UsageError: The kind of posterior is not for such a network, prior or number of images.
        NescioError: As of :func:`nescio.inference.fit_guide`.
    """
    choice = parse_posterior(job.recipe.posterior)
    if job.compiled and choice.name not in ("mean-field", "mean-field-ensemble"):
        raise UsageError(f"--compile is for mean fields alone, not for --posterior {choice.name}")
    _check_processes(job, choice)
    return METHODS[choice.name](job, choice)


def _check_processes(job: Job, choice: Choice) -> None:
    """What is one process's work, or cannot go on from a checkpoint, is refused before any work."""
    kind = f"--posterior {choice.name}"
    if job.checkpoints is not None and choice.name == "hmc":
        raise UsageError(
            f"{kind} draws its networks after training, and no checkpoint is made of that: leave "
            "out --checkpoint"
        )
    if job.ranks.size == 1:
        return
    if choice.name in ("hmc", "laplace", "swag"):
        raise _shared(f"{kind} is fitted by one process; start it without torchrun")
    if not job.recipe.scale_likelihood:
        raise _shared(
            f"--recipe {job.recipe.name} does not scale its likelihood, so its loss is no mean "
            "over images that processes could share; start it without torchrun"
        )


def _shared(message: str) -> UsageError:
    error = UsageError(message)
    error.shared = True
    return error
