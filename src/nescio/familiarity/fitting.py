"""How familiarity is fitted: what the training images are like, in a few passes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nescio.data import ImageSet, images_at_once, to_float
from nescio.errors import ArchitectureError
from nescio.familiarity.axes import MOST_AXES, Axes, AxesMoments
from nescio.familiarity.crossfit import FEW, cross_fitted, rank_in_class
from nescio.familiarity.density import ClassMoments
from nescio.familiarity.familiarity import BATCH_SIZE, Familiarity, Stage
from nescio.familiarity.neighbours import MOST_AXES as MOST_NEIGHBOUR_AXES
from nescio.familiarity.neighbours import MOST_NEIGHBOURS, NeighbourDensities
from nescio.familiarity.stages import IMAGE, OUTPUT, StageReader, find_stages
from nescio.familiarity.tail import fit_tail
from nescio.network import channels_last
from nescio.progress import SILENT, Reporter, Task
from nescio.ranks import SOLO, Ranks, gather_rows
from nescio.threads import ThreadTuner

MOST_IMAGES = 10_000
"""Training images for the axes and for the Gaussians' tails; the densities are fitted to all. So
many are read once, and what was read is kept: at most 200 MB."""

MOST_KEPT = 2**26
"""Bytes of features that are kept, so that the network need not run again."""

TRIED, MANY = 64, 1024
"""Images that are read to time how many threads pay, if they are small; at the start where so many
or more are to be read."""

BY_NEIGHBOURS = {IMAGE: True, OUTPUT: False}
"""The stages that are told by neighbours, and whether by planes through them; the others by a
Gaussian for each class. docs/refusal.md has the figures that this was chosen by."""


@torch.no_grad()
def fit_familiarity(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    train: ImageSet,
    *,
    classes: int,
    stages: Sequence[str] | None = None,
    reporter: Reporter = SILENT,
    ranks: Ranks = SOLO,
) -> Familiarity:
    """Describe the training images at every stage of a fitted network.

    In bounded memory: for the axes, for the densities and for the tails, which are cross-fitted
    where there are few images (:mod:`nescio.familiarity.crossfit`). Up to
    :data:`MOST_IMAGES` images whose features take at most :data:`MOST_KEPT` bytes go through the
    network once, of more so many three times.

    Args:
        network: In evaluation mode; its device is where the work is done.
        weights: What its random parameters are: the means of the guide.
        train: Labelled images that the network was fitted to; every class occurs.
        classes: ``C``.
        stages: Names to read; ``None`` finds them, see
            :func:`nescio.familiarity.stages.find_stages`.
        reporter: Told of progress, and of stages that are left out.
        ranks: The processes that share the images; each gets the same, of all images.

    Raises:
        ArchitectureError: A stage gives features that are not numbers, or all stages are
            the same for every image.
    """
    device = next(network.parameters()).device
    few = channels_last(to_float(train.images[:2].to(device)))
    names = tuple(stages) if stages else _found_stages(network, few, reporter)
    reader = StageReader(network, weights, names)
    some = _some(train.require_labels(), MOST_IMAGES)
    like = dict(zip(names, reader(few), strict=True))
    size = sum(own[0].numel() for own in like.values())
    little = 4 * size * len(train) <= MOST_KEPT
    keeps = len(train) < FEW or (len(train) <= MOST_IMAGES and little)
    total = sum(map(len, own_batches(train, torch.arange(len(train)), ranks)))
    total += 0 if keeps else 2 * sum(map(len, own_batches(train, some, ranks)))
    with (
        ThreadTuner(lambda: _trial(train, reader, device), device).tuned(
            reporter, long=total >= MANY
        ) as ticking,
        ticking.task("getting to know the training images", total, "images") as task,
    ):
        known = _Known(train, like, task, ranks, keeps=keeps)
        axes = _find_axes(known, some, reader, reporter)
        reader = reader.only(tuple(axes))
        gathered, near = _gather(known, axes, reader, classes)
        found = {
            **_neighbour_stages(axes, gathered, near, known),
            **_gaussian_stages(gathered, known, some, reader),
        }
        if len(train) < FEW:
            found = _measured_apart(found, known, reader)
    return Familiarity(tuple(found[name] for name in axes))


def _found_stages(network: nn.Module, few: Tensor, reporter: Reporter) -> tuple[str, ...]:
    """The stages of the network, and a note where none was learned but the output."""
    names = find_stages(network, few)
    if set(names) <= {IMAGE, OUTPUT}:
        reporter.note(
            "how familiar an image is will be judged by the image and the network's output alone: "
            "no layer with weights was seen to run between them, once for each image"
        )
    return names


def _trial(train: ImageSet, reader: StageReader, device: torch.device) -> Callable[[], object]:
    """A few images read, to time how many threads pay."""
    some = train.images[: images_at_once(train.images, TRIED)]
    x = channels_last(to_float(some.to(device)))
    return lambda: [own.T @ own for own in reader(x)]


class _Known:
    """The training images, to be read batch by batch on a device.

    Where they are few, what was read is kept, so that the network runs over them once. Each process
    reads its batches, one after the other in turn.
    """

    def __init__(
        self,
        train: ImageSet,
        like: Mapping[str, Tensor],
        task: Task,
        ranks: Ranks,
        *,
        keeps: bool,
    ) -> None:
        self.train, self.like, self.task, self.ranks = train, like, task, ranks
        self.device = next(iter(like.values())).device
        self.keeps = keeps
        # In one piece for each stage: small pieces between batches would break up the memory.
        self._kept: dict[str, Tensor] = {}
        self._read: set[tuple[int, int]] = set()

    @property
    def labels(self) -> Tensor:
        return self.train.require_labels()

    def read(
        self, index: Tensor, reader: StageReader
    ) -> Iterator[tuple[Sequence[Tensor], Tensor, Tensor]]:
        """The features of all stages, the labels and the places of the images at ``index``."""
        for part in own_batches(self.train, index, self.ranks):
            yield self._features(part, reader), self.labels[part].to(self.device), part

    def _features(self, part: Tensor, reader: StageReader) -> Sequence[Tensor]:
        """Few images are all read each time (see :func:`_some`), so their first says which."""
        start, end = int(part[0]), int(part[0]) + len(part)
        if (start, end) in self._read:
            return [self._kept[name][start:end] for name in reader.stages]
        features = reader(channels_last(to_float(self.train.images[part].to(self.device))))
        if self.keeps:
            self._read.add((start, end))
            for name, own in zip(reader.stages, features, strict=True):
                if name not in self._kept:
                    self._kept[name] = own.new_empty(len(self.train), *own.shape[1:])
                self._kept[name][start:end] = own
        self.task.advance(len(part))
        return features

    def joined(self, own: Sequence[Tensor], places: Sequence[Tensor], like: Tensor) -> Tensor:
        """Rows ``(n, ...)`` of all processes, in the order of the places of their images.

        Args:
            own: What this process has, batch by batch; perhaps nothing.
            places: ``(n,)`` int64 of each batch, where its rows belong.
            like: ``(m, ...)``, rows of their shape and dtype.
        """
        rows = torch.cat([like[:0], *own])
        if self.ranks.size == 1:
            return rows
        found = torch.cat(gather_rows(self.ranks, rows))
        order = torch.cat(gather_rows(self.ranks, torch.cat([torch.arange(0), *places])))
        return found[order.argsort().to(found.device)]


def own_batches(train: ImageSet, index: Tensor, ranks: Ranks) -> Sequence[Tensor]:
    """Those of the batches of images at ``index`` that are this process's: each in its turn."""
    batches: Sequence[Tensor] = index.split(images_at_once(train.images, BATCH_SIZE))
    return batches[ranks.rank :: ranks.size]


