"""Predict with many networks drawn from the posterior.

Axes: ``S`` sampled networks, ``N`` images, ``C`` classes. The tensor of sampled
probabilities ``(S, N, C)`` is all that rules, scores and metrics ever see.

Network ``s`` is drawn from a random stream of its own, so it does not
depend on how images are cut into batches, nor on how many networks are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nescio.data.images import images_at_once, to_float
from nescio.data.rows import Stack
from nescio.devices import explain_memory, lowered
from nescio.errors import ArchitectureError, UsageError
from nescio.inference.posterior import Draw, Posterior
from nescio.network import Cut, channels_last, convolves, cut_network, twin
from nescio.prediction.kept import KeptNetworks
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
class SampledNetworks:
    """Networks drawn by one seed; number ``s`` is the same whatever is asked of it.

    Attributes:
        cut: The network, cut where its random weights begin.
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
        kept: The networks that need not be drawn again; ``None`` to keep none.
    """

    cut: Cut
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
        """
        device = next(network.parameters()).device
        few = to_float(images[:2].to(device))
        cut = cut_network(twin(network), guide.names, few)
        features = cut.features(few)
        width = features[:1].numel() if len(few) else 1
        version = features._version
        if len(few):
            cut.head(features)
        return SampledNetworks(
            cut,
            guide.sampler(),
            guide.distinct,
            classes,
            seed,
            batch_size,
            precision,
            device,
            width,
            convolves(cut.head),
            features._version != version,
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
        """What the sampled part takes, ``(n, ...)``, for ``(n, K, H, W)`` uint8 images."""
        with _explained(), lowered(self.device, self.precision):
            parts = chunk.split(images_at_once(chunk, self.batch_size))
            # One batch of floats at a time: images may be far larger than their features.
            features = torch.cat([self.cut.features(to_float(p.to(self.device))) for p in parts])
            return channels_last(features) if self.convolves else features

    def logits(self, features: Tensor, numbers: range, task: Task) -> Tensor:
        """The outputs ``(len(numbers), n, C)`` float32 of the networks with these numbers.

        Raises:
            ArchitectureError: One gives NaN or infinite logits.
        """
        with _explained(), lowered(self.device, self.precision):
            logits = torch.empty(len(numbers), len(features), self.classes, device=self.device)
            size = images_at_once(features, self.batch_size)
            batches = features.split(size)
            if (stacks := self._stacks(numbers)) is not None:
                for x, part in zip(batches, logits.split(size, 1), strict=True):
                    part.copy_(self.cut.stacked_logits(stacks, x))
                task.advance(len(features) * len(numbers))
                return _finite(logits)
            for out, s in zip(logits, numbers, strict=True):
                if self.distinct is not None and s - numbers.start >= self.distinct:
                    out.copy_(logits[s - numbers.start - self.distinct])
                    task.advance(len(features))
                    continue
                weights = self._weights(s)
                for x, part in zip(batches, out.split(size), strict=True):
                    given = x.clone() if self.overwrites else x
                    part.copy_(self.cut.logits(weights, given))
                task.advance(len(features))
        return _finite(logits)

    def _weights(self, number: int) -> Mapping[str, Tensor]:
        if self.kept is not None:
            return self.kept.weights(number)
        return self.draw(generator(self.seed, Stream.PREDICTION, number), number)

    def _stacks(self, numbers: range) -> Mapping[str, Tensor] | None:
        """The weights of all networks at once, where one product serves them."""
        if self.kept is None or self.cut.linear is None:
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
