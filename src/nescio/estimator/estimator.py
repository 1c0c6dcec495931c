"""A classifier for scikit-learn that may answer "I don't know"."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from nescio.classifier import CONFIDENCE, SAMPLES, Classifier
from nescio.classifier.modelfile import from_bytes, to_bytes
from nescio.data import ImageSet, to_float
from nescio.devices import choose_device
from nescio.errors import DataError, UsageError
from nescio.estimator.inputs import Array, Features, Input, Pixels, stacked
from nescio.estimator.labels import class_names, numbered, refusal_value, with_refusals
from nescio.estimator.networks import (
    AUTO,
    feature_stages,
    for_features,
    for_images,
)
from nescio.estimator.notes import Notes
from nescio.estimator.settings import recipe_with, within_means
from nescio.evaluation import Evaluation
from nescio.inference import Prior, Recipe
from nescio.network import NetworkLike, require_network
from nescio.refusal import Decisions, NeverRefuse, Rule
from nescio.training import fit

PACKED = "_classifier_bytes"
"""Under which the fitted classifier lies in a pickle, as the bytes of a model file."""


class NescioClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A Bayesian neural network with calibrated refusal, as a scikit-learn classifier.

    Args:
        network: ``auto`` (the recipe's for images, one hidden layer of 128 for features),
            ``mlp``, ``cnn``, ``module:factory``, a ``torch.nn.Module``, or a function that makes
            one from ``shape`` ``(K, H, W)`` and ``classes``, such as
            ``functools.partial(nescio.mlp, hidden=64)``.
        image_shape: ``(H, W)`` or ``(H, W, 3)`` of the images in flat ``X`` ``(N, D)``. Without
            it flat ``X`` are features: any real numbers, whose order means nothing.
        pixel_range: What black and white are, such as ``(0, 16)``; ``None`` for 0 and 255 of
            integers, and 0 and 1 of other numbers. Images are kept in 8 bits.
        recipe: ``default``, ``article``, or a :class:`nescio.Recipe`.
        epochs: Passes over the training images; ``None`` for those of the recipe: 16, and at least
            800 steps, or 200 for features.
        prior: The name of a prior, or one; ``None`` for the recipe's.
        posterior: The kind of posterior, such as ``low-rank:8`` or ``ensemble:5``; ``None`` for
            the recipe's, a mean field.
        random: Which parameters are random: ``all``, ``head`` or patterns; ``None`` for the
            recipe's.
        rule: ``calibrated``, ``median:0.2``, ``none``, ...; ``None`` for the recipe's, which is
            ``calibrated``, or for ``none`` where a class is too small to keep images out
            (``notes_`` then says so).
        calibration: The share of the images of each class that is kept out of training to
            calibrate; ``None`` for the recipe's, a tenth.
        max_refusal: The share of familiar images that the calibrated rule may refuse; ``None``
            for 1 %, or what few calibration images can promise.
        max_risk: The error rate to promise among accepted familiar images; ``None`` for none.
        confidence: With which it is promised.
        per_class: Whether both are promised for each class.
        refusal_label: What :meth:`predict` answers where the rule refuses: a value of the type
            of the classes, and none of them. ``None`` forces an answer for every image.
        samples: How many networks are drawn, to calibrate and for each prediction.
        stages: Where the network is read for familiarity; ``None`` finds them.
        random_state: Of the splits, the fit and the predictions: a seed, a ``RandomState``, or
            ``None`` for NumPy's global one.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``, or a ``torch.device``. What was pickled
            loads on what is there, with a warning where that is another.
        precision: ``float32``, ``bfloat16`` or ``auto``. In float32 an image is answered alike
            alone and among others.
        verbose: Whether to tell on stderr what goes on.

    Attributes:
        classes_: ``(C,)``, of the type that they have in ``y``.
        classifier_: The fitted :class:`nescio.Classifier`; its classes are strings.
        rule_: The rule in force; ``rule_.describe()`` says in plain words what it promises.
        notes_: What a person should know of the fit, one line each.
        n_features_in_: How many numbers each image has.
        feature_names_in_: The names of the columns, where ``X`` was a table.
    """

    def __init__(
        self,
        network: NetworkLike = AUTO,
        *,
        image_shape: tuple[int, ...] | None = None,
        pixel_range: tuple[float, float] | None = None,
        recipe: Recipe | str = "default",
        epochs: int | None = None,
        prior: Prior | str | None = None,
        posterior: str | None = None,
        random: str | None = None,
        rule: str | None = None,
        calibration: float | None = None,
        max_refusal: float | None = None,
        max_risk: float | None = None,
        confidence: float = CONFIDENCE,
        per_class: bool = False,
        refusal_label: Any = None,
        samples: int = SAMPLES,
        stages: Sequence[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: torch.device | str = "auto",
        precision: str = "float32",
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.recipe = recipe
        self.epochs = epochs
        self.prior = prior
        self.posterior = posterior
        self.random = random
        self.rule = rule
        self.calibration = calibration
        self.max_refusal = max_refusal
        self.max_risk = max_risk
        self.confidence = confidence
        self.per_class = per_class
        self.refusal_label = refusal_label
        self.samples = samples
        self.stages = stages
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Split, fit and calibrate.

        Args:
            X: Images ``(N, H, W)``, ``(N, H, W, 3)`` or ``(N, 3, H, W)``; flat images ``(N, D)``
                with ``image_shape``; or features ``(N, D)``. A Series or array of such arrays, one
                for each image, is stacked.
            y: ``(N,)`` classes: strings, integers, booleans or whole floats.

        Returns:
            This estimator.

        Raises:
            ValueError: The arrays or a parameter cannot be used; nescio's own errors of this
                kind are :class:`nescio.DataError`, :class:`nescio.UsageError`,
                :class:`nescio.RuleError` and :class:`nescio.ArchitectureError`.
            TypeError: ``X`` is sparse or holds objects, or ``refusal_label`` is of another type
                than the classes.
            NescioError: See :func:`nescio.fit`.
        """
        X, y = validate_data(self, stacked(X), y, allow_nd=True, dtype="numeric")
        classes, labels = numbered(y)
        if self.refusal_label is not None:
            refusal_value(classes, self.refusal_label)
        for name, value in (("samples", self.samples), ("epochs", self.epochs)):
            _require_whole(name, value)
        require_network(self.network)
        notes = Notes(bool(self.verbose))
        read = self._input(X)
        images = read(X)
        recipe = self._recipe(read, classes, labels, notes)
        seed = self._seed()
        network = self._network(self.network, read, recipe.network, len(classes), seed)
        stages = self.stages
        if stages is None and isinstance(read, Features) and isinstance(network, nn.Module):
            stages = feature_stages(network, to_float(images[:2]))
        classifier = fit(
            network,
            ImageSet("X", images, torch.from_numpy(labels), class_names(classes)),
            recipe=recipe,
            prior=None if isinstance(self.prior, str) else self.prior,
            max_refusal=self.max_refusal,
            max_risk=self.max_risk,
            confidence=self.confidence,
            per_class=self.per_class,
            stages=stages,
            test=0.0,
            samples=self.samples,
            seed=seed,
            device=self.device,
            precision=self.precision,
            reporter=notes,
        )
        self.n_features_in_ = read.features
        self.classes_ = classes
        self.notes_ = tuple(notes.kept)
        self.classifier_ = classifier
        self._read = read
        self._fitted_network = network if isinstance(network, str) else self.network
        self._warn()
        return self

    def predict(self, X: Any) -> Array:
        """A class for each image, or ``refusal_label``.

        Args:
            X: As in :meth:`fit`.

        Returns:
            ``(N,)``: the forced answers where ``refusal_label`` is ``None``, the class with the
            largest probability of :meth:`predict_proba`; else the answers of :meth:`decide`.
        """
        if self.refusal_label is None:
            return self._forced(X)
        check_is_fitted(self)
        refusal = refusal_value(self.classes_, self.refusal_label)
        decisions = self.decide(X)
        labels = self.classes_[decisions.verdicts.top.numpy()]
        return with_refusals(labels, decisions.accepted.numpy(), refusal)

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of ``classes_``.

        Where the rule judges familiarity, it is that of the networks and of the familiarity with
        each class together, by which the rule answers; else that of the networks.

        Args:
            X: As in :meth:`fit`.

        Returns:
            ``(N, C)`` float32.
        """
        images, back = self._ordered(X)
        probability = self.classifier_.predict_probability(images, samples=self.samples)
        return probability[back].numpy()

    def predict_samples(self, X: Any) -> Array:
        """The probability of each class under each sampled network.

        Args:
            X: As in :meth:`fit`.

        Returns:
            ``(S, N, C)`` float32.
        """
        images, back = self._ordered(X)
        return self.classifier_.predict_samples(images, samples=self.samples)[:, back].numpy()

    def decide(self, X: Any, rule: Rule | str | None = None) -> Decisions:
        """Answer, or refuse with a reason.

        Args:
            X: As in :meth:`fit`.
            rule: A rule or its name; ``None`` for the one in force.

        Returns:
            The decisions; their classes are those of ``classes_`` as strings, in order.
        """
        images, back = self._ordered(X)
        return self.classifier_.decide(images, rule=rule, samples=self.samples).take(back)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy of the forced answers, whatever ``refusal_label`` is.

        Args:
            X: As in :meth:`fit`.
            y: ``(N,)`` the classes.
            sample_weight: ``(N,)`` how much each image counts; ``None`` for alike.
        """
        return float(accuracy_score(y, self._forced(X), sample_weight=sample_weight))

    def evaluate(
        self,
        X: Any,
        y: Any,
        *,
        ood: Mapping[str, Any] | None = None,
        rule: Rule | str | None = None,
    ) -> Evaluation:
        """Forced and selective figures with intervals, and refusal on other sets.

        Args:
            X: As in :meth:`fit`; images that it was not fitted to.
            y: ``(N,)`` their classes, all of them known to the classifier.
            ood: Out-of-distribution images by the name of their set.
            rule: A rule or its name; ``None`` for the one in force.
        """
        images = self._images(X)
        y = column_or_1d(y)
        check_consistent_length(X, y)
        labels = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[labels] != y
        if unknown.any():
            raise DataError(f"y has a class that was not in the fit: {y[unknown].tolist()[0]!r}")
        names = self.classifier_.classes
        strange = [replace(self._images(other), name=name) for name, other in (ood or {}).items()]
        return self.classifier_.evaluate(
            ImageSet("X", images.images, torch.from_numpy(labels), names),
            ood=strange,
            rule=rule,
            samples=self.samples,
        )

    @property
    def rule_(self) -> Rule:
        """The rule in force."""
        check_is_fitted(self)
        return self.classifier_.rule

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classifier_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "classifier_" in state:
            state[PACKED] = to_bytes(state.pop("classifier_"))
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        content = state.pop(PACKED, None)
        super().__setstate__(state)
        if content is not None:
            self.classifier_ = self._unpacked(content)

    def _unpacked(self, content: bytes) -> Classifier:
        network: NetworkLike | None = self._network(
            self._fitted_network, self._read, "", len(self.classes_), 0
        )
        if isinstance(network, str) and ":" not in network:
            network = None  # nescio's own, named in the file
        return from_bytes(
            content, network, device=self._place(), precision=self.precision, name="the pickle"
        )

    def _place(self) -> torch.device | str:
        """Where a pickle is loaded to: another place than it asks for, if that is not here."""
        try:
            return choose_device(self.device)
        except UsageError as error:
            there = choose_device("auto")
            warnings.warn(f"{error}; what was fitted is loaded on {there}", stacklevel=5)
            return there

    def _input(self, X: Array) -> Input:
        if X.ndim == 2 and self.image_shape is None:
            if self.pixel_range is not None:
                raise UsageError("pixel_range is for images: say image_shape=(H, W), too")
            return Features.of(X)
        return Pixels.of(X, self.image_shape, self.pixel_range)

    def _images(self, X: Any) -> ImageSet:
        """What :meth:`fit` was given, in another array."""
        check_is_fitted(self)
        X = stacked(X)
        checked = check_array(X, allow_nd=True, dtype="numeric", estimator=self, input_name="X")
        if checked.ndim == 2:
            validate_data(self, X, reset=False, skip_check_array=True)
        return ImageSet("X", self._read(checked), None, ())

    def _ordered(self, X: Any) -> tuple[ImageSet, torch.Tensor]:
        """The images in an order that depends on themselves alone, and the way back ``(N,)``.

        Matrix products round a row by where it stands. So that an image is answered alike
        wherever it stands in ``X``, all go in one order.
        """
        images = self._images(X)
        order = images.hashes().argsort()
        return replace(images, images=images.images[order]), order.argsort()

    def _forced(self, X: Any) -> Array:
        top = self.predict_proba(X).argmax(1)
        forced: Array = self.classes_[top]
        return forced

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _network(
        self, network: NetworkLike, read: Input, default: str, classes: int, seed: int
    ) -> NetworkLike:
        if isinstance(read, Features):
            return for_features(network, read, classes, seed)
        return for_images(network, default)

    def _recipe(self, read: Input, classes: Array, labels: Array, notes: Notes) -> Recipe:
        """The recipe with what the parameters say, and what the data allow."""
        settings = {
            "epochs": self.epochs,
            # Who asks for a number of passes gets that number.
            "minimum_steps": None if self.epochs is None else 0,
            "prior": self.prior if isinstance(self.prior, str) else None,
            "posterior": self.posterior,
            "random": self.random,
            "rule": self.rule,
            "calibration": self.calibration,
        }
        recipe = recipe_with(self.recipe, settings, features=isinstance(read, Features))
        if self.max_risk is not None:
            return recipe
        return within_means(recipe, classes, labels, notes, insists=self.rule is not None)

    def _warn(self) -> None:
        """Of what a user could not see otherwise, and would not expect."""
        stopped = self.classifier_.record.stopped
        if stopped == "diverged":
            warnings.warn(
                "training diverged; the last whole pass is kept", ConvergenceWarning, stacklevel=3
            )
        elif stopped is not None:
            warnings.warn(f"training was {stopped}; the last whole pass is kept", stacklevel=3)
        if self.refusal_label is not None and isinstance(self.rule_, NeverRefuse):
            told = self.notes_[0] if self.notes_ else "the rule never refuses"
            warnings.warn(f"refusal_label will never be predicted: {told}", stacklevel=3)


def _require_whole(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
        raise UsageError(f"{name} must be a whole number, got {value!r}")
