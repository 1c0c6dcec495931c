"""Networks that are drawn once and kept, so that the next images need not draw them again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nescio.inference.posterior import Draw
from nescio.randomness import Stream, generator


class KeptNetworks:
    """The first networks of one seed, as many as fit; they are drawn when they are asked for.

    Those beyond are drawn anew each time: adaptive sampling asks for the first ones most.

    Args:
        draw: Draws one network.
        seed: Of the networks.
        most_bytes: Of the weights that are kept.
        distinct: How many networks there are, if few: number ``s`` is then ``s % distinct``.
    """

    def __init__(self, draw: Draw, seed: int, most_bytes: int, distinct: int | None = None) -> None:
        self._draw = draw
        self._seed = seed
        self._most = most_bytes
        self._distinct = distinct
        self._networks: list[Mapping[str, Tensor]] = []
        self._stacks: dict[str, Tensor] = {}

    def weights(self, number: int) -> Mapping[str, Tensor]:
        """The weights of the network of that number, by name."""
        if self._distinct is not None:
            number %= self._distinct
        self._draw_up_to(number + 1)
        if number < len(self._networks):
            return self._networks[number]
        return self._drawn(number)

    def stacks(self, numbers: range) -> Mapping[str, Tensor] | None:
        """The weights of the networks of these numbers, each ``(len(numbers), ...)``.

        ``None`` where not all of them are kept.
        """
        wanted = numbers.stop if self._distinct is None else min(numbers.stop, self._distinct)
        self._draw_up_to(wanted)
        if len(self._networks) < wanted:
            return None
        if not self._stacks or len(next(iter(self._stacks.values()))) < len(self._networks):
            first = self._networks[0]
            self._stacks = {n: torch.stack([own[n] for own in self._networks]) for n in first}
            # Parts of the stacks take the place of what was stacked: nothing is kept twice.
            count = range(len(self._networks))
            self._networks = [{n: own[s] for n, own in self._stacks.items()} for s in count]
        if self._distinct is None:
            return {n: own[numbers.start : numbers.stop] for n, own in self._stacks.items()}
        places = torch.arange(numbers.start, numbers.stop) % self._distinct
        return {n: own[places.to(own.device)] for n, own in self._stacks.items()}

    def _draw_up_to(self, count: int) -> None:
        while len(self._networks) < count:
            if self._networks:
                size = sum(value.nbytes for value in self._networks[0].values())
                if size * (len(self._networks) + 1) > self._most:
                    return
            self._networks.append(self._drawn(len(self._networks)))

    def _drawn(self, number: int) -> Mapping[str, Tensor]:
        return self._draw(generator(self._seed, Stream.PREDICTION, number), number)
