"""Predict with many networks drawn from the posterior.

Axes: ``S`` sampled networks, ``N`` images, ``C`` classes. The tensor of sampled
probabilities ``(S, N, C)`` is all that rules, scores and metrics ever see.

Network ``s`` is drawn from a random stream of its own, so it does not
depend on how images are cut into batches, nor on how many networks are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nescio.data.images import images_at_once, to_float
from nescio.data.rows import Stack
from nescio.devices import explain_memory, lowered
from nescio.errors import ArchitectureError, UsageError
from nescio.inference.posterior import Draw, Posterior
from nescio.network import channels_last, convolves, twin
from nescio.prediction.kept import KeptNetworks
from nescio.prediction.taps import Reduce, Taps
from nescio.prediction.trunk import Trunk
from nescio.progress import SILENT, Reporter, Task
from nescio.randomness import Stream, generator

CHUNK_ELEMENTS = 2**24
"""How many numbers one chunk of ``(S, n, C)`` may hold: 64 MiB in float32."""

CHUNK_IMAGES = 16_384
"""How many images one chunk may hold; more would not make the products faster."""

CHUNK_FEATURES = 2**25
"""How many numbers the inputs of the sampled part may take: 128 MiB in float32."""

BATCH_SIZE = 512
"""How many images go through a network at once."""


def chunk_size(samples: int, classes: int) -> int:
    """How many images one chunk holds, so that memory does not grow with ``N``."""
    return max(1, min(CHUNK_IMAGES, CHUNK_ELEMENTS // (samples * classes)))


def check_samples(samples: int) -> None:
    """Refuse to draw no network, before work is done for nothing.

    Raises:
        UsageError: ``samples`` is below 1.
    """
    if samples < 1:
        raise UsageError(f"--samples must be at least 1, got {samples}")


def _explained() -> AbstractContextManager[None]:
    return explain_memory("predicting", "lower --samples, or give smaller images")


@dataclass(frozen=True)
class Pass:
    """What one run of the shared part gives for ``n`` images.

    Attributes:
        features: What the sampled part takes, see :class:`Trunk`.
        read: What was kept of its layers, by their paths, ``(n, d)`` each; ``None`` where nothing
            is, or where they do not all run there.
    """

    features: Tensor
    read: Mapping[str, Tensor] | None


@dataclass(frozen=True)
class SampledNetworks:
    """Networks drawn by one seed; number ``s`` is the same whatever is asked of it.

    Attributes:
        trunk: The network, cut where its random weights begin.
        draw: Draws weights from a generator.
        distinct: How many networks there are, if few: number ``s`` is then ``s % distinct``.
        classes: ``C``.
        seed: Of the networks.
        batch_size: Images through a network at once.
        precision: Of the products in the networks.
        device: Where the work is done.
        width: How many numbers the sampled part takes for one image.
        convolves: Whether the sampled part has convolutions.
        overwrites: Whether the sampled part changes what it is given, in place.
        taps: Keeps what layers of the trunk give; ``None`` for nothing.
        kept: The networks that need not be drawn again; ``None`` to keep none.
    """

    trunk: Trunk
    draw: Draw
    distinct: int | None
    classes: int
    seed: int
    batch_size: int
    precision: torch.dtype
    device: torch.device
    width: int
    convolves: bool
    overwrites: bool
    taps: Taps | None = None
    kept: KeptNetworks | None = None

    @staticmethod
    @torch.no_grad()
    def prepare(
        network: nn.Module,
        guide: Posterior,
        images: Stack,
        *,
        classes: int,
        seed: int,
        batch_size: int = BATCH_SIZE,
        precision: torch.dtype = torch.float32,
        layers: Sequence[str] = (),
        reduce: Reduce | None = None,
    ) -> SampledNetworks:
        """Make ready to draw networks for images like these.

        Args:
            network: In evaluation mode; its device is where the work is done.
            guide: The posterior to draw from.
            images: ``(N, K, H, W)`` uint8; the first two are tried.
            classes: ``C``.
            seed: Of the networks drawn.
            batch_size: Images through a network at once; it changes speed and memory,
                and the answer by no more than rounding.
            precision: Of the products in the networks, see
                :func:`nescio.devices.choose_precision`; logits are float32 in any case.
            layers: Paths of layers that are read as the trunk runs, see :meth:`run_trunk`.
            reduce: What is kept of each layer's output.
        """
        device = next(network.parameters()).device
        few = to_float(images[:2].to(device))
        own = twin(network)
        trunk = Trunk.of(own, guide, few)
        features = trunk.features(few)
        width = features[:1].numel() if len(few) else 1
        taken = trunk.member(features, 0)
        version = taken._version
        if len(few):
            trunk.cut.head(taken)
        taps = None
        if reduce is not None and not trunk.members:
            taps = Taps.on(own, trunk.cut.trunk, layers, reduce)
        return SampledNetworks(
            trunk,
            guide.sampler(),
            guide.distinct,
            classes,
            seed,
            batch_size,
            precision,
            device,
            width,
            convolves(trunk.cut.head),
            taken._version != version,
            taps,
        )

    def seeded(self, seed: int) -> SampledNetworks:
        """Those of another seed, of which none is kept; all else is shared."""
        return replace(self, seed=seed, kept=None)

    def keeping(self, seed: int, most_bytes: int) -> SampledNetworks:
        """Those of this seed; the first are kept once drawn, as many as fit. All else is shared."""
        kept = KeptNetworks(self.draw, seed, most_bytes, self.distinct)
        return replace(self, seed=seed, kept=kept)

    def chunks(self, images: Stack, samples: int) -> tuple[Stack, ...]:
        """Cut ``(N, K, H, W)`` so that inputs and outputs of a chunk stay small."""
        if len(images) == 0:
            return ()
        fitting = max(1, CHUNK_FEATURES // self.width)
        chunks: tuple[Stack, ...] = images.split(min(chunk_size(samples, self.classes), fitting))
        return chunks

    def features(self, chunk: Stack) -> Tensor:
        """What the sampled part takes, for ``(n, K, H, W)`` uint8 images, see :class:`Trunk`."""
        return self.run_trunk(chunk).features

    def run_trunk(self, chunk: Stack) -> Pass:
        """Run what all networks share, once, and read its layers on the way.

        Args:
            chunk: ``(n, K, H, W)`` uint8, at least one.
        """
        parts: list[Tensor] = []
        read: list[Mapping[str, Tensor]] = []
        with _explained(), lowered(self.device, self.precision):
            # One batch of floats at a time: images may be far larger than their features.
            for part in chunk.split(images_at_once(chunk, self.batch_size)):
                parts.append(self.trunk.features(to_float(part.to(self.device))))
                if self.taps is not None:
                    read.append(self.taps.take())
        features = torch.cat(parts)
        features = features if self.trunk.members else self._laid_out(features)
        if self.taps is None:
            return Pass(features, None)
        return Pass(features, {name: torch.cat([own[name] for own in read]) for name in read[0]})

    def at_weights(self, features: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """The output ``(n, C)`` of the sampled part under these weights, from what it takes.

        Args:
            features: As :meth:`run_trunk` gives them, of a trunk without members.
            weights: Of all random parameters, by their names in the network.
        """
        own = {name: weights[name] for name in self.trunk.drawn}
        with _explained(), lowered(self.device, self.precision):
            parts = features.split(images_at_once(features, self.batch_size))
            given = (part.clone() if self.overwrites else part for part in parts)
            return torch.cat([self.trunk.cut.logits(own, part) for part in given])

    def _laid_out(self, features: Tensor) -> Tensor:
        return channels_last(features) if self.convolves else features

    def logits(self, features: Tensor, numbers: range, task: Task) -> Tensor:
        """The outputs ``(len(numbers), n, C)`` float32 of the networks with these numbers.

        Raises:
            ArchitectureError: One gives NaN or infinite logits.
        """
        with _explained(), lowered(self.device, self.precision):
            logits = torch.empty(len(numbers), len(features), self.classes, device=self.device)
            size = images_at_once(features, self.batch_size)
            if (stacks := self._stacks(numbers)) is not None:
                for x, part in zip(features.split(size), logits.split(size, 1), strict=True):
                    part.copy_(self.trunk.cut.stacked_logits(stacks, x))
                task.advance(len(features) * len(numbers))
                return _finite(logits)
            batches: dict[int, tuple[Tensor, ...]] = {}
            members = max(1, len(self.trunk.members))
            for out, s in zip(logits, numbers, strict=True):
                if self.distinct is not None and s - numbers.start >= self.distinct:
                    out.copy_(logits[s - numbers.start - self.distinct])
                    task.advance(len(features))
                    continue
                if s % members not in batches:
                    own = self._laid_out(self.trunk.member(features, s))
                    batches[s % members] = own.split(size)
                drawn = self._weights(s)
                weights = {name: drawn[name] for name in self.trunk.drawn}
                for x, part in zip(batches[s % members], out.split(size), strict=True):
                    given = x.clone() if self.overwrites else x
                    part.copy_(self.trunk.cut.logits(weights, given))
                task.advance(len(features))
        return _finite(logits)

    def _weights(self, number: int) -> Mapping[str, Tensor]:
        if self.kept is not None:
            return self.kept.weights(number)
        return self.draw(generator(self.seed, Stream.PREDICTION, number), number)

    def _stacks(self, numbers: range) -> Mapping[str, Tensor] | None:
        """The weights of all networks at once, where one product serves them."""
        if self.kept is None or self.trunk.members or self.trunk.cut.linear is None:
            return None
        return self.kept.stacks(numbers)


def _finite(logits: Tensor) -> Tensor:
    if not bool(torch.isfinite(logits).all()):
        raise ArchitectureError(
            "the network gives NaN or infinite logits; the model was not fitted well, "
            "or the network divides or takes logarithms without a guard"
        )
    return logits


@torch.no_grad()
def stream_logits(
    networks: SampledNetworks,
    images: Stack,
    samples: int,
    *,
    reporter: Reporter = SILENT,
    description: str = "predicting",
) -> Iterator[Tensor]:
    """The raw outputs of ``S`` sampled networks, chunk of images by chunk.

    Args:
        networks: What to run.
        images: ``(N, K, H, W)`` uint8, on any device.
        samples: ``S``.
        reporter: Told of each chunk.
        description: What the progress bar says.

    Yields:
        ``(S, n, C)`` float32 on the networks' device, in the order of the images.

    Raises:
        ArchitectureError: A network gives NaN or infinite logits.
        OutOfMemoryError: The memory does not hold a chunk.
        UsageError: ``samples`` is below 1.
    """
    check_samples(samples)
    with reporter.task(description, len(images) * samples, "image samples") as task:
        for chunk in networks.chunks(images, samples):
            yield networks.logits(networks.features(chunk), range(samples), task)
