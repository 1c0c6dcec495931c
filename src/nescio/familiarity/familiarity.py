"""Familiarity: how like the training images is an image, at every stage of the network?

For each stage ``l`` and class ``c`` there is evidence that the image is not of that class:
``-log P`` that an image of class ``c`` lies so far from it, in nats. An image is familiar if
there is one class of which it could be at every stage,

    unfamiliarity = min_c sum_l w_l evidence_lc

(:func:`nescio.refusal.scores.class_unfamiliarity`). That class is the nearest one, and the stage
that weighs most against it gave the image away. The stages are not independent, so the number has
no scale of its own; :mod:`nescio.refusal` turns it into a p-value by images held out from training.
Only training images are used here, and none that is out of distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nescio.data import Stack, images_at_once, to_float
from nescio.familiarity.density import GaussianDensities
from nescio.familiarity.neighbours import NeighbourDensities
from nescio.familiarity.stages import StageReader
from nescio.familiarity.tail import Tail
from nescio.network import channels_last

Density: TypeAlias = GaussianDensities | NeighbourDensities
"""What gives the distances of features from every class."""

BATCH_SIZE = 512
"""Images that go through the network at once."""


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
    def evidence(self, reader: StageReader, images: Stack) -> Tensor:
        """Evidence against every class at every stage.

        Args:
            reader: See :meth:`reader`.
            images: ``(N, K, H, W)`` uint8, on any device.

        Returns:
            ``(N, L, C)`` float32 on the CPU, in nats; infinite where the network gives
            features that are not numbers, so that such an image is never familiar.
        """
        device = self.stages[0].tail.points.device
        batches = images.split(images_at_once(images, BATCH_SIZE))
        parts = [self._of_batch(reader, part.to(device)) for part in batches]
        return torch.cat(parts) if parts else torch.empty(0, len(self.stages), self.classes)

    def _of_batch(self, reader: StageReader, images: Stack) -> Tensor:
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