def _find_axes(
    known: _Known, some: Tensor, reader: StageReader, reporter: Reporter
) -> dict[str, Axes]:
    """The axes of each stage whose features vary; the others say nothing."""
    moments = {name: AxesMoments() for name in reader.stages}
    for features, _, _ in known.read(some, reader):
        for moment, own in zip(moments.values(), features, strict=True):
            moment.add(own)
    for name, moment in moments.items():
        moment.reduce(known.ranks, known.like[name])
    found = {
        name: moment.axes(MOST_NEIGHBOUR_AXES if name in BY_NEIGHBOURS else MOST_AXES)
        for name, moment in moments.items()
    }
    for name in [name for name, axes in found.items() if axes is None]:
        reporter.note(f"stage {name!r} is the same for every training image, so it is left out")
    axes = {name: own for name, own in found.items() if own is not None}
    if not axes:
        raise ArchitectureError("all training images are alike at every stage of the network")
    return axes


def _gather(
    known: _Known, axes: Mapping[str, Axes], reader: StageReader, classes: int
) -> tuple[dict[str, ClassMoments], dict[str, Tensor]]:
    """The moments of each stage; and where the images that are kept lie, by stage ``(M, r)``."""
    gathered = {name: ClassMoments(own, classes) for name, own in axes.items()}
    kept = _kept(known.labels)
    near: dict[str, list[Tensor]] = {name: [] for name in axes if name in BY_NEIGHBOURS}
    where: list[Tensor] = []
    for features, labels, places in known.read(torch.arange(len(kept)), reader):
        where.append(places[kept[places]])
        for (name, moments), own in zip(gathered.items(), features, strict=True):
            along = axes[name](own)
            moments.add(along, labels)
            if name in near:
                near[name].append(along[kept[places].to(along.device)])
    for moments in gathered.values():
        moments.reduce(known.ranks)
    return gathered, {
        name: known.joined(parts, where, axes[name](known.like[name]))
        for name, parts in near.items()
    }


