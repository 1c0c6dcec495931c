"""Write an ONNX graph as one writes formulas: values know their operators.

Only standard operators are used, of one operator set (:data:`OPSET`), so that any runtime for ONNX
runs what is written here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

OPSET = 18
"""The version of the operator set; ONNX Runtime knows it from 1.14 on."""

IR_VERSION = 10
"""Of the file's form; of the versions that hold this operator set, one that is widely read."""

Operand: TypeAlias = "Value | np.ndarray[Any, Any] | float | int"
"""What operators take; a Python float is a float32, a Python int an int64."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph, by its name.

    Attributes:
        graph: Where its operators are written.
        name: Of the tensor.
    """

    graph: Graph
    name: str

    def __add__(self, other: Operand) -> Value:
        return self.graph.op("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.op("Sub", self, other)

    def __radd__(self, other: Operand) -> Value:
        return self.graph.op("Add", other, self)

    def __rsub__(self, other: Operand) -> Value:
        return self.graph.op("Sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.graph.op("Div", self, other)

    def __matmul__(self, other: Operand) -> Value:
        return self.graph.op("MatMul", self, other)

    def __neg__(self) -> Value:
        return self.graph.op("Neg", self)

    def __invert__(self) -> Value:
        return self.graph.op("Not", self)

    def __and__(self, other: Operand) -> Value:
        return self.graph.op("And", self, other)

    def __or__(self, other: Operand) -> Value:
        return self.graph.op("Or", self, other)

    def __lt__(self, other: Any) -> Value:
        return self.graph.op("Less", self, other)

    def __le__(self, other: Any) -> Value:
        return self.graph.op("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.graph.op("Greater", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.graph.op("GreaterOrEqual", self, other)

    def cast(self, kind: int) -> Value:
        """As another type, such as ``TensorProto.FLOAT``."""
        return self.graph.op("Cast", self, to=kind)

    def reshape(self, *shape: int) -> Value:
        """In another shape; 0 keeps a length, -1 is what is left."""
        return self.graph.op("Reshape", self, np.array(shape, np.int64))

    def transpose(self, *order: int) -> Value:
        """With its axes in another order."""
        return self.graph.op("Transpose", self, perm=order)

    def unsqueeze(self, *axes: int) -> Value:
        """With axes of length 1 put in."""
        return self.graph.op("Unsqueeze", self, np.array(axes, np.int64))

    def squeeze(self, *axes: int) -> Value:
        """Without these axes of length 1."""
        return self.graph.op("Squeeze", self, np.array(axes, np.int64))

    def reduce(self, kind: str, axis: int, *, keep: bool = False) -> Value:
        """``Sum``, ``Mean``, ``Max``, ``Min`` or ``SumSquare`` over one axis."""
        return self.graph.op(f"Reduce{kind}", self, np.array([axis], np.int64), keepdims=int(keep))

    def length(self, axis: int) -> Value:
        """How long an axis is, ``()`` int64."""
        return self.graph.op("Shape", self, start=axis, end=axis + 1).squeeze(0)


class Graph:
    """A graph in the making."""

    def __init__(self, outer: Graph | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._outer = outer
        root = self if outer is None else outer.root
        self.root: Graph = root
        if outer is None:
            self.initializers: list[TensorProto] = []
            self._stored: dict[bytes, str] = {}
            self._count = 0

    def fresh(self, stem: str) -> str:
        """A name that no other value has."""
        self.root._count += 1
        return f"{stem}_{self.root._count}"

    def value(self, operand: Operand) -> Value:
        """The operand as a value; equal constants are stored once."""
        if isinstance(operand, Value):
            return operand
        return self.constant(np.asarray(operand, _number_type(operand)))

    def constant(self, array: np.ndarray[Any, Any], stem: str = "constant") -> Value:
        """A stored tensor."""
        return Value(self, self.store(numpy_helper.from_array(np.asarray(array, order="C")), stem))

    def store(self, tensor: TensorProto, stem: str) -> str:
        """Keep a tensor, unless the same is there; its name.

        Graphs within this one see it, so all are kept in the outermost.
        """
        root = self.root
        named = TensorProto()
        named.CopyFrom(tensor)
        named.name = ""
        digest = hashlib.sha256(named.SerializeToString(deterministic=True)).digest()
        if digest not in root._stored:
            named.name = root._stored[digest] = self.fresh(stem)
            root.initializers.append(named)
        return root._stored[digest]

    def op(self, kind: str, *operands: Operand, **attributes: Any) -> Value:
        """Apply an operator with one result."""
        return self.ops(kind, 1, *operands, **attributes)[0]

    def ops(self, kind: str, results: int, *operands: Operand, **attributes: Any) -> list[Value]:
        """Apply an operator."""
        names = [self.value(operand).name for operand in operands]
        outputs = [self.fresh(kind) for _ in range(results)]
        self.nodes.append(helper.make_node(kind, names, outputs, **attributes))
        return [Value(self, name) for name in outputs]

    def where(self, condition: Value, yes: Operand, no: Operand) -> Value:
        """``yes`` where the condition holds, else ``no``."""
        return self.op("Where", condition, yes, no)

    def concatenate(self, parts: Sequence[Value], axis: int) -> Value:
        """Joined along an axis."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def include(self, model: onnx.ModelProto, operands: Sequence[Value]) -> list[Value]:
        """The results of another model for these operands; its tensors are stored here."""
        model = compose.add_prefix(model, f"{self.fresh('part')}/")
        inner = model.graph
        for tensor in inner.initializer:
            self._alias(self.store(tensor, "weight"), tensor.name)
        for operand, given in zip(operands, inner.input, strict=True):
            self._alias(operand.name, given.name)
        self.nodes.extend(inner.node)
        return [Value(self, output.name) for output in inner.output]

    def _alias(self, name: str, other: str) -> None:
        self.nodes.append(helper.make_node("Identity", [name], [other]))

    def for_each(self, model: onnx.ModelProto, shared: Value, stacks: Sequence[Value]) -> Value:
        """One result of a model for each slice of stacked float32 operands, stacked.

        Args:
            model: Takes ``shared`` and one slice of each stack.
            shared: Its first operand.
            stacks: Its others, each with the slices along the first axis.
        """
        body = Graph(self)
        slices = [Value(body, body.fresh("slice")) for _ in stacks]
        (result,) = body.include(model, [Value(body, shared.name), *slices])
        inner = helper.make_graph(
            body.nodes,
            body.fresh("scan"),
            [_float_info(value.name) for value in slices],
            [_float_info(result.name)],
        )
        return self.op("Scan", *stacks, body=inner, num_scan_inputs=len(stacks))


def _float_info(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _number_type(operand: object) -> Any:
    """Python's numbers are those that tensors are made of; arrays stay what they are."""
    if isinstance(operand, np.generic):
        return None
    if isinstance(operand, bool):
        return np.bool_
    if isinstance(operand, int):
        return np.int64
    return np.float32 if isinstance(operand, float) else None
