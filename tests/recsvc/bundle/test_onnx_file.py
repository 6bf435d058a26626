"""The reader of ONNX protobufs, against the onnx package and against arbitrary bytes."""

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from recsvc.bundle.onnx_file import Findings, MalformedOnnxError, inspect

FLOATS = TensorProto.FLOAT


def model(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto] | None = None,
    domains: tuple[str, ...] = ("",),
    functions: list[onnx.FunctionProto] | None = None,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOATS, ["B", 2])],
        [helper.make_tensor_value_info("y", FLOATS, ["B", 2])],
        initializers or [],
    )
    opsets = [helper.make_opsetid(d, 1 if d else 18) for d in domains]
    made = helper.make_model(graph, opset_imports=opsets, functions=functions or [])
    return bytes(made.SerializeToString())


def external(name: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones((2, 2), dtype=np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return tensor


def test_standard_operators_are_clean() -> None:
    """A plain graph asks for nothing."""
    weights = numpy_helper.from_array(np.ones((2, 2), dtype=np.float32), "w")
    raw = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weights])
    assert Findings(frozenset(), 0) == inspect(raw)


@pytest.mark.parametrize("domain", ["com.microsoft", "my.ops", "ai.onnx.ml"])
def test_foreign_domain_of_a_node_is_found_without_an_import(domain: str) -> None:
    """ONNX Runtime runs its own domains even where the model does not import them."""
    raw = model([helper.make_node("Gelu", ["x"], ["y"], domain=domain)])
    assert frozenset({domain}) == inspect(raw).foreign_domains


def test_foreign_domain_inside_a_branch_is_found() -> None:
    """Sub-graphs of attributes are searched too."""
    branch = helper.make_graph(
        [helper.make_node("Foo", ["x"], ["z"], domain="hidden.ops")],
        "branch",
        [],
        [helper.make_tensor_value_info("z", FLOATS, ["B", 2])],
    )
    condition = numpy_helper.from_array(np.asarray(True), "c")
    raw = model(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], [condition]
    )
    assert frozenset({"hidden.ops"}) == inspect(raw).foreign_domains


def test_foreign_domain_of_a_function_is_found() -> None:
    """Functions that a model brings along are searched too."""
    body = helper.make_function(
        "local", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    raw = model([helper.make_node("F", ["x"], ["y"], domain="local")], functions=[body])
    assert frozenset({"local"}) == inspect(raw).foreign_domains


def test_imported_domain_is_found_without_a_node() -> None:
    """An import alone is a finding: nothing standard needs one."""
    raw = model([helper.make_node("Relu", ["x"], ["y"])], domains=("", "my.ops"))
    assert frozenset({"my.ops"}) == inspect(raw).foreign_domains


def test_external_initializer_is_found() -> None:
    """Weights in another file are counted."""
    raw = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [external("w")])
    assert inspect(raw).external_tensors > 0


def test_external_constant_is_found() -> None:
    """A Constant node's tensor may lie outside as well."""
    nodes = [
        helper.make_node("Constant", [], ["w"], value=external("w")),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    assert inspect(model(nodes)).external_tensors > 0


@given(raw=st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(raw: bytes) -> None:
    """Whatever the bytes are, the answer is findings or one kind of error."""
    with contextlib.suppress(MalformedOnnxError):
        inspect(raw)


@given(cut=st.integers(min_value=1, max_value=60))
def test_a_truncated_model_is_refused(cut: int) -> None:
    """Bytes missing at the end are noticed."""
    weights = numpy_helper.from_array(np.ones((16, 16), dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [], [], [weights]
    )
    raw = onnx.ModelProto(graph=graph).SerializeToString()
    with pytest.raises(MalformedOnnxError):
        inspect(raw[:-cut])
