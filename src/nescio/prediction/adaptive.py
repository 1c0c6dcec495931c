"""Draw networks for an image only until its decision is settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nescio.data.rows import Stack
from nescio.prediction.sampling import Pass, SampledNetworks, check_samples
from nescio.progress import SILENT, Reporter

Known = Tensor | None
"""What is known of images beforehand, ``(n, ...)`` on the CPU, if anything."""

Settled = Callable[[Tensor, Known], Tensor]
"""From ``(s, n, C)`` probabilities so far, and what was known beforehand, to ``(n,)`` bool on
the CPU: no more networks are needed."""

Group = tuple[Tensor, Tensor, Known]
"""Places of images in their chunk ``(m,)`` int64, their logits ``(s, m, C)``, what was known."""


@torch.no_grad()
def stream_settled(
    networks: SampledNetworks,
    images: Stack,
    samples: int,
    *,
    settled: Settled,
    looks: Sequence[int],
    known: Callable[[Stack, Pass], Known] = lambda _images, _passed: None,
    reporter: Reporter = SILENT,
    description: str = "predicting",
) -> Iterator[list[Group]]:
    """The raw outputs of as many networks as each image needs, chunk of images by chunk.

    Image by image they are the first of the networks that
    :func:`nescio.prediction.stream_logits` draws, with the same outputs up to rounding.

    Args:
        networks: What to run.
        images: ``(N, K, H, W)`` uint8, on any device.
        samples: The most networks for an image.
        settled: Asked at each look, about the images that are not settled yet.
        looks: After how many networks to ask, rising, below ``samples``.
        known: What is known beforehand of a chunk of the images, by what the trunk gave for it.
        reporter: Told of each network.
        description: What the progress bar says.

    Yields:
        For each chunk of successive images: groups of images that took as many networks.

    Raises:
        ArchitectureError: A network gives NaN or infinite logits.
        OutOfMemoryError: The memory does not hold a chunk.
        UsageError: ``samples`` is below 1.
    """
    check_samples(samples)
    with reporter.task(description, len(images) * samples, "image samples") as task:
        for chunk in networks.chunks(images, samples):
            groups: list[Group] = []
            passed = networks.run_trunk(chunk)
            features = passed.features
            places, before = torch.arange(len(chunk)), known(chunk, passed)
            logits = torch.empty(0, len(chunk), networks.classes, device=networks.device)
            for look in (*looks, samples):
                more = networks.logits(features, range(len(logits), look), task)
                logits = torch.cat([logits, more])
                if look == samples:
                    done = torch.ones(len(places), dtype=torch.bool)
                else:
                    done = settled(logits.softmax(-1), _at(before, places))
                found = places[done]
                groups.append((found, logits[:, done.to(logits.device)], _at(before, found)))
                left = ~done
                task.advance(int(done.sum()) * (samples - look))
                if not bool(left.any()):
                    break
                places = places[left]
                left = left.to(logits.device)
                features, logits = features[left], logits[:, left]
            yield [group for group in groups if len(group[0])]


def _at(known: Known, places: Tensor) -> Known:
    return None if known is None else known[places]
