"""Familiarity: how like the training images is an image, at every stage of the network?

For each stage ``l`` and class ``c`` there is evidence that the image is not of that class:
``-log P`` that an image of class ``c`` lies so far from it, in nats. An image is familiar if
there is one class of which it could be at every stage:

    unfamiliarity = min_c sum_l evidence_lc,

Fisher's combination (Fisher 1932) for the class that fits best. That class is the nearest one,
and the stage with most evidence against it gave the image away. The stages are not independent,
so the number has no scale of its own; :mod:`nescio.refusal` turns it into a p-value by images
held out from training. Only training images are used here, and none that is out of distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nescio.data import ImageSet, to_float
from nescio.errors import ArchitectureError
from nescio.familiarity.density import Axes, AxesMoments, ClassMoments, GaussianDensities
from nescio.familiarity.neighbours import MOST_NEIGHBOURS, NeighbourDensities
from nescio.familiarity.stages import OUTPUT, StageReader, find_stages
from nescio.familiarity.tail import Tail, fit_tail
from nescio.network import channels_last
from nescio.progress import SILENT, Reporter

Density: TypeAlias = GaussianDensities | NeighbourDensities
"""What gives the distances of features from every class."""

BATCH_SIZE = 512
"""Images that go through the network at once."""

MOST_IMAGES = 20_000
"""Training images for the axes and for the tails; the densities are fitted to all."""


@dataclass(frozen=True)
class Stage:
    """What is known of the training images at one stage.

    Attributes:
        name: ``image``, ``output``, or the path of a layer.
        density: Of each class: Gaussian, for the output by neighbours.
        tail: From distances to evidence.
    """

    name: str
    density: Density
    tail: Tail

    def evidence(self, features: Tensor) -> Tensor:
        """``(n, C)``, in nats, for features ``(n, d)``."""
        return self.tail(self.density.distances(features))


@dataclass(frozen=True)
class Familiarity:
    """The densities of all stages.

    Attributes:
        stages: From the image to the output.
    """

    stages: tuple[Stage, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages."""
        return tuple(stage.name for stage in self.stages)

    @property
    def classes(self) -> int:
        """``C``."""
        return self.stages[0].density.classes

    def reader(self, network: nn.Module, weights: Mapping[str, Tensor]) -> StageReader:
        """Reads these stages of ``network`` at the guide's means ``weights``."""
        return StageReader(network, weights, self.names)

    @torch.no_grad()
    def evidence(self, reader: StageReader, images: Tensor) -> Tensor:
        """Evidence against every class at every stage.

        Args:
            reader: See :meth:`reader`.
            images: ``(N, K, H, W)`` uint8, on any device.

        Returns:
            ``(N, L, C)`` float32 on the CPU, in nats; infinite where the network gives
            features that are not numbers, so that such an image is never familiar.
        """
        device = self.stages[0].tail.points.device
        parts = [self._of_batch(reader, part.to(device)) for part in images.split(BATCH_SIZE)]
        return torch.cat(parts) if parts else torch.empty(0, len(self.stages), self.classes)

    def _of_batch(self, reader: StageReader, images: Tensor) -> Tensor:
        features = reader(channels_last(to_float(images)))
        evidence = [s.evidence(f) for s, f in zip(self.stages, features, strict=True)]
        return torch.stack(evidence, 1).nan_to_num(torch.inf).cpu()

    def to(self, device: torch.device) -> Familiarity:
        """The same on ``device``."""
        return Familiarity.unpack({k: v.to(device) for k, v in self.tensors().items()}, self.names)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the names, as tensors: ``STAGE NUMBER/WHAT``."""
        return {
            f"{number}/{what}": value
            for number, stage in enumerate(self.stages)
            for what, value in {**stage.density.tensors(), **stage.tail.tensors()}.items()
        }

    @staticmethod
    def unpack(tensors: Mapping[str, Tensor], names: Sequence[str]) -> Familiarity:
        """What :meth:`tensors` and :attr:`names` gave.

        Raises:
            KeyError: A tensor is missing.
            ValueError: Their shapes do not fit together.
        """
        stages: list[Stage] = []
        for number, name in enumerate(names):
            prefix = f"{number}/"
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            kind = NeighbourDensities if "points" in own else GaussianDensities
            stages.append(Stage(name, kind.unpack(own), Tail.unpack(own)))
        return Familiarity(tuple(stages))

    def describe(self) -> dict[str, str]:
        """How each stage is described, in plain words, by its name."""
        return {stage.name: stage.density.describe() for stage in self.stages}


@torch.no_grad()
def fit_familiarity(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    train: ImageSet,
    *,
    classes: int,
    stages: Sequence[str] | None = None,
    reporter: Reporter = SILENT,
) -> Familiarity:
    """Describe the training images at every stage of a fitted network.

    Three passes over images through the network, in bounded memory: for the axes, for the
    densities, for the tails.

    Args:
        network: In evaluation mode; its device is where the work is done.
        weights: What its random parameters are: the means of the guide.
        train: Labelled images that the network was fitted to; every class occurs.
        classes: ``C``.
        stages: Names to read; ``None`` finds them, see
            :func:`nescio.familiarity.stages.find_stages`.
        reporter: Told of progress, and of stages that are left out.

    Raises:
        ArchitectureError: A stage gives features that are not numbers, or all stages are
            the same for every image.
    """
    device = next(network.parameters()).device
    few = channels_last(to_float(train.images[:2].to(device)))
    names = tuple(stages) if stages else find_stages(network, few)
    reader = StageReader(network, weights, names)
    labels = train.require_labels()
    chosen = _some(labels, MOST_IMAGES)
    total = len(train) + 2 * len(chosen)
    with reporter.task("getting to know the training images", total, "images") as task:

        def read(index: Tensor, reader: StageReader) -> Iterator[tuple[Sequence[Tensor], Tensor]]:
            for part in index.split(BATCH_SIZE):
                images = train.images[part].to(device)
                yield reader(channels_last(to_float(images))), labels[part].to(device)
                task.advance(len(part))

        moments = [AxesMoments() for _ in names]
        for features, _ in read(chosen, reader):
            for moment, own in zip(moments, features, strict=True):
                moment.add(own)
        axes = _varying(names, moments, reporter)
        reader = StageReader(network, weights, tuple(axes))
        gathered = [ClassMoments(own, classes) for own in axes.values()]
        for features, y in read(torch.arange(len(train)), reader):
            for gather, own in zip(gathered, features, strict=True):
                gather.add(own, y)
        return _with_tails(axes, gathered, read(chosen, reader))


def _with_tails(
    axes: Mapping[str, Axes],
    gathered: Sequence[ClassMoments],
    batches: Iterable[tuple[Sequence[Tensor], Tensor]],
) -> Familiarity:
    """The densities, and for each the distances of training images left out."""
    names = list(axes)
    density: dict[str, GaussianDensities] = {
        name: moments.densities()
        for name, moments in zip(names, gathered, strict=True)
        if name != OUTPUT
    }
    far: dict[str, list[Tensor]] = {name: [] for name in names}
    labels: list[Tensor] = []
    for features, y in batches:
        labels.append(y)
        for name, own in zip(names, features, strict=True):
            far[name].append(own if name == OUTPUT else density[name].left_out(own, y))
    stages = [Stage(n, d, fit_tail(torch.cat(far[n]))) for n, d in density.items()]
    if OUTPUT in axes:
        outputs, y = torch.cat(far[OUTPUT]), torch.cat(labels)
        kept = _some(y, MOST_NEIGHBOURS)
        neighbours = NeighbourDensities.of(
            axes[OUTPUT], gathered[-1].whitener(), outputs[kept], y[kept], gathered[-1].classes
        )
        stages.append(Stage(OUTPUT, neighbours, fit_tail(neighbours.left_out())))
    return Familiarity(tuple(stages))


def _varying(
    names: Sequence[str], moments: Sequence[AxesMoments], reporter: Reporter
) -> dict[str, Axes]:
    """The axes of each stage whose features vary; the others say nothing."""
    found = {name: moment.axes() for name, moment in zip(names, moments, strict=True)}
    for name in [name for name, axes in found.items() if axes is None]:
        reporter.note(f"stage {name!r} is the same for every training image, so it is left out")
    axes = {name: own for name, own in found.items() if own is not None}
    if not axes:
        raise ArchitectureError("all training images are alike at every stage of the network")
    return axes


def _some(labels: Tensor, most: int) -> Tensor:
    """Places of about ``most`` images, of each class its share and at least one."""
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    # The place of each image among those of its class.
    rank = torch.arange(len(order), device=labels.device) - (sizes.cumsum(0) - sizes)[labels[order]]
    every = -(-len(labels) // most)
    return order[rank % every == 0].sort().values
