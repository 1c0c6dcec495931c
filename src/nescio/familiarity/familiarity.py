"""Familiarity: how like the training images is an image, at every stage of the network?

For each stage ``l`` and class ``c`` there is a p-value ``p_lc``: the chance that an image of class
``c`` lies at least so far from it there. What all stages say of a class is the harmonic mean of
their p-values, with weights that sum to 1,

    unfamiliarity_c = -log p_c,        1 / p_c = sum_l w_l / p_lc,

in nats (Wilson 2019, *The harmonic mean p-value for combining dependent tests*). What one stage is
certain of is not diluted by others that see nothing: they take from it at most ``-log w_l``. An
image is as familiar as it is to the nearest class, and the stage that weighs most against that
class gave the image away. The evidence of a stage is ``log w_l - log p_lc``, so that the log of
the sum of its exponentials over the stages is the unfamiliarity
(:func:`nescio.refusal.scores.class_unfamiliarity`).

Only training images are used here, and none that is out of distribution; what the number means is
told by images held out from training, in :mod:`nescio.refusal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nescio.data import Stack, images_at_once, to_float
from nescio.familiarity.perclass import ClassGaussians
from nescio.familiarity.shared import SharedGaussian
from nescio.familiarity.stages import IMAGE, StageReader, source_of
from nescio.familiarity.subspace import unit
from nescio.familiarity.tail import Tail
from nescio.network import channels_last

Density: TypeAlias = ClassGaussians | SharedGaussian
"""What gives the distances of features from every class."""

BATCH_SIZE = 512
"""Images that go through the network at once."""

MOST_EVIDENCE = 1e6
"""In nats: what the evidence of features that are no numbers is taken for, never familiar."""


@dataclass(frozen=True)
class Stage:
    """What is known of the training images at one stage.

    Attributes:
        name: ``image``, ``detail``, ``output``, or the path of a layer.
        density: Gives distances from each class.
        tail: From distances to ``-log p``.
        log_weight: ``log w``, of the stage among all.
    """

    name: str
    density: Density
    tail: Tail
    log_weight: float = 0.0

    def evidence(self, features: Tensor) -> Tensor:
        """``(n, C)``, in nats, for features ``(n, d)`` of unit length."""
        return self.tail(self.density.distances(features)) + self.log_weight


@dataclass(frozen=True)
class Familiarity:
    """The densities of all stages.

    Attributes:
        stages: From the image on.
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

    @property
    def sees_image(self) -> bool:
        """Whether any stage is one of the image itself."""
        return any(source_of(name) == IMAGE for name in self.names)

    def reader(
        self,
        network: nn.Module,
        weights: Mapping[str, Tensor],
        precision: torch.dtype = torch.float32,
    ) -> StageReader:
        """Reads these stages of ``network`` at the guide's means ``weights``."""
        return StageReader(network, weights, self.names, precision)

    @torch.no_grad()
    def evidence(self, reader: StageReader, images: Stack) -> Tensor:
        """Evidence against every class at every stage.

        Args:
            reader: See :meth:`reader`.
            images: ``(N, K, H, W)`` uint8, on any device.

        Returns:
            ``(N, L, C)`` float32 on the CPU, in nats; :data:`MOST_EVIDENCE` where the network
            gives features that are not numbers, so that such an image is never familiar.
        """
        device = self.stages[0].tail.points.device
        batches = images.split(images_at_once(images, BATCH_SIZE))
        parts = [self.judge(reader(channels_last(to_float(part.to(device))))) for part in batches]
        return torch.cat(parts) if parts else torch.empty(0, len(self.stages), self.classes)

    @torch.no_grad()
    def judge(self, features: Mapping[str, Tensor]) -> Tensor:
        """As :meth:`evidence`, for what a reader read of ``n`` images, ``(n, d)`` each."""
        units = {name: unit(own) for name, own in features.items()}
        evidence = torch.stack([s.evidence(units[source_of(s.name)]) for s in self.stages], 1)
        return evidence.nan_to_num(MOST_EVIDENCE).clamp_max(MOST_EVIDENCE).cpu()

    def to(self, device: torch.device) -> Familiarity:
        """The same on ``device``."""
        return Familiarity.unpack({k: v.to(device) for k, v in self.tensors().items()}, self.names)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the names, as tensors: ``STAGE NUMBER/WHAT``."""
        return {
            f"{number}/{what}": value
            for number, stage in enumerate(self.stages)
            for what, value in {
                **stage.density.tensors(),
                **stage.tail.tensors(),
                "log_weight": torch.tensor(stage.log_weight, dtype=torch.float64),
            }.items()
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
            density = (ClassGaussians if "whiteners" in own else SharedGaussian).unpack(own)
            stages.append(Stage(name, density, Tail.unpack(own), float(own["log_weight"])))
            if {density.classes, len(stages[-1].tail.centres)} != {stages[0].density.classes}:
                raise ValueError("the stages are of different classes")
        return Familiarity(tuple(stages))

    def describe(self) -> dict[str, str]:
        """How each stage is described, in plain words, by its name."""
        return {stage.name: stage.density.describe() for stage in self.stages}
