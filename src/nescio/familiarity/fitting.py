"""How familiarity is fitted: what the training images are like, in one pass over some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nescio.data import ImageSet, images_at_once, to_float
from nescio.errors import ArchitectureError
from nescio.familiarity.familiarity import BATCH_SIZE, Density, Familiarity, Stage
from nescio.familiarity.perclass import ClassGaussians
from nescio.familiarity.shared import MOST_AXES, SharedGaussian
from nescio.familiarity.stages import (
    DETAIL,
    IMAGE,
    OUTPUT,
    StageReader,
    find_stages,
    layers_of,
    source_of,
)
from nescio.familiarity.subspace import about, principal, unit, varies
from nescio.familiarity.tail import fit_tail
from nescio.familiarity.worth import log_weights, stage_worth
from nescio.network import channels_last
from nescio.progress import SILENT, Reporter, Task
from nescio.ranks import SOLO, Ranks, gather_rows
from nescio.threads import ThreadTuner

MOST_IMAGES = 20_000
"""Training images that densities are fitted to: more change them little."""

MOST_BYTES = 2**28
"""Of their features; where they are larger, fewer images are read."""

MOST_WORTH = 4_000
"""Images that the worth of the stages is found by."""

TRIED, MANY = 64, 1024
"""Images that are read to time how many threads pay, if they are small; at the start where so many
or more are to be read."""

IMAGE_AXES, IMAGES_AN_AXIS = 64, 10
"""Main axes of the image's features at most, and so many images for each: axes that follow few
images know these too well."""

DETAIL_RIDGE, DETAIL_AXES = 0.003, 512
"""Of the mean variance of the image's features; and axes that are kept. What hardly varies in
familiar images counts here: it is where noise is strange."""


Read: TypeAlias = tuple[Mapping[str, Tensor], Tensor]
"""Features ``(n, d)`` by source, of unit length, and labels ``(n,)``."""


@torch.no_grad()
def fit_familiarity(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    train: ImageSet,
    apart: ImageSet | None = None,
    *,
    classes: int,
    stages: Sequence[str] | None = None,
    precision: torch.dtype = torch.float32,
    reporter: Reporter = SILENT,
    ranks: Ranks = SOLO,
) -> Familiarity:
    """Describe the training images at every stage of a fitted network.

    At most :data:`MOST_IMAGES` of them, of each class its share, go through the network once; their
    features take at most :data:`MOST_BYTES`.

    Args:
        network: In evaluation mode; its device is where the work is done.
        weights: What its random parameters are: the means of the guide.
        train: Labelled images that the network was fitted to; every class occurs.
        apart: A few labelled images that it was not fitted to, where it was trained, and not the
            head of a frozen one alone: a network knows the images that it was trained on too well.
        classes: ``C``.
        stages: Names to read; ``None`` finds them, see
            :func:`nescio.familiarity.stages.find_stages`.
        precision: Of the products in the network, as it will predict with.
        reporter: Told of progress, and of stages that are left out.
        ranks: The processes that share the images; each gets the same, of all images.

    Raises:
        ArchitectureError: A stage gives features that are not numbers, or all stages are
            the same for every image.
    """
    device = next(network.parameters()).device
    few = channels_last(to_float(train.images[:2].to(device)))
    names = tuple(stages) if stages else _found_stages(network, few, reporter)
    reader = StageReader(network, weights, names, precision)
    like = dict(reader(few))
    labels = train.require_labels()
    size = sum(own[0].numel() for own in like.values())
    some = _some(labels, min(MOST_IMAGES, max(1, MOST_BYTES // (4 * size))))
    own = sum(map(len, own_batches(train, some, ranks)))
    with (
        ThreadTuner(lambda: _trial(train, reader, device), device).tuned(
            reporter, long=own >= MANY
        ) as ticking,
        ticking.task("fitting the familiarity model", own, "images") as task,
    ):
        known = _read(train, some, reader, like, task, ranks=ranks), labels[some].to(device)
        new = None if apart is None else _read_apart(apart, reader, device)
        fitted = _fit_stages(names, known, new, classes, reporter)
    return _alike(fitted, ranks)


def _found_stages(network: nn.Module, few: Tensor, reporter: Reporter) -> tuple[str, ...]:
    """The stages of the network, and a note where none was learned but the output."""
    names = find_stages(network, few)
    if not layers_of(names):
        reporter.note(
            "how familiar an image is will be judged by the image and the network's output alone: "
            "no layer with weights was seen to run between them, once for each image"
        )
    return names


def _trial(train: ImageSet, reader: StageReader, device: torch.device) -> Callable[[], object]:
    """A few images read, to time how many threads pay."""
    some = train.images[: images_at_once(train.images, TRIED)]
    x = channels_last(to_float(some.to(device)))
    return lambda: [own.T @ own for own in reader(x).values()]


def _read(
    train: ImageSet,
    some: Tensor,
    reader: StageReader,
    like: Mapping[str, Tensor],
    task: Task,
    *,
    ranks: Ranks,
) -> dict[str, Tensor]:
    """The features ``(n, d)``, of unit length, of the images at ``some``, by source."""
    batches = own_batches(train, some, ranks)
    places = dict.fromkeys(like, 0)
    count = sum(map(len, batches))
    # In one piece for each source: small pieces between batches would break up the memory.
    kept = {name: own.new_empty(count, *own.shape[1:]) for name, own in like.items()}
    for part in batches:
        x = channels_last(to_float(train.images[part].to(next(iter(like.values())).device)))
        for name, own in reader(x).items():
            kept[name][places[name] : places[name] + len(own)] = unit(own)
            places[name] += len(own)
        task.advance(len(part))
    if ranks.size == 1:
        return kept
    order = torch.cat(gather_rows(ranks, torch.cat([torch.arange(0), *batches]))).argsort()
    return {
        name: torch.cat(gather_rows(ranks, own))[order.to(own.device)] for name, own in kept.items()
    }


def _read_apart(apart: ImageSet, reader: StageReader, device: torch.device) -> Read:
    """Of images that are few enough for each process to read them all."""
    parts = [
        reader(channels_last(to_float(part.to(device))))
        for part in apart.images.split(images_at_once(apart.images, BATCH_SIZE))
    ]
    features = {name: unit(torch.cat([part[name] for part in parts])) for name in parts[0]}
    return features, apart.require_labels().to(device)


def own_batches(train: ImageSet, index: Tensor, ranks: Ranks) -> Sequence[Tensor]:
    """Those of the batches of images at ``index`` that are this process's: each in its turn."""
    batches: Sequence[Tensor] = index.split(images_at_once(train.images, BATCH_SIZE))
    return batches[ranks.rank :: ranks.size]


