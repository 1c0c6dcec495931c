"""A frozen trunk: its features are computed once, and a head is fitted to them.

The trunk is what a network does before its first random weight (:mod:`nescio.network.cut`). It
stays as its weights are, in evaluation mode: no gradient, no dropout, and normalisation by the
statistics that it came with. So it gives the same features in every pass, and the fit reads
those in the place of images. With the same seed it is the fit of the whole network whose trunk
does not change, within rounding.

Images that are to be varied get a number of views each, ``K``, all of them computed beforehand.
The ``K N`` features speak for ``N`` images, so the KL weighs ``K`` times: per image the loss is

    K KL / (K N) - sum_kn log p(y_n | f_kn) / (K N) = (KL - sum_n mean_k log p(y_n | f_kn)) / N

the ELBO of ``N`` images whose likelihood is averaged over their views.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nescio.data import (
    Augmentation,
    FeatureSet,
    ImageSet,
    Stack,
    images_at_once,
    parse_augmentation,
    to_float,
)
from nescio.data.features import empty_features
from nescio.devices import explain_memory, lowered
from nescio.errors import ArchitectureError, DataError
from nescio.inference.fit import Fit
from nescio.inference.likelihood import Likelihood
from nescio.inference.methods import fit_posterior
from nescio.inference.model import random_parameters
from nescio.inference.prior import Prior
from nescio.inference.recipe import Recipe
from nescio.inference.watch import Watch
from nescio.network import check_fit, cut_network, lay_out
from nescio.progress import SILENT, Reporter, Task
from nescio.randomness import Stream, generator

BATCH_SIZE = 512
"""Images that go through the trunk at once, if they are small."""


@dataclass(frozen=True)
class Frozen:
    """What is left to fit, once the features are there.

    Attributes:
        network: The whole network, on the device, its trunk frozen.
        head: What is fitted; its parameters have the names that they have in the network.
        train: The features of the training images, view after view.
        watch: The features of images that are watched, if any.
        recipe: How to fit the head to the features.
        weight: How many times more than asked for the KL weighs in that recipe.
    """

    network: nn.Module
    head: nn.Module
    train: FeatureSet
    watch: FeatureSet | None
    recipe: Recipe
    weight: int

    def head_of(self, network: nn.Module) -> nn.Module:
        """The head of another network that differs in its weights alone."""
        head, other = copy.deepcopy(self.head), network.state_dict()
        head.load_state_dict({name: other[name] for name in head.state_dict()})
        return head

    def joined(self, fitted: Fit) -> Fit:
        """The fit of the head as one of the whole network."""
        self.network.load_state_dict(fitted.network.state_dict(), strict=False)
        history = tuple(replace(epoch, kl=epoch.kl * self.weight) for epoch in fitted.history)
        return replace(fitted, network=self.network.eval(), history=history)


def fit_frozen(
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
    """As :func:`nescio.inference.fit_posterior`, of a network whose trunk stays as it is.

    The arguments, what is returned and what is raised are the same, and see :func:`freeze_trunk`.
    """
    frozen = freeze_trunk(
        network,
        train,
        recipe,
        watch=watch,
        seed=seed,
        device=device,
        precision=precision,
        reporter=reporter,
    )
    fitted = fit_posterior(
        frozen.head,
        frozen.train,
        frozen.recipe,
        again=None if again is None else lambda start: frozen.head_of(again(start)),
        prior=prior,
        likelihood=likelihood,
        seed=seed,
        device=device,
        precision=precision,
        compiled=compiled,
        watch=frozen.watch,
        reporter=reporter,
    )
    return frozen.joined(fitted)


def freeze_trunk(
    network: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    watch: ImageSet | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    precision: torch.dtype = torch.float32,
    reporter: Reporter = SILENT,
) -> Frozen:
    """Compute what a fit of the head alone needs, in one pass over the images for each view.

    Args:
        network: It is copied, not changed.
        train: Labelled images.
        recipe: Its ``random`` says what the head is, its ``augment`` and ``views`` how images
            are varied.
        watch: Labelled images whose accuracy is shown.
        seed: Of the augmentation.
        device: Where to compute; the CPU when ``None``.
        precision: Of the products in the trunk. Features are kept as they come: in float32, or
            in bfloat16 where the trunk computes in it.
        reporter: Told of progress.

    Raises:
        DataError: No images.
        ArchitectureError: The network does not fit the images or the classes, nothing comes
            before its random weights, or the features are not numbers.
        OutOfMemoryError: The memory does not hold a batch of images in the trunk.
    """
    if len(train) == 0:
        raise DataError(f"{train.name}: no image to train on")
    device = device or torch.device("cpu")
    seen = None if watch is None or len(watch) == 0 else Watch.of(watch)
    total = recipe.views * len(train) + (0 if seen is None else len(seen.labels))
    with (
        explain_memory("computing features", "lower --image-size, or take a smaller network"),
        reporter.task("computing features", total, "images") as task,
    ):
        whole = lay_out(copy.deepcopy(network).float().to(device)).eval()
        few = to_float(train.images[:2].to(device))
        check_fit(whole, few, len(train.classes))
        trunk, head = _parts(whole, recipe.random, few)
        reader = _Reader(trunk, device, precision, task)
        features = reader.read(train, recipe.augment, recipe.views, generator(seed, Stream.AUGMENT))
        watched = None
        if seen is not None:
            shown = ImageSet("watched", seen.images, seen.labels, train.classes)
            watched = reader.read(shown, "none", 1, generator(seed, Stream.AUGMENT))
    weight = recipe.views if recipe.scale_likelihood else 1
    return Frozen(whole, head, features, watched, _for_features(recipe, weight), weight)


def _parts(network: nn.Module, random: str, few: Tensor) -> tuple[nn.Module, nn.Module]:
    """The trunk, frozen, and the head of ``network``."""
    cut = cut_network(network, list(random_parameters(network, random)), few)
    if cut.trunk is None or not any(True for _ in cut.trunk.parameters()):
        why = (
            "something beside or after them takes part"
            if cut.trunk is None and random != "all"
            else "no weights come before them"
        )
        raise ArchitectureError(
            f"--freeze: the network cannot be cut before its random weights (--random {random}): "
            f"{why}; choose --random head, or train without --freeze"
        )
    for parameter in cut.trunk.parameters():
        parameter.requires_grad_(False)
    return cut.trunk, cut.named_head()


def _for_features(recipe: Recipe, weight: int) -> Recipe:
    """The recipe for ``views`` times as many features as there are images."""
    return replace(
        recipe,
        freeze=False,
        augment="none",
        views=1,
        epochs=math.ceil(recipe.epochs / recipe.views),
        kl_weight=recipe.kl_weight * weight,
    )


class _Reader:
    """Runs images through the trunk, batch by batch."""

    def __init__(
        self, trunk: nn.Module, device: torch.device, precision: torch.dtype, task: Task
    ) -> None:
        self.trunk, self.device, self.precision, self.task = trunk, device, precision, task

    @torch.no_grad()
    def read(
        self, images: ImageSet, augment: str, views: int, draws: torch.Generator
    ) -> FeatureSet:
        """The features of ``images`` in so many views, view after view; on the CPU."""
        vary = parse_augmentation(augment)
        one = self._run(images.images[:1], Augmentation(), draws)
        features = empty_features((views * len(images), *one.shape[1:]), one.dtype)
        done = 0
        for _ in range(views):
            for part in images.images.split(images_at_once(images.images, BATCH_SIZE)):
                found = self._run(part, vary, draws)
                if not bool(torch.isfinite(found).all()):
                    raise ArchitectureError(
                        "--freeze: the frozen trunk gives features that are not numbers; "
                        "look at its weights"
                    )
                features[done : done + len(found)] = found.cpu()
                done += len(found)
                self.task.advance(len(found))
        labels = images.require_labels().repeat(views)
        return FeatureSet(images.name, features, labels, images.classes)

    def _run(self, images: Stack, vary: Augmentation, draws: torch.Generator) -> Tensor:
        x = vary(to_float(images.to(self.device)), draws)
        with lowered(self.device, self.precision):
            found: Tensor = self.trunk(x)
        return found
