"""What prediction, familiarity and the model file need of a fitted posterior, whatever its family.

One small protocol. A family is one frozen form in which a posterior is kept; several ways of
fitting may end in the same form (:mod:`nescio.inference.methods`):

    mean-field   an independent Normal for every weight           :mod:`guide`
    low-rank     a Normal with covariance F F^T + diagonal        :mod:`lowrank`
    mixture      networks, or mean fields, side by side           :mod:`mixture`
    dropout      one network, its inputs masked                   :mod:`dropout`
    gaussian     a Normal with full or Kronecker covariance       :mod:`gaussian`
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every parameter and buffer of a network, by name, in the network's order."""


class Draw(Protocol):
    """Draws one network."""

    def __call__(self, generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:
        """The weights of one network, by name.

        Args:
            generator: The network's own, on the CPU.
            number: Of the network. A family of a few networks takes them in turn by it.
        """
        ...


class Posterior(Protocol):
    """A fitted posterior over the weights of a network.

    Attributes:
        family: Its name in the model file.
        distinct: How many networks there are, where a draw is one of a few; number ``s`` is
            then the network ``s % distinct``. ``None`` where every draw differs.
        fixed: Where draws are of members that differ, the weights that do not vary within each;
            number ``s`` is then of member ``s % len(fixed)``. Empty elsewhere.
    """

    @property
    def family(self) -> str:
        """Its name in the model file."""
        ...

    @property
    def distinct(self) -> int | None:
        """How many networks there are, if few: number ``s`` is then ``s % distinct``."""
        ...

    @property
    def fixed(self) -> Sequence[Mapping[str, Tensor]]:
        """For each member the weights that all draws from it share; empty without members."""
        ...

    @property
    def names(self) -> Collection[str]:
        """The parameters and buffers that a draw replaces, in the order in which they are drawn."""
        ...

    def sampler(self) -> Draw:
        """A function that draws one network at each call; what all draws share is done once."""
        ...

    def center(self) -> Mapping[str, Tensor]:
        """One network to stand for all, under :attr:`names`: the means, where they are one."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that it consists of, as ``GROUP/NAME``, for the model file and the fingerprint."""
        ...

    def to(self, device: torch.device) -> Posterior:
        """A copy on ``device``."""
        ...

    def describe(self) -> str:
        """What it is, in a few words."""
        ...


class Misfit(ValueError):  # noqa: N818 - what it says, not that it went wrong
    """Tensors do not make a posterior over the weights of a network.

    Attributes:
        name: Of the tensor.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} does not fit the network")
        self.name = name


def group(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one group, by their names in it."""
    prefix = f"{name}/"
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def grouped(**groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Groups of tensors as one, under ``GROUP/NAME``."""
    return {f"{kind}/{n}": value for kind, values in groups.items() for n, value in values.items()}


def in_order(names: Collection[str], shapes: Shapes) -> list[str]:
    """``names`` in the order of the network: networks are drawn tensor by tensor, so it counts.

    Raises:
        Misfit: The network has none of such a name, or there is no name.
    """
    for name in names:
        if name not in shapes:
            raise Misfit(name)
    if not names:
        raise Misfit("loc")
    return [name for name in shapes if name in names]


def fitting(
    tensors: Mapping[str, Tensor], shapes: Shapes, **groups: tuple[int, ...]
) -> dict[str, dict[str, Tensor]]:
    """Groups of tensors that fit a network, by the group's name, each in the network's order.

    Every parameter that is in one of the groups has to be in all of them.

    Args:
        tensors: Under ``GROUP/NAME``.
        shapes: Of the network.
        **groups: For each group the axes that its tensors have before those of the parameter.

    Raises:
        Misfit: They do not fit the network, or each other.
    """
    found = {kind: group(tensors, kind) for kind in groups}
    order = in_order({name for own in found.values() for name in own}, shapes)
    return {
        kind: {n: require_shape(kind, n, own.get(n), (*groups[kind], *shapes[n])) for n in order}
        for kind, own in found.items()
    }


def leading(tensors: Mapping[str, Tensor], kind: str) -> int:
    """The length of the first axis of the tensors of one group, going by one of them.

    Raises:
        Misfit: There is none, or it has no such axis.
    """
    name, first = next(iter(group(tensors, kind).items()), ("", None))
    if first is None or first.ndim == 0 or len(first) == 0:
        raise Misfit(f"{kind}/{name}" if name else kind)
    return len(first)


def require_shape(kind: str, name: str, value: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """``value``, once it is known to be a float tensor of that shape.

    Raises:
        Misfit: It is not.
    """
    if value is None or tuple(value.shape) != shape or not value.is_floating_point():
        raise Misfit(name if kind == "loc" else f"{kind}/{name}")
    return value


def require_shapes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Names and shapes of ``found`` must be those of ``wanted``.

    Raises:
        Misfit: They are not.
    """
    shapes = {name: value.shape for name, value in found.items()}
    for name in sorted({*found, *wanted}):
        if name not in wanted or shapes.get(name) != wanted[name].shape:
            raise Misfit(name)


def count(weights: Mapping[str, Tensor]) -> int:
    """How many numbers there are."""
    return sum(value.numel() for value in weights.values())
