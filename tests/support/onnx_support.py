"""Run a piece of a graph by ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor

from nescio.export.graph import IR_VERSION, OPSET, Graph, Value

KINDS = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


class Piece:
    """A piece of a graph with inputs of these ranks and types.

    Args:
        write: From the graph and its inputs to results, by name, with their types.
        inputs: By name, the rank and the type.
    """

    def __init__(
        self,
        write: Callable[..., dict[str, tuple[Value, str]]],
        **inputs: tuple[int, str],
    ) -> None:
        graph = Graph()
        results = write(graph, *(Value(graph, name) for name in inputs))
        outputs = []
        for name, (value, kind) in results.items():
            graph.nodes.append(helper.make_node("Identity", [value.name], [name]))
            outputs.append(helper.make_tensor_value_info(name, KINDS[kind], None))
        given = [
            helper.make_tensor_value_info(name, KINDS[kind], [f"{name}{i}" for i in range(rank)])
            for name, (rank, kind) in inputs.items()
        ]
        inner = helper.make_graph(graph.nodes, "piece", given, outputs, graph.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(inner, opset_imports=opsets, ir_version=IR_VERSION)
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        self._names = list(results)

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        feed = {name: value.numpy() for name, value in inputs.items()}
        values: list[Any] = self._session.run(None, feed)
        return {
            name: torch.from_numpy(np.array(value))
            for name, value in zip(self._names, values, strict=True)
        }