def _fit_stages(
    names: Sequence[str],
    known: Read,
    new: Read | None,
    classes: int,
    reporter: Reporter,
) -> Familiarity:
    """Densities, their tails, and what each stage is worth."""
    features, labels = known
    stages: dict[str, Stage] = {}
    worth: dict[str, float] = {}
    some = _some(labels, MOST_WORTH)
    for name in names:
        own = features[source_of(name)]
        if not bool(torch.isfinite(own).all()):
            raise ArchitectureError("the network gives features that are NaN or infinite")
        if not varies(own):
            if name != DETAIL:
                reporter.note(
                    f"stage {name!r} is the same for every training image, so it is left out"
                )
            continue
        fit = _fitter(name, own)
        density = fit(own, labels, classes)
        tail = fit_tail(density.left_out(own, labels), labels, classes, _own(density, name, new))
        if isinstance(density, SharedGaussian):
            density = density.shortened(DETAIL_AXES if name == DETAIL else MOST_AXES)
        stages[name] = Stage(name, density, tail)
        layers = layers_of(tuple(stages))
        if name == OUTPUT and layers:
            # It was trained to tell the classes apart, so that no class can be left out of it.
            worth[name] = worth[layers[-1]]
        else:
            worth[name] = stage_worth(own[some], labels[some], classes, fit)
    if not stages:
        raise ArchitectureError("all training images are alike at every stage of the network")
    weights = log_weights(worth)
    return Familiarity(
        tuple(replace(stage, log_weight=weights[name]) for name, stage in stages.items())
    )


def _own(density: Density, name: str, new: Read | None) -> tuple[Tensor, Tensor] | None:
    """The distances of new images from their own classes, and these."""
    if new is None:
        return None
    features, labels = new
    distances = density.distances(features[source_of(name)])
    return distances.gather(1, labels[:, None])[:, 0], labels


def _fitter(name: str, features: Tensor) -> Callable[[Tensor, Tensor, int], Density]:
    """What fits the density of a stage.

    Nothing of the image's own features was learned, so each class may have a covariance of its
    own; of learned features it would follow the training images too closely.
    """
    count, width = features.shape
    if name == DETAIL:
        return partial(SharedGaussian.fit, ridge=DETAIL_RIDGE)
    if name != IMAGE:
        return SharedGaussian.fit
    kept = max(1, min(IMAGE_AXES, width, count // IMAGES_AN_AXIS))
    _, axes = principal(about(features, features.double().mean(0)))
    return partial(ClassGaussians.fit, axes=axes[:, :kept].float().contiguous())


def _alike(fitted: Familiarity, ranks: Ranks) -> Familiarity:
    """What process 0 fitted, so that all agree to the bit."""
    if ranks.size == 1:
        return fitted
    tensors = {
        name: ranks.gather(value.to(ranks.place))[0].to(value.device)
        for name, value in fitted.tensors().items()
    }
    return Familiarity.unpack(tensors, fitted.names)


def _some(labels: Tensor, most: int) -> Tensor:
    """Places of about ``most`` images, of each class its share and at least one."""
    every = -(-len(labels) // most)
    return (rank_in_class(labels) % every == 0).nonzero()[:, 0]


def rank_in_class(labels: Tensor) -> Tensor:
    """``(n,)`` int64: the place of each image among those of its class, from 0."""
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    rank = torch.empty_like(labels)
    starts = (sizes.cumsum(0) - sizes)[labels[order]]
    rank[order] = torch.arange(len(labels), device=labels.device) - starts
    return rank
