"""Normals over weights that depend on each other in full, or by the Kronecker product.

The Laplace approximation ends in these (:mod:`nescio.inference.laplace`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from nescio.inference.posterior import (
    Draw,
    Misfit,
    Shapes,
    count,
    fitting,
    group,
    grouped,
    in_order,
    require_shape,
)
from nescio.inference.scale import ScaleMap

ROOT = "root/covariance"
"""The name of the covariance's root among :meth:`FullNormal.tensors`."""


class FullNormal:
    """A Normal with a full covariance over all random weights together.

    Attributes:
        loc: The mean of each parameter, by name; flattened and joined they are ``(P,)``.
        root: ``(P, P)``, lower triangular: root @ root.T is the covariance.
    """

    family = "full-normal"
    distinct = None
    fixed = ()

    def __init__(self, loc: Mapping[str, Tensor], root: Tensor) -> None:
        self.loc = {name: value.detach().clone() for name, value in loc.items()}
        self.root = root.detach().clone()

    @property
    def names(self) -> Collection[str]:
        """The random parameters, in the order in which they are drawn."""
        return self.loc.keys()

    def sampler(self) -> Draw:
        """A function that draws one network; the noise comes from a CPU generator."""
        sizes = [value.numel() for value in self.loc.values()]

        def draw(generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:  # noqa: ARG001
            noise = torch.randn(len(self.root), generator=generator).to(self.root.device)
            parts = (self.root @ noise).split(sizes)
            return {
                name: value + part.view(value.shape)
                for (name, value), part in zip(self.loc.items(), parts, strict=True)
            }

        return draw

    def center(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.loc

    def tensors(self) -> dict[str, Tensor]:
        """Group ``loc``, and the root."""
        return {**grouped(loc=self.loc), ROOT: self.root}

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, Tensor],
        shapes: Shapes,
        scale_map: ScaleMap,  # noqa: ARG004 - it has no scales
    ) -> FullNormal:
        """From :meth:`tensors`, for a network of such shapes.

        Raises:
            Misfit: They do not fit it, or each other.
        """
        loc, root = fitting(tensors, shapes, loc=())["loc"], tensors.get(ROOT)
        if root is None or tuple(root.shape) != (count(loc),) * 2 or not root.is_floating_point():
            raise Misfit(ROOT)
        return FullNormal(loc, root)

    def to(self, device: torch.device) -> FullNormal:
        """A copy on ``device``."""
        return FullNormal(
            {name: value.to(device) for name, value in self.loc.items()}, self.root.to(device)
        )

    def describe(self) -> str:
        """What it is, in a few words."""
        return f"a Normal with full covariance over {count(self.loc):,} weights"


class KroneckerNormal:
    """A Normal for each parameter, whose rows and columns vary along eigenvectors of their own.

        W = loc + left @ (scale * Z) @ right.T        Z standard normal

    as a matrix ``(o, i)``: the first axis of the parameter, and all others; a bias is ``(o, 1)``.

    Attributes:
        loc: The mean of each parameter, by name.
        left: ``(o, o)`` orthogonal, by name.
        right: ``(i, i)`` orthogonal, by name.
        scale: ``(o, i)`` standard deviations along them, by name.
    """

    family = "kronecker-normal"
    distinct = None
    fixed = ()

    def __init__(
        self,
        loc: Mapping[str, Tensor],
        left: Mapping[str, Tensor],
        right: Mapping[str, Tensor],
        scale: Mapping[str, Tensor],
    ) -> None:
        def own(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: values[name].detach().clone() for name in loc}

        self.loc, self.left, self.right, self.scale = own(loc), own(left), own(right), own(scale)

    @property
    def names(self) -> Collection[str]:
        """The random parameters, in the order in which they are drawn."""
        return self.loc.keys()

    def sampler(self) -> Draw:
        """A function that draws one network; the noise comes from a CPU generator."""

        def draw(generator: torch.Generator, number: int = 0) -> dict[str, Tensor]:  # noqa: ARG001
            drawn = {}
            for name, loc in self.loc.items():
                scale = self.scale[name]
                noise = torch.randn(scale.shape, generator=generator).to(scale.device)
                matrix = self.left[name] @ (scale * noise) @ self.right[name].T
                drawn[name] = loc + matrix.view(loc.shape)
            return drawn

        return draw

    def center(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.loc

    def tensors(self) -> dict[str, Tensor]:
        """Groups ``loc``, ``left``, ``right`` and ``scale``."""
        return grouped(loc=self.loc, left=self.left, right=self.right, scale=self.scale)

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, Tensor],
        shapes: Shapes,
        scale_map: ScaleMap,  # noqa: ARG004 - its scales are as they are
    ) -> KroneckerNormal:
        """From :meth:`tensors`, for a network of such shapes.

        Raises:
            Misfit: They do not fit it, or each other.
        """
        kinds = ("left", "right", "scale")
        found = {kind: group(tensors, kind) for kind in ("loc", *kinds)}
        order = in_order({n: v for kind in found.values() for n, v in kind.items()}, shapes)
        loc = {n: require_shape("loc", n, found["loc"].get(n), shapes[n]) for n in order}
        parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
        for name in order:
            rows, columns = matrix_shape(loc[name])
            wanted = {"left": (rows, rows), "right": (columns, columns), "scale": (rows, columns)}
            for kind in kinds:
                value = found[kind].get(name)
                parts[kind][name] = require_shape(kind, name, value, wanted[kind])
        return KroneckerNormal(loc, **parts)

    def to(self, device: torch.device) -> KroneckerNormal:
        """A copy on ``device``."""
        parts = (
            {name: value.to(device) for name, value in values.items()}
            for values in (self.loc, self.left, self.right, self.scale)
        )
        return KroneckerNormal(*parts)

    def describe(self) -> str:
        """What it is, in a few words."""
        return (
            f"a Normal with Kronecker-factored covariance for each of {len(self.loc)} parameters, "
            f"{count(self.loc):,} weights"
        )


def matrix_shape(parameter: Tensor) -> tuple[int, int]:
    """Rows and columns of a parameter as a matrix: its first axis, and all others."""
    rows = len(parameter) if parameter.ndim else 1
    return rows, parameter.numel() // max(1, rows)
