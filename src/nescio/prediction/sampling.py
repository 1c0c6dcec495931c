"""Predict with many networks drawn from the posterior.

Axes: ``S`` sampled networks, ``N`` images, ``C`` classes. The tensor of sampled
probabilities ``(S, N, C)`` is all that rules, scores and metrics ever see.

Network ``s`` is drawn from a random stream of its own, so it does not
depend on how images are cut into batches, nor on how many networks are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nescio.data.images import to_float
from nescio.devices import lowered
from nescio.errors import ArchitectureError, UsageError
from nescio.inference.guide import Guide
from nescio.prediction.cut import Cut, cut_network
from nescio.progress import SILENT, Reporter
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


@torch.no_grad()
def stream_logits(
    network: nn.Module,
    guide: Guide,
    images: Tensor,
    *,
    classes: int,
    samples: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    precision: torch.dtype = torch.float32,
    reporter: Reporter = SILENT,
    description: str = "predicting",
) -> Iterator[Tensor]:
    """The raw outputs of ``S`` sampled networks, chunk of images by chunk.

    Args:
        network: In evaluation mode; its device is where the work is done.
        guide: The posterior to draw from.
        images: ``(N, K, H, W)`` uint8, on any device.
        classes: ``C``.
        samples: ``S``.
        seed: Of the networks drawn.
        batch_size: Images through a network at once; it changes speed and memory,
            and the answer by no more than rounding.
        precision: Of the products in the networks, see
            :func:`nescio.devices.choose_precision`; logits are float32 in any case.
        reporter: Told of each chunk.
        description: What the progress bar says.

    Yields:
        ``(S, n, C)`` float32 on the network's device, in the order of the images.

    Raises:
        ArchitectureError: A network gives NaN or infinite logits.
        UsageError: ``samples`` is below 1.
    """
    check_samples(samples)
    device = next(network.parameters()).device
    draw = guide.sampler()
    cut = cut_network(network, guide.names, to_float(images[:2].to(device)))
    with reporter.task(description, len(images) * samples, "image samples") as task:
        for chunk in _chunks(cut, images, samples, classes, device):
            with lowered(device, precision):
                features = torch.cat(
                    [cut.features(to_float(part.to(device))) for part in chunk.split(batch_size)]
                )
            logits = torch.empty(samples, len(chunk), classes, device=device)
            for s in range(samples):
                weights = draw(generator(seed, Stream.PREDICTION, s))
                for part, out in zip(
                    features.split(batch_size), logits[s].split(batch_size), strict=True
                ):
                    with lowered(device, precision):
                        out.copy_(cut.logits(weights, part))
                task.advance(len(chunk))
            if not bool(torch.isfinite(logits).all()):
                raise ArchitectureError(
                    "the network gives NaN or infinite logits; the model was not fitted well, "
                    "or the network divides or takes logarithms without a guard"
                )
            yield logits


def _chunks(
    cut: Cut, images: Tensor, samples: int, classes: int, device: torch.device
) -> tuple[Tensor, ...]:
    if len(images) == 0:
        return ()
    features = cut.features(to_float(images[:1].to(device))).numel()
    size = min(chunk_size(samples, classes), max(1, CHUNK_FEATURES // features))
    chunks: tuple[Tensor, ...] = images.split(size)
    return chunks
