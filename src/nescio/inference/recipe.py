"""Recipes: everything about a fit that is a choice, in one frozen record."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from nescio.data import parse_augmentation
from nescio.errors import UsageError
from nescio.inference.choice import parse_posterior
from nescio.inference.estimators import ESTIMATORS, Estimator
from nescio.inference.prior import parse_prior
from nescio.inference.scale import SCALE_MAPS


def _require(valid: bool, message: str, value: object) -> None:
    if not valid:
        raise UsageError(f"{message}, got {value}")


EFFORTS = {"quick": 0.25, "normal": 1.0, "best": 4.0}
"""How many times the passes of a recipe are made."""


@dataclass(frozen=True)
class Recipe:
    """How a posterior is fitted, and how a forced answer is read from it.

    Attributes:
        name: What the recipe is called.
        epochs: Passes over the training images, at least.
        minimum_steps: Small sets are passed over more often, until this many steps.
        batch_size: Images a step.
        learning_rate: Of Adam; the peak of the schedule.
        schedule: ``constant``, or ``one-cycle`` (up for a tenth, then down to zero;
            Smith & Topin 2019).
        prior: The prior's name, see :mod:`nescio.inference.prior`.
        initial_scale: Every posterior scale at the start, around the network's own
            initial weights. ``None`` is the article's start: location and raw scale
            are standard normal draws.
        scale_likelihood: Whether a batch speaks for the whole set, as the ELBO
            demands. ``False`` weighs the KL ``N / batch_size`` times too much.
        kl_weight: A deliberate tempering of the KL; 1 is the ELBO.
        analytic_kl: Closed form of the KL where there is one, else from the sample.
        forced: The forced answer is the class with the largest mean ``probability``,
            or, as in the article, the largest mean of the raw outputs (``logits``)
            of the first ``forced_samples`` networks.
        forced_samples: How many networks the forced answer averages; ``None`` for all.
        random: Which parameters are random, see
            :func:`nescio.inference.random_parameters`; the rest is trained as usual.
        freeze: Whether what comes before the random parameters stays as it is, so that its
            features are computed once, see :mod:`nescio.inference.frozen`.
        views: How many varied copies of each image these features are computed of.
        augment: How images are varied from pass to pass, see :mod:`nescio.data.augment`;
            ``auto`` for what suits the data set.
        scale: The map from raw values to posterior scales, see :mod:`nescio.inference.scale`.
        estimator: Which sampled networks the images of a batch go through, see
            :mod:`nescio.inference.estimators`; ``auto``, see
            :func:`nescio.inference.estimators.suitable_estimator`.
        posterior: The kind of posterior, see :mod:`nescio.inference.choice`. ``estimator`` and
            ``engine`` are for mean fields alone.
        engine: What computes the ELBO and its gradient, see :mod:`nescio.inference.engine`.
        network: The network that the recipe is for, where none is named.
        calibration: Share of the training images kept out for calibration.
        rule: The refusal rule in force, see :mod:`nescio.refusal.rules`.
    """

    name: str
    epochs: int
    minimum_steps: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "one-cycle"]
    prior: str
    initial_scale: float | None
    scale_likelihood: bool
    kl_weight: float
    analytic_kl: bool
    forced: Literal["probability", "logits"]
    forced_samples: int | None
    calibration: float
    rule: str
    random: str = "all"
    augment: str = "none"
    scale: Literal["softplus", "exp"] = "softplus"
    estimator: Estimator | Literal["auto"] = "shared"
    engine: Literal["torch", "pyro"] = "torch"
    network: str = "cnn"
    freeze: bool = False
    views: int = 1
    posterior: str = "mean-field"

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "--epochs must be at least 1", self.epochs)
        _require(self.batch_size >= 1, "--batch-size must be at least 1", self.batch_size)
        for option, value in (
            ("--learning-rate", self.learning_rate),
            ("--kl-weight", self.kl_weight),
            ("the initial scale", 1.0 if self.initial_scale is None else self.initial_scale),
        ):
            valid = math.isfinite(value) and value > 0
            _require(valid, f"{option} must be a positive number", value)
        _require(
            0 <= self.calibration < 1,
            "the share kept for calibration must be at least 0 and below 1",
            self.calibration,
        )
        _require(self.engine in ("torch", "pyro"), "--engine must be torch or pyro", self.engine)
        _require(
            self.estimator in ("auto", *ESTIMATORS),
            f"--estimator must be one of {', '.join(('auto', *ESTIMATORS))}",
            self.estimator,
        )
        _require(self.scale in SCALE_MAPS, "--scale must be softplus or exp", self.scale)
        _require(
            self.engine == "torch" or self.estimator in ("auto", "shared"),
            "--engine pyro runs one network a step, so --estimator must be shared",
            self.estimator,
        )
        self._check_views()
        parse_prior(self.prior)
        parse_augmentation(self.augment)
        self._check_posterior()

    def _check_posterior(self) -> None:
        choice = parse_posterior(self.posterior)
        if choice.name in ("mean-field", "mean-field-ensemble"):
            return
        _require(
            self.engine == "torch",
            f"--engine {self.engine} fits mean fields alone, so --posterior must be mean-field",
            self.posterior,
        )
        _require(
            self.estimator in ("auto", "shared"),
            f"--estimator {self.estimator} is for mean fields alone, so --posterior must be one",
            self.posterior,
        )
        _require(
            self.scale_likelihood,
            "a likelihood that is not scaled is for mean fields alone, so --posterior must be one",
            self.posterior,
        )
        _require(
            not choice.kind.all_weights or self.random in ("all", "head"),
            f"every weight of a member of --posterior {choice.name} is its own, so --random must "
            "be all, or left out",
            self.random,
        )

    def _check_views(self) -> None:
        _require(self.views >= 1, "--views must be at least 1", self.views)
        _require(
            self.freeze or self.views == 1,
            "--views is for --freeze, which computes features once",
            self.views,
        )
        varied = self.augment not in ("auto", "none")
        _require(
            not self.freeze or self.views > 1 or not varied,
            "--freeze computes features once, so --augment needs a number of varied copies of "
            "each image, such as --views 4",
            self.views,
        )
        _require(
            self.views == 1 or self.augment != "none",
            "--views are varied copies of images, so they need --augment",
            self.augment,
        )

    def with_effort(self, effort: str) -> Recipe:
        """The recipe with :data:`EFFORTS` times as many passes and steps.

        Raises:
            UsageError: There is no such effort.
        """
        _require(effort in EFFORTS, f"--effort must be one of {', '.join(EFFORTS)}", effort)
        factor = EFFORTS[effort]
        return replace(
            self,
            epochs=max(1, round(factor * self.epochs)),
            minimum_steps=round(factor * self.minimum_steps),
        )

    def effective_kl_weight(self, size: int) -> float:
        """How many times more than in the ELBO the KL weighs, for ``size`` images."""
        if self.scale_likelihood:
            return self.kl_weight
        return self.kl_weight * size / min(self.batch_size, size)

    def passes(self, size: int) -> int:
        """How many passes over ``size`` images are made."""
        return max(self.epochs, math.ceil(self.minimum_steps / self.steps_per_epoch(size)))

    def steps_per_epoch(self, size: int) -> int:
        """How many batches one pass over ``size`` images takes."""
        return math.ceil(size / self.batch_size)


ARTICLE = Recipe(
    name="article",
    epochs=5,
    minimum_steps=0,
    batch_size=128,
    learning_rate=0.01,
    schedule="constant",
    prior="normal:1",
    initial_scale=None,
    scale_likelihood=False,
    kl_weight=1.0,
    analytic_kl=False,
    forced="logits",
    forced_samples=10,
    calibration=0.0,
    rule="median:0.2",
    engine="pyro",
    network="mlp",
)
"""The system of the two source documents as it was. Its likelihood is not scaled:
on MNIST the KL weighs 60,000 / 128 = 469 times what the ELBO says."""

DEFAULT = Recipe(
    name="default",
    epochs=16,
    minimum_steps=800,
    batch_size=128,
    learning_rate=5e-3,
    schedule="one-cycle",
    prior="normal:1",
    initial_scale=0.02,
    scale_likelihood=True,
    kl_weight=1.0,
    analytic_kl=True,
    forced="probability",
    forced_samples=None,
    calibration=0.1,
    rule="calibrated",
    random="head",
    augment="auto",
    estimator="auto",
)
"""The ELBO as it is, without tempering: a Bayesian head over an ordinary trunk. On held-out
training images of MNIST it was ahead of the same network with all weights random in accuracy
and in risk at every coverage, and predicts in a fifteenth of the time (docs/refusal.md)."""

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, ARTICLE)}
"""The recipes known by name."""
