"""ONNX graphs written node by node, and what a manifest says of them."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recsvc.contract.manifest import GraphSpec, TensorSpec


def make_model(
    nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any]
) -> onnx.ModelProto:
    """A graph of float tensors (`steps` alone is an integer)."""

    def info(name: str, shape: Any) -> Any:
        kind = TensorProto.INT64 if name == "steps" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "world",
        [info(*item) for item in inputs.items()],
        [info(*item) for item in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def graph_spec(role: str, model: onnx.ModelProto) -> GraphSpec:
    """The manifest's entry of a graph."""

    def tensors(values: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=v.name,
                dtype="tensor(int64)" if v.name == "steps" else "tensor(float)",
                shape=tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim),
            )
            for v in values
        )

    return GraphSpec(
        file=f"{role}.onnx", inputs=tensors(model.graph.input), outputs=tensors(model.graph.output)
    )
