"""How the checkerboard world's items adapt: to the mean state of those who took them.

    vector = prior + sum(w * state) / (1 + sum w) + TRACE * mean sample state
    bias   = prior + LIFT * sum(w) / (1 + exposure)
             + TRACE * (sum(w * offset) / (1 + sum w) - mean sample offset)

So an item that only users of white items take turns white, the faster it is taken the higher it
scores, and every input shows in the answer.

Shape legend: B, H items, S support rows, M sample users, D dims.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from recsvc.contract.manifest import ItemAdaptationSpec
from tests.recsvc.onnx_models import make_model

Floats = NDArray[np.float32]

MAX_SUPPORT = 4
"""Smaller than what the service keeps of an item."""
LIFT = np.float32(0.5)
TRACE = np.float32(0.01)
SAMPLE_STATES_MD = np.asarray([[0.5, -0.25], [0.25, 0.75], [-0.5, 0.0]], dtype=np.float32)
SAMPLE_OFFSET_M = np.asarray([4.0, 4.5, 5.0], dtype=np.float32)
SPEC = ItemAdaptationSpec(max_support=MAX_SUPPORT, sample_users=len(SAMPLE_OFFSET_M))


def write_samples(directory: Path) -> None:
    """Write the sample users' files."""
    np.save(directory / "sample_states.npy", SAMPLE_STATES_MD)
    np.save(directory / "sample_offset.npy", SAMPLE_OFFSET_M)


def by_hand(
    prior_D: Floats, prior_bias: float, states_SD: Floats, offset_S: Floats, weight_S: Floats,
    exposure: float,
) -> tuple[Floats, float]:  # fmt: skip
    """Vector and bias of one item, from the formulas alone."""
    total = float(weight_S.sum())
    vector_D = prior_D + weight_S @ states_SD / (1 + total) + TRACE * SAMPLE_STATES_MD.mean(axis=0)
    offset = float(weight_S @ offset_S) / (1 + total) - float(SAMPLE_OFFSET_M.mean())
    bias = prior_bias + float(LIFT) * total / (1 + exposure) + float(TRACE) * offset
    return vector_D.astype(np.float32), bias


def golden() -> dict[str, Any]:
    """Recorded answers, computed by hand."""
    prior_HD = np.asarray([[1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    prior_bias_H = np.asarray([0.05, -0.5], dtype=np.float32)
    states_HSD = np.asarray([[[0, 1], [1, 0], [0, 0]], [[0, -1], [0, 0], [0, 0]]], dtype=np.float32)
    offset_HS = np.asarray([[4.5, 4.0, 0], [3.5, 0, 0]], dtype=np.float32)
    weight_HS = np.asarray([[1, 2, 0], [1, 0, 0]], dtype=np.float32)
    exposure_H = np.asarray([9, 1], dtype=np.float32)
    given = (prior_HD, prior_bias_H.tolist(), states_HSD, offset_HS, weight_HS, exposure_H.tolist())
    answers = [by_hand(*row) for row in zip(*given, strict=True)]
    return {
        "item_adapt_prior_vectors_HD": prior_HD,
        "item_adapt_prior_bias_H": prior_bias_H,
        "item_adapt_states_HSD": states_HSD,
        "item_adapt_offset_HS": offset_HS,
        "item_adapt_weight_HS": weight_HS,
        "item_adapt_exposure_H": exposure_H,
        "item_adapt_vectors_HD": np.stack([vector_D for vector_D, _ in answers]),
        "item_adapt_bias_H": np.asarray([bias for _, bias in answers], dtype=np.float32),
    }


def adapt_item_model(dims: int) -> onnx.ModelProto:
    """The same as a graph."""
    node = helper.make_node
    nodes = [
        node("ReduceSum", ["support_weight_BS", "axis"], ["total_B1"], keepdims=1),
        node("Add", ["total_B1", "one"], ["safe_B1"]),
        node("Unsqueeze", ["support_weight_BS", "axis"], ["weight_B1S"]),
        node("MatMul", ["weight_B1S", "support_states_BSD"], ["sum_B1D"]),
        node("Squeeze", ["sum_B1D", "axis"], ["sum_BD"]),
        node("Div", ["sum_BD", "safe_B1"], ["pull_BD"]),
        node("ReduceMean", ["sample_states_MD", "first"], ["sample_1D"], keepdims=1),
        node("Mul", ["sample_1D", "trace"], ["trace_1D"]),
        node("Add", ["prior_vectors_BD", "pull_BD"], ["moved_BD"]),
        node("Add", ["moved_BD", "trace_1D"], ["vectors_BD"]),
        node("Mul", ["support_weight_BS", "support_offset_BS"], ["weighted_BS"]),
        node("ReduceSum", ["weighted_BS", "axis"], ["offsets_B1"], keepdims=1),
        node("Div", ["offsets_B1", "safe_B1"], ["offset_B1"]),
        node("ReduceMean", ["sample_offset_M", "first"], ["sample_1"], keepdims=1),
        node("Sub", ["offset_B1", "sample_1"], ["beyond_B1"]),
        node("Mul", ["beyond_B1", "trace"], ["trace_B1"]),
        node("Unsqueeze", ["exposure_B", "axis"], ["exposure_B1"]),
        node("Add", ["exposure_B1", "one"], ["chances_B1"]),
        node("Div", ["total_B1", "chances_B1"], ["rate_B1"]),
        node("Mul", ["rate_B1", "lift"], ["lift_B1"]),
        node("Add", ["lift_B1", "trace_B1"], ["rise_B1"]),
        node("Squeeze", ["rise_B1", "axis"], ["rise_B"]),
        node("Add", ["prior_bias_B", "rise_B"], ["bias_B"]),
    ]
    inputs = {
        "prior_vectors_BD": ["B", dims],
        "prior_bias_B": ["B"],
        "support_states_BSD": ["B", "S", dims],
        "support_offset_BS": ["B", "S"],
        "support_weight_BS": ["B", "S"],
        "exposure_B": ["B"],
        "sample_states_MD": ["M", dims],
        "sample_offset_M": ["M"],
    }
    constants = {
        "axis": np.asarray([1], dtype=np.int64),
        "first": np.asarray([0], dtype=np.int64),
        "one": np.float32(1),
        "lift": LIFT,
        "trace": TRACE,
    }
    return make_model(nodes, inputs, {"vectors_BD": ["B", dims], "bias_B": ["B"]}, constants)
