"""Bayesian inference for networks: model, guide, ELBO, and the fit.

Read in this order: :mod:`prior`, :mod:`likelihood`, :mod:`model`, :mod:`scale`, :mod:`guide`,
:mod:`elbo`, :mod:`balance`, :mod:`recipe`, :mod:`watch`, :mod:`fit`; then, for what makes it
fast, :mod:`engine`, :mod:`estimators`, :mod:`site`, :mod:`noise`. Each of prior, likelihood
and guide is a protocol with small implementations and can be replaced alone.
"""

from nescio.inference.balance import tell_imbalance
from nescio.inference.elbo import Elbo, estimate_elbo
from nescio.inference.fit import Epoch, Fit, fit_guide
from nescio.inference.guide import Guide, MeanField
from nescio.inference.likelihood import Categorical, Likelihood, Weighted
from nescio.inference.model import BayesianNetwork, random_parameters
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

__all__ = [
    "ARTICLE",
    "DEFAULT",
    "RECIPES",
    "SCALE_MAPS",
    "BayesianNetwork",
    "Categorical",
    "Elbo",
    "Epoch",
    "Fit",
    "Guide",
    "LaplacePrior",
    "LayeredPrior",
    "Likelihood",
    "MeanField",
    "NormalPrior",
    "Prior",
    "Recipe",
    "ScaleMap",
    "ScaledNormalPrior",
    "Weighted",
    "estimate_elbo",
    "fit_guide",
    "parse_prior",
    "random_parameters",
    "tell_imbalance",
]
