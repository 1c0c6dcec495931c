"""Ensembles: the same fit from several seeds, as networks or as mean fields.

Lakshminarayanan et al. 2017, *Simple and scalable predictive uncertainty estimation using deep
ensembles*. A network that can be built anew begins each member at other initial weights; one that
was handed over as an object begins all at its own, and members differ by the order of the images
and their augmentation alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nescio.errors import DivergenceError
from nescio.inference.choice import Choice
from nescio.inference.fit import fit_guide
from nescio.inference.fitted import Epoch, Fit
from nescio.inference.guide import MeanField
from nescio.inference.head import settle
from nescio.inference.job import Job
from nescio.inference.learner import LearnerOf, mean_field
from nescio.inference.mixture import Mixture
from nescio.inference.point import point
from nescio.inference.scale import SCALE_MAPS
from nescio.network import named_tensors


def fit_ensemble(job: Job, choice: Choice) -> Fit:
    """Networks, each at the maximum of its posterior density, with a prior over all weights."""
    every = replace(job, recipe=replace(job.recipe, random="all"))
    return _fit_members(every, int(choice.number), point)


def fit_mean_field_ensemble(job: Job, choice: Choice) -> Fit:
    """Mean fields, each with a deterministic part of its own."""
    return _fit_members(job, int(choice.number), mean_field)


def _fit_members(job: Job, count: int, learner: LearnerOf) -> Fit:
    """``count`` fits; what stops one ends them all, and members that are complete are kept."""
    fits: list[Fit] = []
    for number in range(count):
        try:
            fits.append(fit_guide(job.member(number), learner))
        except (KeyboardInterrupt, DivergenceError) as error:
            if not fits:
                raise
            joined = _joined(job, fits)
            if isinstance(error, DivergenceError):
                return replace(joined, stopped="diverged")
            return replace(joined, stopped="interrupted")
        if fits[-1].stopped is not None:
            break
    return _joined(job, fits)


def _joined(job: Job, fits: Sequence[Fit]) -> Fit:
    members = [named_tensors(settle(each.network, each.guide)) for each in fits]
    own = {
        name: torch.stack([member[name].detach() for member in members])
        for name, value in members[0].items()
        if value.is_floating_point() and (len(members) == 1 or _differ(members, name))
    }
    scales = [each.guide.raw_scale for each in fits if isinstance(each.guide, MeanField)]
    raw = {n: torch.stack([each[n].detach() for each in scales]) for n in (scales or [{}])[0]}
    guide = Mixture(own, raw, SCALE_MAPS[job.recipe.scale])
    return Fit(fits[0].network, guide, _one_history(fits), fits[-1].stopped)


def _differ(members: Sequence[dict[str, Tensor]], name: str) -> bool:
    """What all share to the bit, such as a frozen backbone, is kept once."""
    return not all(torch.equal(member[name], members[0][name]) for member in members[1:])


def _one_history(fits: Sequence[Fit]) -> tuple[Epoch, ...]:
    """The passes of all members, one after the other."""
    passes = [epoch for each in fits for epoch in each.history]
    return tuple(replace(epoch, epoch=number) for number, epoch in enumerate(passes, 1))
