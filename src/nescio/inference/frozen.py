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
from contextlib import AbstractContextManager
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
    take,
    to_float,
)
from nescio.data.features import empty_features
from nescio.devices import explain_memory, lowered
from nescio.errors import ArchitectureError, DataError
from nescio.inference.fitted import Fit
from nescio.inference.job import Job
from nescio.inference.methods import fit_posterior
from nescio.inference.model import random_parameters
from nescio.inference.recipe import Recipe
from nescio.inference.watch import Watch
from nescio.network import check_fit, cut_network, lay_out
from nescio.progress import Task
from nescio.randomness import Stream, generator
from nescio.ranks import gather_rows, share_of, together
from nescio.threads import ThreadTuner

BATCH_SIZE = 512
"""Images that go through the trunk at once, if they are small."""

TRIED, MANY = 8, 256
"""Images that go through it to time how many threads pay, at the start of so many or more."""


@dataclass(frozen=True)
class Frozen:
    """What is left to fit, once the features are there.

    Attributes:
        network: The whole network, on the device, its trunk frozen.
        job: The head, whose parameters have the names that they have in the network; the
            features of the training images, view after view, and of those that are watched;
            and how to fit the one to the other.
        weight: How many times more than asked for the KL weighs in that job's recipe.
    """

    network: nn.Module
    job: Job
    weight: int

    def joined(self, fitted: Fit) -> Fit:
        """The fit of the head as one of the whole network."""
        self.network.load_state_dict(fitted.network.state_dict(), strict=False)
        history = tuple(replace(epoch, kl=epoch.kl * self.weight) for epoch in fitted.history)
        return replace(fitted, network=self.network.eval(), history=history)


def fit_frozen(job: Job) -> Fit:
    """As :func:`nescio.inference.fit_posterior`, of a network whose trunk stays as it is.

    What is returned and what is raised are the same, and see :func:`freeze_trunk`.
    """
    frozen = freeze_trunk(job)
    return frozen.joined(fit_posterior(frozen.job))


def freeze_trunk(job: Job) -> Frozen:
    """Compute what a fit of the head alone needs, in one pass over the images for each view.

    Args:
        job: Its ``recipe.random`` says what the head is, ``recipe.augment`` and ``recipe.views``
            how images are varied. Features are kept as they come: in float32, or in bfloat16
            where the trunk computes in it. The network is copied, not changed.

    Raises:
        DataError: No images.
        ArchitectureError: The network does not fit the images or the classes, nothing comes
            before its random weights, or the features are not numbers.
        OutOfMemoryError: The memory does not hold a batch of images in the trunk.
    """
    train, recipe, seed = job.train, job.recipe, job.seed
    if len(train) == 0:
        raise DataError(f"{train.name}: no image to train on")
    seen = Watch.of(job.watch) if job.watch else None
    shown = None if seen is None else ImageSet("watched", seen.images, seen.labels, train.classes)
    counts = [len(train)] * recipe.views + ([] if shown is None else [len(shown)])
    total = sum(len(range(*share_of(job.ranks, count).indices(count))) for count in counts)
    with _explained(), together(job.ranks):
        whole = lay_out(copy.deepcopy(job.network).float().to(job.device)).eval()
        few = to_float(train.images[:2].to(job.device))
        check_fit(whole, few, len(train.classes))
        trunk, head = _parts(whole, recipe.random, few)
    with (
        _explained(),
        ThreadTuner(lambda: _trial(trunk, job), job.device).tuned(
            job.reporter, long=total >= MANY
        ) as reporter,
        reporter.task("computing features", total, "images") as task,
    ):
        reader = _Reader(trunk, job, task)
        draws = generator(job.own_seed, Stream.AUGMENT)
        features = reader.read(train, recipe.augment, recipe.views, draws)
        watched = None
        if shown is not None:
            watched = reader.read(shown, "none", 1, generator(seed, Stream.AUGMENT))
    weight = recipe.views if recipe.scale_likelihood else 1
    heads = replace(
        job,
        network=head,
        train=features,
        recipe=_for_features(recipe, weight),
        watch=watched,
        again=None if job.again is None else _heads_of(job.again, head),
    )
    return Frozen(whole, heads, weight)


def _explained() -> AbstractContextManager[None]:
    return explain_memory("computing features", "lower --image-size, or take a smaller network")


def _trial(trunk: nn.Module, job: Job) -> Callable[[], object]:
    """A few images through the trunk, to time how many threads pay."""
    few = job.train.images[: images_at_once(job.train.images, TRIED)]
    x = to_float(few.to(job.device))

    @torch.no_grad()
    def trial() -> None:
        with lowered(job.device, job.precision):
            trunk(x)

    return trial


def _heads_of(again: Callable[[int], nn.Module], head: nn.Module) -> Callable[[int], nn.Module]:
    """Builds the head of another network that differs in its weights alone, by a seed."""

    def build(seed: int) -> nn.Module:
        other, built = copy.deepcopy(head), again(seed).state_dict()
        other.load_state_dict({name: built[name] for name in other.state_dict()})
        return other

    return build


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
    """Runs images through the trunk, batch by batch; each process its share of them."""

    def __init__(self, trunk: nn.Module, job: Job, task: Task) -> None:
        self.trunk, self.device, self.precision = trunk, job.device, job.precision
        self.ranks, self.task = job.ranks, task

    @torch.no_grad()
    def read(
        self, images: ImageSet, augment: str, views: int, draws: torch.Generator
    ) -> FeatureSet:
        """The features of ``images`` in so many views, view after view; on the CPU."""
        vary = parse_augmentation(augment)
        one = self._run(images.images[:1], Augmentation(), draws)
        features = empty_features((views * len(images), *one.shape[1:]), one.dtype)
        own = share_of(self.ranks, len(images))
        for view in features.split(len(images)):
            done = own.start
            mine = take(images.images, own)
            for part in mine.split(images_at_once(mine, BATCH_SIZE)):
                found = self._run(part, vary, draws)
                view[done : done + len(found)] = found.cpu()
                done += len(found)
                self.task.advance(len(found))
            if self.ranks.size > 1:
                view.copy_(torch.cat(gather_rows(self.ranks, view[own])))
            # Once they are together, so that all processes find the same.
            if not bool(torch.isfinite(view).all()):
                raise ArchitectureError(
                    "--freeze: the frozen trunk gives features that are not numbers; "
                    "look at its weights"
                )
        labels = images.require_labels().repeat(views)
        return FeatureSet(images.name, features, labels, images.classes)

    def _run(self, images: Stack, vary: Augmentation, draws: torch.Generator) -> Tensor:
        x = vary(to_float(images.to(self.device)), draws)
        with lowered(self.device, self.precision):
            found: Tensor = self.trunk(x)
        return found
