"""Standard normal noise for the weights, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RING_ABOVE = 2**16
"""From so many random weights on, a CPU's noise comes from a ring. For fewer it costs little
anyway, and the ring would be short."""

USES = 16
"""How often a number of the ring is used, on average, each time for another weight."""

ALIGNMENT = 16
"""Floats in a cache line; tensors that begin there are read faster."""


class Noise:
    """Draws one standard normal tensor like each of those given, at each call.

    Normal numbers are the dearest part of a step on a CPU. Many weights therefore take
    theirs from a ring of twice as many numbers: each step replaces a few of them and
    reads a stretch that begins at a random place. In each step every weight's noise is
    standard normal and independent of the other weights'; over steps no weight meets a
    number again but by the chance that a place is drawn twice. (Salimans et al. 2017,
    *Evolution strategies*, 3, read their noise from a table that never changes.)
    """

    def __init__(
        self,
        like: Sequence[Tensor],
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        self._generator = generator
        self._like = [torch.empty_like(tensor, device="meta") for tensor in like]
        self._lengths = [-(-tensor.numel() // ALIGNMENT) * ALIGNMENT for tensor in like]
        self._total = sum(self._lengths)
        in_ring = device.type == "cpu" and self._total >= RING_ABOVE
        self._buffer = torch.empty(self._total * (2 if in_ring else 1), device=device)
        self._fresh = self._total // USES if in_ring else 0
        self._place = 0
        if in_ring:
            self._buffer.normal_(generator=generator)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._buffer.device

    def state(self) -> dict[str, Tensor]:
        """The ring and the place in it; without a ring nothing is kept from step to step."""
        buffer = self._buffer if self._fresh else self._buffer[:0]
        return {"buffer": buffer, "place": torch.tensor(self._place)}

    def restore(self, buffer: Tensor, place: Tensor) -> None:
        """Put back what :meth:`state` gave."""
        self._buffer[: len(buffer)] = buffer
        self._place = int(place)

    def __call__(self) -> list[Tensor]:
        """The noise of one step; it is overwritten by the next call."""
        if not self._fresh:
            return [part.normal_(generator=self._generator) for part in self._stretch(0)]
        end = min(self._place + self._fresh, len(self._buffer))
        self._buffer[self._place : end].normal_(generator=self._generator)
        self._place = end % len(self._buffer)
        places = self._total // ALIGNMENT + 1
        return self._stretch(int(torch.randint(places, (), generator=self._generator)) * ALIGNMENT)

    def _stretch(self, start: int) -> list[Tensor]:
        parts = []
        for tensor, length in zip(self._like, self._lengths, strict=True):
            # In the order in memory of the weight itself, so that both are read alike.
            parts.append(self._buffer.as_strided(tensor.shape, tensor.stride(), start))
            start += length
        return parts
