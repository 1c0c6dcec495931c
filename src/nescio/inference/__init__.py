"""Bayesian inference for networks: model, guide, ELBO, and the fit.

Read in this order: :mod:`prior`, :mod:`likelihood`, :mod:`model`, :mod:`scale`, :mod:`posterior`,
:mod:`guide`, :mod:`elbo`, :mod:`balance`, :mod:`recipe`, :mod:`job`, :mod:`fitted`, :mod:`watch`,
:mod:`learner`, :mod:`parts`, :mod:`trial`, :mod:`run`, :mod:`fit`, :mod:`frozen`;
for fits that are stopped, :mod:`checkpoint`, :mod:`saving`, :mod:`keeper`, :mod:`facts`;
then, for what makes it fast, :mod:`engine`, :mod:`estimators`, :mod:`site`, :mod:`noise`; then the
other kinds of posterior: :mod:`choice` (their names), :mod:`methods` (how each is fitted), their
forms (:mod:`lowrank`, :mod:`mixture`, :mod:`dropout`, :mod:`gaussian`), and what
fits them (:mod:`point`, :mod:`head`, :mod:`ensemble`, :mod:`swag`, :mod:`ivon`, :mod:`hmc`,
:mod:`laplace`). Each of prior, likelihood and posterior is a protocol with small implementations
and can be replaced alone.
"""

from nescio.inference.balance import tell_imbalance
from nescio.inference.checkpoint import Checkpoints
from nescio.inference.choice import KINDS, Choice, parse_posterior
from nescio.inference.dropout import Dropout
from nescio.inference.elbo import Elbo, estimate_elbo
from nescio.inference.facts import facts_of
from nescio.inference.fit import fit_guide
from nescio.inference.fitted import Epoch, Fit
from nescio.inference.frozen import Frozen, fit_frozen, freeze_trunk
from nescio.inference.gaussian import FullNormal, KroneckerNormal
from nescio.inference.guide import Guide, MeanField
from nescio.inference.job import Job
from nescio.inference.likelihood import Categorical, Likelihood, Weighted
from nescio.inference.lowrank import LowRank
from nescio.inference.methods import FAMILIES, fit_posterior
from nescio.inference.mixture import Mixture
from nescio.inference.model import BayesianNetwork, random_parameters
from nescio.inference.posterior import Misfit, Posterior
from nescio.inference.prior import (
    LaplacePrior,
    LayeredPrior,
    NormalPrior,
    Prior,
    ScaledNormalPrior,
    parse_prior,
)
from nescio.inference.recipe import ARTICLE, DEFAULT, RECIPES, Recipe
from nescio.inference.scale import SCALE_MAPS, ScaleMap
from nescio.inference.trial import step_tuner

__all__ = [
    "ARTICLE",
    "DEFAULT",
    "FAMILIES",
    "KINDS",
    "RECIPES",
    "SCALE_MAPS",
    "BayesianNetwork",
    "Categorical",
    "Checkpoints",
    "Choice",
    "Dropout",
    "Elbo",
    "Epoch",
    "Fit",
    "Frozen",
    "FullNormal",
    "Guide",
    "Job",
    "KroneckerNormal",
    "LaplacePrior",
    "LayeredPrior",
    "Likelihood",
    "LowRank",
    "MeanField",
    "Misfit",
    "Mixture",
    "NormalPrior",
    "Posterior",
    "Prior",
    "Recipe",
    "ScaleMap",
    "ScaledNormalPrior",
    "Weighted",
    "estimate_elbo",
    "facts_of",
    "fit_frozen",
    "fit_guide",
    "fit_posterior",
    "freeze_trunk",
    "parse_posterior",
    "parse_prior",
    "random_parameters",
    "step_tuner",
    "tell_imbalance",
]