def _kept(labels: Tensor) -> Tensor:
    """``(N,)`` bool: the training images that are kept as neighbours."""
    kept = torch.zeros(len(labels), dtype=torch.bool)
    kept[_some(labels, MOST_NEIGHBOURS)] = True
    return kept


def _neighbour_stages(
    axes: Mapping[str, Axes],
    gathered: Mapping[str, ClassMoments],
    near: Mapping[str, Tensor],
    known: _Known,
) -> dict[str, Stage]:
    """The stages that are told by the training images kept."""
    labels = known.labels[_kept(known.labels)].to(known.device)
    stages = {}
    for name, along in near.items():
        moments = gathered[name]
        density = NeighbourDensities.of(
            axes[name],
            moments.whitener(),
            along,
            labels,
            moments.classes,
            plane=BY_NEIGHBOURS[name],
        )
        stages[name] = Stage(name, density, fit_tail(*density.left_out(), moments.classes))
    return stages


def _gaussian_stages(
    gathered: Mapping[str, ClassMoments], known: _Known, some: Tensor, reader: StageReader
) -> dict[str, Stage]:
    """The stages that are told by Gaussians; their tails by training images left out."""
    density = {n: m.densities() for n, m in gathered.items() if n not in BY_NEIGHBOURS}
    if not density:
        return {}
    far: dict[str, list[Tensor]] = {name: [] for name in density}
    labels: list[Tensor] = []
    where: list[Tensor] = []
    for features, y, places in known.read(some, reader.only(tuple(density))):
        labels.append(y)
        where.append(places)
        for name, own in zip(density, features, strict=True):
            far[name].append(density[name].left_out(own, y))
    y = known.joined(labels, where, known.labels[:0].to(known.device))
    none = torch.zeros(0, device=known.device)
    return {
        name: Stage(name, own, fit_tail(known.joined(far[name], where, none), y, own.classes))
        for name, own in density.items()
    }


def _measured_apart(
    found: Mapping[str, Stage], known: _Known, reader: StageReader
) -> dict[str, Stage]:
    """The same stages, their tails by images that had no part in axes and densities."""
    batches = list(known.read(torch.arange(len(known.labels)), reader))
    where = [places for _, _, places in batches]
    labels = known.joined([y for _, y, _ in batches], where, known.labels[:0].to(known.device))
    stages = dict(found)
    for number, name in enumerate(reader.stages):
        features = known.joined([own[number] for own, _, _ in batches], where, known.like[name])
        density, plane = found[name].density, BY_NEIGHBOURS.get(name)
        most = density.axes.basis.shape[1]
        distances = cross_fitted(features, labels, density.classes, plane, most)
        if distances is not None:
            stages[name] = replace(found[name], tail=fit_tail(*distances, density.classes))
    return stages


def _some(labels: Tensor, most: int) -> Tensor:
    """Places of about ``most`` images, of each class its share and at least one."""
    every = -(-len(labels) // most)
    return (rank_in_class(labels) % every == 0).nonzero()[:, 0]
